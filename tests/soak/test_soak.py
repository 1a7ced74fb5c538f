"""A short form of `python -m reliability soak`, and what is planted in one is found."""

from __future__ import annotations

import gc
import mmap
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reliability.crash.workloads import lay_out
from reliability.soak.episodes import EPISODES, FAILURES, Episode, prepare
from reliability.soak.figures import section
from reliability.soak.gauge import Gauge
from reliability.soak.judge import LEAST_ROUNDS, NAMES, NEVER_MORE, Rounds, faults, second_half, trend
from reliability.soak.session import rounds
from tenfold.models.open import open_model
from tenfold.techniques.technique import BUILTIN

Session = Callable[..., Rounds]


@pytest.fixture
def session(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """Yield what carries out rounds of episodes and returns their values."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "temporary").mkdir()

    def carry_out(episodes: Sequence[Episode], least: int) -> Rounds:
        gauge = Gauge(temporary=tmp_path / "temporary", cache=cache)
        found = [one.told() for one in rounds(tmp_path, gauge, seconds=0.0, episodes=episodes, least=least)]
        return {name: [each[name] for each in found] for name in NAMES}

    gc.freeze()  # what the tests before have left is not looked at in every round
    yield carry_out
    gc.unfreeze()


def nothing(folder: Path) -> None:
    (folder / "output").write_bytes(bytes(10_000))


def test_every_technique_and_what_goes_wrong_is_in_a_round() -> None:
    assert set(BUILTIN) <= set(EPISODES)
    assert set(FAILURES) <= set(EPISODES)


def test_real_runs_that_end_well_and_badly_leave_nothing_open(session: Session, tmp_path: Path) -> None:
    prepare(tmp_path)
    names = ("feature_based", "stopped and resumed", "broken by a listener", "a loss that is not finite")

    def collected(name: str, folder: Path) -> None:
        EPISODES[name](folder)
        gc.collect()  # so that what waits for the collector is not there in one round and gone in another

    found = session([partial(collected, name) for name in names], least=2)
    assert {name: max(found[name]) - found[name][0] for name in NEVER_MORE} == dict.fromkeys(NEVER_MORE, 0)


@pytest.mark.parametrize("name", ["task_specific", "distillation", "stopped and resumed"])
def test_a_run_that_has_ended_lets_go_of_its_models_without_waiting_for_the_collector(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[weakref.ref[Any]] = []

    def watched(*inputs: Any, **named: Any) -> Any:
        model = open_model(*inputs, **named)
        opened.append(weakref.ref(model.base))
        return model

    lay_out(tmp_path)
    (tmp_path / "episode").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tenfold.techniques.subject.open_model", watched)
    gc.disable()
    try:
        EPISODES[name](tmp_path / "episode")
        assert [model() is None for model in opened] == [True] * len(opened)
    finally:
        gc.enable()
    assert opened


def test_a_session_that_keeps_nothing_is_flat(session: Session) -> None:
    assert faults(session([nothing] * 6, least=12), runs_a_round=6) == []


def test_a_file_left_open_in_every_round_is_found(session: Session) -> None:
    left: list[Any] = []
    found = faults(session([nothing, lambda folder: left.append((folder / "open").open("w"))], 12), runs_a_round=2)
    for file in left:
        file.close()
    assert [fault.split(":")[0] for fault in found] == ["descriptors"]


def test_memory_that_is_kept_in_every_round_is_found(session: Session) -> None:
    kept: list[mmap.mmap] = []

    def keep(folder: Path) -> None:
        # of the system itself: what earlier tests have freed would hold small pieces without growing
        kept.append(mmap.mmap(-1, 1_000_000))
        kept[-1].write(b"1" * 1_000_000)

    found = faults(session([nothing, keep], 12), runs_a_round=2)
    for piece in kept:
        piece.close()
    assert [fault.split(" grow")[0] for fault in found] == ["resident_bytes"]


def test_objects_a_temporary_file_and_one_in_the_cache_are_found(session: Session, tmp_path: Path, cache: Path) -> None:
    kept: list[list[object]] = []

    def litter(folder: Path) -> None:
        kept.extend([] for _ in range(100))
        for room in (tmp_path / "temporary", cache / "hashes"):
            room.mkdir(parents=True, exist_ok=True)
            (room / str(len(kept))).touch()

    found = faults(session([litter], 12), runs_a_round=1)
    assert {fault.split()[0].rstrip(":") for fault in found} >= {"objects", "temporary_files", "cache_files"}


def test_a_slope_is_that_of_least_squares_and_steps_widen_its_interval() -> None:
    draw = np.random.default_rng(0)
    noise = draw.normal(size=200)
    values = 3.0 * np.arange(200) + noise
    found = trend(values.tolist())
    assert found.slope == pytest.approx(np.polyfit(np.arange(200), values, 1)[0])
    # the textbook's standard error of a slope, with independent residuals
    assert found.half_width == pytest.approx(2 / np.sqrt(np.sum((np.arange(200) - 99.5) ** 2)), rel=0.15)
    assert trend(np.cumsum(noise).tolist()).half_width > 5 * trend(noise.tolist()).half_width


def test_growth_in_the_first_half_is_no_growth_and_too_few_rounds_say_nothing() -> None:
    flat = {name: [1.0] * 20 for name in NAMES}
    settled = [1e6 * place for place in range(10)] + [1e7] * 10
    assert faults({**flat, "resident_bytes": settled}, runs_a_round=1) == []
    assert faults({**flat, "resident_bytes": settled[::-1]}, runs_a_round=1) == []
    assert second_half(settled) == [1e7] * 10
    few = {name: [1.0] * (LEAST_ROUNDS - 1) for name in NAMES}
    assert faults(few, runs_a_round=1) == ["7 rounds are too few to tell: 8 are needed"]


def test_the_section_tells_what_grew() -> None:
    flat = {name: [1.0] * 20 for name in (*NAMES, "seconds")}
    result: dict[str, Any] = {
        "runs": 40,
        "minutes": 3.0,
        "rounds": 20,
        "episodes": ["a", "b"],
        "failures": ["b"],
        "each_round": {**flat, "descriptors": [4.0] * 19 + [9.0]},
        "date": "2026-11-28",
        "machine": {"processor": "X", "flags": [], "system": "Y", "cores": 2},
        "load_average": {"start": [0.0], "end": [0.0]},
    }
    assert "**40 runs in 3 minutes: descriptors: at most 4 in the first half, 9 in the second.**" in section(result)
    assert "nothing grew beyond" in section({**result, "each_round": flat})
