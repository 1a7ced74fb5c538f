"""One training in several processes: the same losses and weights as in one, whatever becomes of one of them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from reliability.crash.workloads import WORKLOADS, Workload
from tenfold.data.batch import Batch
from tenfold.engine.ranks import Ranks
from tenfold.errors import RecipeError
from tenfold.models.trunk import Trunk
from tenfold.objectives.causal_lm import CausalLanguageModelling
from tenfold.objectives.objective import Loss
from tenfold.recipe import load_recipe
from tenfold.running import run
from tests.command import Desk
from tests.engine.in_ranks import (
    AS_MUCH,
    WEIGHTS_APART,
    Begin,
    apart,
    losses,
    run_in_ranks,
    told,
    weights,
    weights_apart,
)
from tests.engine.killing import KillAt

TAUGHT = {
    "technique": {"teacher": "../teacher", "level": "on_policy", "on_policy": {"share": 0.5, "max_new_tokens": 6}}
}
ADALORA = {"tuner": {"kind": "adalora", "initial_rank": 4, "target_rank": 2}}
CASES: Mapping[str, tuple[int, Workload]] = {
    "lora": (4, WORKLOADS["instruction"]),
    "full, labels, two stages": (2, WORKLOADS["task_specific"]),
    "several tasks, weights learned, one alone": (2, WORKLOADS["multi_task"]),
    "EWC, replay, self-distillation": (2, WORKLOADS["sequential"]),
    "a penalty and importance": (2, Workload("instruction", ADALORA)),
    "replies drawn on the way": (2, Workload("distillation", TAUGHT)),
    "stages that go back": (2, WORKLOADS["adapters"]),
}


@pytest.mark.parametrize("case", CASES)
def test_several_ranks_train_as_one(case: str, begin: Begin) -> None:
    count, workload = CASES[case]
    alone, together = begin("alone", workload), begin("together", workload)
    assert run_in_ranks(alone, 1) == [0]
    assert run_in_ranks(together, count) == [0] * count, [told(together, rank) for rank in range(count)]
    assert len(losses(alone)) >= 4
    assert apart(losses(alone), losses(together)) < AS_MUCH
    assert max(weights_apart(weights(alone), weights(together)).values()) < WEIGHTS_APART


def test_after_the_death_of_a_rank_any_number_goes_on_to_the_same_end(begin: Begin) -> None:
    straight, killed = begin("straight"), begin("killed")
    assert run_in_ranks(straight, 1) == [0]
    dying = run_in_ranks(killed, 2, listeners=lambda rank: (KillAt(3),) if rank == 1 else ())
    assert dying == [1, -signal.SIGKILL]
    assert "RankLost: torchrun: another process of this training ended" in told(killed, 0)
    assert not (killed / "out" / "artifact.json").exists()
    again = killed.with_name(f"{killed.name}-again")
    shutil.copytree(killed, again)
    for folder, count in ((killed, 1), (again, 4)):
        assert run_in_ranks(folder, count) == [0] * count, told(folder, 0)
        events = [json.loads(line) for line in (folder / "out" / "log.jsonl").read_text().splitlines()]
        assert [each["resumed_at"] for each in events if each["event"] == "stage"][-1] == 2
        assert apart(losses(straight), losses(folder)) < AS_MUCH
        assert max(weights_apart(weights(straight), weights(folder)).values()) < WEIGHTS_APART


def test_with_dropout_the_same_number_of_ranks_resumes_to_the_same_bits(begin: Begin) -> None:
    straight, stopped = begin("straight", dropout=0.2), begin("stopped", dropout=0.2)
    assert run_in_ranks(straight, 2) == [0, 0]
    asked = iter([False, False, True])
    assert run_in_ranks(stopped, 2, stop_asked=lambda rank: rank == 1 and next(asked)) == [130, 130]
    kept = (stopped / "out" / "checkpoints" / "instruction").iterdir()
    assert sorted(path.name for path in kept) == ["update-00000002", "update-00000003"]
    assert "stopped after update 3" in told(stopped, 0) and "stopped after update 3" in told(stopped, 1)
    assert run_in_ranks(stopped, 2) == [0, 0]
    assert losses(stopped) == losses(straight)
    found = weights(stopped)
    assert all(torch.equal(value, found[name]) for name, value in weights(straight).items())


def test_ranks_drop_different_units(begin: Begin) -> None:
    alone, together = begin("alone", dropout=0.2), begin("together", dropout=0.2)
    assert run_in_ranks(alone, 1) == [0] and run_in_ranks(together, 2) == [0, 0]
    assert apart(losses(alone), losses(together)) > 10 * AS_MUCH


def test_memory_that_runs_out_on_one_rank_changes_no_update(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    alone, together = begin("alone"), begin("together")
    assert run_in_ranks(alone, 1) == [0]
    whole = CausalLanguageModelling.__call__

    def limited(self: CausalLanguageModelling, model: Trunk, batch: Batch) -> Loss:
        if os.environ.get("RANK") == "1" and batch.num_positions > 50:
            raise torch.OutOfMemoryError("out of memory")
        return whole(self, model, batch)

    monkeypatch.setattr(CausalLanguageModelling, "__call__", limited)
    assert run_in_ranks(together, 2) == [0, 0], told(together, 0)
    assert '"out of memory: micro-batches of' in (together / "out" / "log.jsonl").read_text()
    assert apart(losses(alone), losses(together)) < AS_MUCH


def test_rows_of_a_loss_that_is_no_number_are_named_whoever_met_them(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = begin("broken")
    whole = CausalLanguageModelling.__call__

    def broken(self: CausalLanguageModelling, model: Trunk, batch: Batch) -> Loss:
        loss = whole(self, model, batch)
        return Loss(loss.total * float("nan")) if os.environ.get("RANK") == "1" else loss

    monkeypatch.setattr(CausalLanguageModelling, "__call__", broken)
    assert run_in_ranks(folder, 2) == [1, 1]
    rows = [re.findall(r"line (\d+)", told(folder, rank)) for rank in (0, 1)]
    assert rows[0] == rows[1]
    assert 1 <= len(rows[0]) <= 5, "those of one rank, not all 8 of the update"


def test_ranks_that_are_not_at_the_same_update_end(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = begin("astray")
    in_step = Ranks.in_step
    monkeypatch.setattr(Ranks, "in_step", lambda self, update, weight: in_step(self, update + self.number, weight))
    assert run_in_ranks(folder, 2) == [1, 1]
    assert "the ranks are not at the same update" in told(folder, 0)


def test_a_technique_for_one_process_is_refused_in_two(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = begin("refused", WORKLOADS["feature_based"])
    monkeypatch.chdir(folder)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeError, match="feature_based in 2 processes: it trains no weights"):
        run(load_recipe(Path("recipe.yaml")))
    assert not (folder / "out").exists()


def test_stepping_in_the_backward_pass_is_refused_in_two_before_anything_is_read(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    optim = {"in_backward": True, "max_gradient_norm": None}
    folder = begin("refused", Workload("instruction", {"tuner": {"kind": "full"}, "optim": optim}))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeError, match=r"optim\.in_backward: 2 processes add up[\s\S]*without torchrun"):
        run(load_recipe(Path("recipe.yaml")))
    assert not (folder / "out").exists()


def test_other_commands_are_refused_in_two_processes(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = desk.tenfold("check", desk.recipe())
    assert done.code == 2
    assert "`tenfold check` in 2 processes at once" in done.err
    assert "without torchrun" in done.err
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert desk.tenfold("check", desk.recipe()).err == "", "the first one on the machine says it"


def test_the_command_as_torchrun_starts_it_speaks_once(begin: Begin) -> None:
    folder = begin("command")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "tenfold", "run"]
    environment = {**os.environ, "TENFOLD_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "recipe.yaml"], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    for line in ("score before: begun", "train instruction: begun", "score instruction: begun", "Artifact: out"):
        assert done.stdout.count(line) == 1, line
    assert (folder / "out" / "artifact.json").is_file()
