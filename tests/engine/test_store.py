"""The stage store: paid for once, found by everything that decides, never trusted when damaged."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from tenfold.engine import store
from tenfold.engine.stage import StageResult
from tenfold.engine.store import (
    StoredScore,
    StoredStage,
    fingerprint,
    store_fit,
    store_score,
    store_stage,
    stored_fit,
    stored_score,
    stored_stage,
)

RESULT = StageResult(name="main", updates=3, tokens=9, supervised_tokens=4, seconds=1.5, final_loss=0.1)
WEIGHTS = {"a": torch.tensor([1.0, 1 / 3]), "b": torch.ones(2, 2).bfloat16()}
STATE = {"c": torch.arange(3.0)}


def test_a_stage_comes_back_as_it_was_and_with_what_the_tuner_keeps(cache: Path) -> None:
    assert stored_stage("key") is None
    store_stage("key", StoredStage(WEIGHTS, STATE, RESULT))
    found = stored_stage("key")
    assert found is not None
    assert all(torch.equal(found.trainable[name], weight) for name, weight in WEIGHTS.items())
    assert found.trainable["b"].dtype == torch.bfloat16
    assert torch.equal(found.tuner["c"], STATE["c"])
    assert found.result == RESULT
    assert stored_stage("other") is None


@pytest.mark.parametrize("file", ["trainable.safetensors", "tuner.safetensors", "result.json"])
def test_a_damaged_stage_counts_as_absent_and_is_replaced(file: str, cache: Path) -> None:
    store_stage("key", StoredStage(WEIGHTS, STATE, RESULT))
    path = cache / "stages" / "key" / file
    path.write_bytes(path.read_bytes()[:-2] + b"\x01\x02")
    assert stored_stage("key") is None
    store_stage("key", StoredStage(WEIGHTS, STATE, RESULT))
    assert stored_stage("key") is not None


def test_a_score_comes_back_and_a_damaged_one_counts_as_absent(cache: Path) -> None:
    score = StoredScore({"format": 1, "scores": [{"items": [0.1, 1 / 3]}]}, 2.5)
    assert stored_score("key") is None
    store_score("key", score)
    assert stored_score("key") == score
    for content in ("{", '{"seconds": 1}', "[1]"):
        (cache / "scores" / "key.json").write_text(content)
        assert stored_score("key") is None


def test_the_fingerprint_changes_with_every_part_and_with_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    first = fingerprint("a", {"rank": 1, "alpha": None})
    assert fingerprint("a", {"alpha": None, "rank": 1}) == first
    others = [fingerprint("a", {"rank": 2, "alpha": None}), fingerprint("b", {"rank": 1, "alpha": None})]
    others += [fingerprint("a"), fingerprint("a", {"rank": "1", "alpha": None}), fingerprint("a{", '"rank": 1')]
    monkeypatch.setattr(store, "code_version", lambda: "another")
    others.append(fingerprint("a", {"rank": 1, "alpha": None}))
    assert len({first, *others}) == len(others) + 1


def test_of_two_runs_that_want_the_same_fit_one_makes_it_and_the_other_takes_it(cache: Path) -> None:
    begun, made = threading.Event(), []

    def make(folder: Path) -> StageResult:
        begun.set()
        time.sleep(0.2)
        made.append(folder)
        (folder / "estimator").write_text("fitted")
        return RESULT

    with ThreadPoolExecutor(2) as runs:
        first = runs.submit(store_fit, "key", make)
        begun.wait()
        second = runs.submit(store_fit, "key", make)
        assert first.result() == second.result()
    assert len(made) == 1 and (first.result()[0] / "estimator").read_text() == "fitted"


def test_stages_that_were_used_longest_ago_make_room(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = StoredStage({"a": torch.ones(1000)}, {}, RESULT)
    store_stage("size", stage)
    size = (cache / "stages" / "size" / "trainable.safetensors").stat().st_size
    monkeypatch.setattr(store, "MOST_BYTES", 3 * size)
    store_fit("fit", lambda folder: (folder.joinpath("estimator").write_text("x"), RESULT)[1])
    for number, key in enumerate(("size", "old", "older")):
        store_stage(key, stage)
        place = cache / "stages" / key / "trainable.safetensors"
        os.utime(place, (1000 - number, 1000 - number))
    assert stored_stage("older") is not None, "it was used just now"
    store_stage("new", stage)
    kept = {key for key in ("size", "old", "older", "new") if stored_stage(key) is not None}
    assert kept == {"size", "older", "new"} and stored_fit("fit") is not None
    assert not list((cache / "stages").glob("*.gone"))


def test_a_stage_in_a_store_that_may_only_be_read_is_found(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store_stage("key", StoredStage({"a": torch.ones(2)}, {}, RESULT))

    def refused(path: Path, **named: object) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(Path, "touch", refused)
    assert stored_stage("key") is not None


def test_a_stage_that_another_run_has_kept_stays_where_it_is(cache: Path) -> None:
    stage = StoredStage({"a": torch.ones(2)}, {}, RESULT)
    store_stage("key", stage)
    place = next(path for path in (cache / "stages").rglob("trainable.safetensors"))
    written = place.stat().st_ino
    store_stage("key", stage)
    assert place.stat().st_ino == written, "someone may be reading it"
