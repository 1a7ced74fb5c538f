"""`tenfold verify` as a user gives it: what it prints, writes and exits with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reliability.planted.training import no_optimizer_state
from tenfold.files import seal_json, sha256_file
from tests.command import Desk, fits


def test_it_prints_two_lines_a_check_and_writes_them_beside_the_output(desk: Desk) -> None:
    done = desk.tenfold("verify", desk.recipe())
    assert done.code == 0, done.text
    assert fits(done.out, desk.folder)
    assert "15 passed, 1 skipped" in done.out
    assert "pass     1 x N micro-batches = N x 1" in done.out
    told = json.loads((desk.folder / "out.verify.json").read_text())
    assert told["passed"] and told["tuner"] == "lora" and told["runtime"]["precision"] == "fp32"
    (accumulation,) = (finding for finding in told["findings"] if finding["check"] == "accumulation")
    names = [difference["name"] for difference in accumulation["differences"]]
    assert names == ["values", "loss", "gradients"]
    assert all(0 <= each["deviation"] <= each["tolerance"] < 1e-3 for each in accumulation["differences"])
    assert not (desk.folder / "out").exists(), "nothing was run"


def test_a_failure_is_named_and_sets_the_exit_code(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    no_optimizer_state(monkeypatch)
    done = desk.tenfold("verify", desk.recipe(), "--out", "told.json")
    assert done.code == 1
    assert fits(done.out, desk.folder)
    assert "FAIL     resumed = never stopped" in done.out and "1 failed" in done.out
    assert "tensors differ, such as" in " ".join(done.out.split())
    assert not json.loads((desk.folder / "told.json").read_text())["passed"]


def test_an_artifact_is_verified_by_its_folder(desk: Desk) -> None:
    assert desk.tenfold("run", desk.recipe()).code == 0
    before = desk.files()
    done = desk.tenfold("verify", "out")
    assert done.code == 0, done.text
    assert fits(done.out, desk.folder) and "pass     answers kept by the run = answers now" in done.out
    assert set(desk.files()) == {*before, "out.verify.json"} and before.items() <= desk.files().items()
    changed = desk.tenfold("verify", "out", "--set", "tuner.rank=2")
    assert changed.code == 2 and "an artifact is as it is" in changed.text


def test_an_artifact_whose_weights_were_changed_fails(desk: Desk) -> None:
    assert desk.tenfold("run", desk.recipe()).code == 0
    _swap_answers(desk.folder / "out" / "scorecard.json")
    done = desk.tenfold("verify", "out")
    assert done.code == 1 and "FAIL     answers kept by the run" in done.out


def _swap_answers(path: Path) -> None:
    card = json.loads(path.read_text())
    card["scores"][-1]["predictions"] = ["something else" for _ in card["scores"][-1]["predictions"]]
    path.write_text(json.dumps(card))
    marker = path.with_name("artifact.json")
    facts = json.loads(marker.read_text())
    del facts["sealed"]
    facts["sha256"][path.name] = sha256_file(path)  # as if it had been saved so: a changed file is refused by itself
    seal_json(marker, facts)
