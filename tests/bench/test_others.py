"""The row of several peers, from the job to its part of the page, with Tenfold in the peers' place."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bench import others, training
from bench.notes import IGNORED, Notes, rows_of
from bench.others import OthersRow, Peer
from bench.ours import train
from bench.page import SECTIONS
from bench.pairs import Measured
from bench.rows import lora_cpu, lora_cpu_others
from bench.training import Options
from tests.bench.short import use_short_rows

OPTIONS = Options(pairs=1, updates=1, cores="all", model="")
PEERS = tuple(Peer(name, name.title(), "a note.") for name in ("faithful", "astray", "absent"))


@pytest.fixture
def row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OthersRow:
    use_short_rows(training, tmp_path, monkeypatch)
    monkeypatch.setattr(others, "ROOT", tmp_path)
    for peer in PEERS[:2]:
        peer.python.parent.mkdir(parents=True)
        peer.python.touch()
    return OthersRow(replace(lora_cpu.ROW, name="others", title="Others"), PEERS)


def run_here(changed: Callable[[dict[str, object]], None]) -> Callable[..., Measured]:
    """Return what runs every program in this process, with what `astray` tells changed."""

    def run(command: Sequence[str], *, result: Path, environment: dict[str, str]) -> Measured:
        train.main(Path(command[-1]), result)
        facts = json.loads(result.read_text())
        if "astray" in command[0]:
            changed(facts)
        return Measured(facts, peak_bytes=10**9)

    return run


def test_each_peer_that_is_there_is_measured_and_the_others_are_named(
    row: OthersRow, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def worse(facts: dict[str, object]) -> None:
        facts["losses"] = [1.1 * loss for loss in facts["losses"]]  # type: ignore[attr-defined]
        facts["peak_bytes"] = 4 * 10**9

    monkeypatch.setattr(training, "run_process", run_here(worse))
    told = SECTIONS["others"](found := row.measure(replace(OPTIONS, model=str(model_folder))))
    assert [figures["losses_agree"] for figures in found["peers"].values()] == [True, False]
    assert [figures["peak_memory_ratio"]["median"] for figures in found["peers"].values()] == [1.0, 0.25]
    assert "| **no** |" in told and "as not installed there: Absent." in told


def test_a_peer_that_saw_other_tokens_is_no_measurement(
    row: OthersRow, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "run_process", run_here(lambda facts: facts.update(tokens=[1, 2])))
    with pytest.raises(RuntimeError, match="2 tokens seen"):
        row.measure(replace(OPTIONS, model=str(model_folder)))


def test_without_any_peer_it_is_said_how_to_install_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(others, "ROOT", tmp_path)
    with pytest.raises(RuntimeError, match=r"peers\.sh others"):
        lora_cpu_others.ROW.measure(OPTIONS)


def test_every_peer_has_a_script_and_an_environment_in_the_shell_script() -> None:
    installed = (training.ROOT / "bench/peers.sh").read_text()
    for peer in lora_cpu_others.ROW.peers:
        assert peer.script.is_file()
        assert f"'{peer.name} {peer.name}==" in installed


def test_what_a_peer_is_given_and_tells(tmp_path: Path) -> None:
    job = {
        "windows": [
            [{"input_ids": [5, 6, 7], "supervised": [False, True, True]}],
            [{"input_ids": [8], "supervised": [True]}],
        ]
    }
    assert rows_of(job) == [([5, 6, 7], [IGNORED, 6, 7]), ([8], [8])]
    notes = Notes()
    notes.note(2.5, 3)
    notes.write(tmp_path / "told.json", settings={"a": 1}, packages=("numpy",))
    told = json.loads((tmp_path / "told.json").read_text())
    assert (told["losses"], told["tokens"], len(told["ends"])) == ([2.5], [3], 1)
    assert told["peak_bytes"] > 10**7 and set(told["versions"]) == {"numpy", "torch"}
