"""An adapter knows its base by hashes: what they cover, that they are kept, and what a mismatch says."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
from transformers import AutoTokenizer

from tenfold.errors import ArtifactError, ModelError
from tenfold.tuning import identity
from tenfold.tuning.identity import (
    Identity,
    check_identity,
    hash_config,
    hash_template,
    hash_tokenizer,
    hash_weights,
    identify,
    read_identity,
    write_identity,
)
from tests.tiny_tokenizers import byte_tokenizer

OWN = Identity("small-model", "a" * 64, "b" * 64, "c" * 64, "e" * 64)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "hashes"


def test_survives_the_disk(tmp_path: Path) -> None:
    write_identity(OWN, tmp_path)
    assert read_identity(tmp_path) == OWN


def test_a_missing_or_damaged_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"identity\.json: no such file"):
        read_identity(tmp_path)
    for text in ("{", "[]", '{"base_name": "x"}'):
        (tmp_path / "identity.json").write_text(text)
        with pytest.raises(ArtifactError, match=r"identity\.json: damaged"):
            read_identity(tmp_path)


def test_another_name_for_the_same_base_is_fine() -> None:
    check_identity(OWN, dataclasses.replace(OWN, base_name="/elsewhere/small-model"))


@pytest.mark.parametrize(
    ("field", "part"),
    [
        ("base_weights_sha256", "another base weights"),
        ("config_sha256", "another configuration"),
        ("tokenizer_sha256", "another tokenizer"),
        ("template_sha256", "another chat template"),
    ],
)
def test_a_mismatch_names_both_bases_and_what_differs(field: str, part: str) -> None:
    other = dataclasses.replace(OWN, base_name="big-model", **{field: "d" * 64})
    with pytest.raises(ArtifactError) as caught:
        check_identity(OWN, other)
    message = str(caught.value)
    assert "'small-model'" in message and "'big-model'" in message
    assert part in message
    assert message.count("another") == 1
    assert other.sha256 != OWN.sha256


def test_one_hash_stands_for_all_but_the_name() -> None:
    assert dataclasses.replace(OWN, base_name="big-model").sha256 == OWN.sha256


CONFIG = {"architectures": ["A", "B"], "rope_parameters": {"rope_theta": 1e4}, "dtype": "float32"}


def written(folder: Path, config: dict[str, object], others: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return the hash of a folder with this configuration and other files."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    for name, text in others.items():
        (folder / name).write_text(text)
    return hash_config(folder)


def test_the_configuration_counts_by_what_it_says(tmp_path: Path) -> None:
    found = written(tmp_path / "a", CONFIG)
    same = {"transformers_version": "9", "_name_or_path": "x", "torch_dtype": "bfloat16", "architectures": ["B", "A"]}
    assert written(tmp_path / "b", {**same, "rope_parameters": {"rope_theta": 1e4, "dtype": "float16"}}) == found
    others = [
        written(tmp_path / "c", {**CONFIG, "rope_parameters": {"rope_theta": 10.0}}),
        written(tmp_path / "d", {**CONFIG, "rms_norm_eps": 0.5}),
        written(tmp_path / "e", CONFIG, {"generation_config.json": '{"eos_token_id": 7}'}),
        written(tmp_path / "f", CONFIG, {"modeling.py": "x = 1"}),
        written(tmp_path / "g", CONFIG, {"modeling.py": "x = 2"}),
    ]
    assert len({found, *others}) == 6


def test_a_damaged_configuration_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"generation_config\.json: damaged"):
        written(tmp_path, CONFIG, {"generation_config.json": "{"})


def test_weights_beside_the_ones_that_are_loaded_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "consolidated.safetensors").write_bytes(b"weights once more")
    assert hash_weights(tmp_path) == hashlib.sha256(b"weights").hexdigest()


def test_one_file_has_its_own_hash(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert hash_weights(tmp_path) == hashlib.sha256(b"weights").hexdigest()


def test_several_files_count_in_the_order_of_their_names(tmp_path: Path) -> None:
    contents = {"model-00001.safetensors": b"one", "model-00002.safetensors": b"two"}
    for name in reversed(contents):
        (tmp_path / name).write_bytes(contents[name])
    found = hash_weights(tmp_path)
    (tmp_path / "model-00001.safetensors").write_bytes(b"two")
    (tmp_path / "model-00002.safetensors").write_bytes(b"one")
    assert hash_weights(tmp_path) != found


def test_a_folder_without_weights_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(ModelError, match=r"no \.safetensors file"):
        hash_weights(tmp_path)


def test_a_file_is_read_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"first")
    read: list[Path] = []
    hash_file = identity.sha256_file
    monkeypatch.setattr(identity, "sha256_file", lambda path: read.append(path) or hash_file(path))
    assert hash_weights(tmp_path) == hash_weights(tmp_path)
    assert len(read) == 1
    path.write_bytes(b"other")  # the same size
    os.utime(path, ns=(1, 1))
    assert hash_weights(tmp_path) == hashlib.sha256(b"other").hexdigest()
    assert len(read) == 2


def test_a_tokenizer_is_its_content_not_its_spelling() -> None:
    tree = {"model": {"vocab": {"a": 0, "ü": 1}}, "padding": None, "truncation": None}
    called = {"truncation": {"max_length": 8}, "padding": {"strategy": "BatchLongest"}, "model": tree["model"]}
    found = hash_tokenizer(json.dumps(tree), {"eos_token": "a", "pad_token": "ü"})
    assert found == hash_tokenizer(
        json.dumps(called, indent=2, ensure_ascii=False), {"pad_token": "ü", "eos_token": "a"}
    )
    assert found != hash_tokenizer(
        json.dumps({"model": {"vocab": {"a": 1, "ü": 0}}}), {"eos_token": "a", "pad_token": "ü"}
    )
    assert found != hash_tokenizer(json.dumps(tree), {"eos_token": "ü", "pad_token": "ü"})


def test_a_tokenizer_saved_and_loaded_is_the_same_one_and_with_another_end_token_is_not(tmp_path: Path) -> None:
    own, other = byte_tokenizer(), byte_tokenizer()
    other.eos_token = "<|im_end|>"
    own.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    found = [identify(tmp_path, each, name="base").tokenizer_sha256 for each in (own, loaded, other)]
    assert found[0] == found[1] != found[2]


def test_no_template_has_a_hash_too() -> None:
    assert hash_template(None) == hash_template("none") != hash_template("{{ messages }}")


def test_identify_reads_a_tokenizer_with_or_without_a_backend(tmp_path: Path) -> None:
    class Plain:
        chat_template: str | dict[str, str] | None = None
        special_tokens_map: Mapping[str, object] = MappingProxyType({"eos_token": "a"})

        def get_vocab(self) -> dict[str, int]:
            return {"a": 0}

    class Backend:
        def to_str(self) -> str:
            return '{"model": {}}'

    class Fast(Plain):
        chat_template: str | dict[str, str] | None = {"default": "{{ messages }}"}  # noqa: RUF012
        backend_tokenizer = Backend()

    (tmp_path / "model.safetensors").write_bytes(b"weights")
    plain, fast = (identify(tmp_path, tokenizer, name="base") for tokenizer in (Plain(), Fast()))
    assert plain.base_weights_sha256 == fast.base_weights_sha256
    assert plain.tokenizer_sha256 == hash_tokenizer('{"a": 0}', {"eos_token": "a"})
    assert fast.tokenizer_sha256 == hash_tokenizer('{"model": {}}', {"eos_token": "a"})
    assert fast.template_sha256 == hash_template('{"default": "{{ messages }}"}')
    assert plain.template_sha256 == hash_template(None)
