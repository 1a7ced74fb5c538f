"""A short form of `python -m reliability crash`: kills at the moments that once were fatal, and a few random ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from reliability.crash.campaign import kill_all, prepare
from reliability.crash.outcome import artifact_of, differences, leftovers
from reliability.crash.victim import Moment, run_in
from reliability.crash.workloads import WORKLOADS
from tenfold.techniques.technique import BUILTIN
from tests.crash.conftest import Begin


def test_every_technique_is_killed_in_the_campaign() -> None:
    assert {workload.technique for workload in WORKLOADS.values()} == set(BUILTIN)


def test_killed_at_random_a_run_of_two_kinds_of_cache_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    prepare(tmp_path, teachers=("taught-labels",))
    for name, tally in kill_all(tmp_path, kills=3, seed=1, only=("distillation of labels", "feature_based")):
        assert tally.kills >= 3, name
        assert (tally.survived, tally.faults) == (tally.kills, []), name


@pytest.mark.parametrize("write", (1, 3, 5, 6, 7, 8))
def test_killed_before_any_of_its_first_changes_to_files_it_can_still_begin(write: int, begin: Begin) -> None:
    folder = begin()
    assert run_in(folder, Moment(0.0, write)).code == -9
    ended = run_in(folder)
    assert ended.code == 0, ended.said
    assert leftovers(folder) == []


def test_killed_when_its_artifact_was_just_complete_it_leaves_no_checkpoints(begin: Begin, laid_out: Path) -> None:
    folder = begin()
    counted = folder / "counted.txt"
    assert run_in(folder, counted=counted).code == 0
    writes = int(counted.read_text().split()[0])
    again = begin()
    # the last changes of a run are those that remove its checkpoints, file by file
    assert run_in(again, Moment(0.0, writes - 2)).code == -9
    assert (again / "out" / "artifact.json").is_file() and (again / "out" / "checkpoints").is_dir()
    assert run_in(again).code == 0
    assert leftovers(again) == []
    assert differences(artifact_of(laid_out / "straight" / "out"), artifact_of(again / "out")) == []


def test_killed_while_it_wrote_the_first_file_of_its_output_it_is_not_refused(begin: Begin) -> None:
    folder = begin()
    (folder / "out").mkdir()
    (folder / "out" / ".run.json.77.partial").write_text("{")
    ended = run_in(folder)
    assert ended.code == 0, ended.said
    assert leftovers(folder) == []
