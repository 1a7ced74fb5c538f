"""Losses of several tasks: each by its own objective, made comparable, weighted by hand or by what is learned."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from tenfold.data.batch import Batch, Window
from tenfold.engine.stage import Learned
from tenfold.engine.training import Training
from tenfold.engine.update import update_once
from tenfold.models.language_model import LanguageModel
from tenfold.objectives.causal_lm import CausalLanguageModelling
from tenfold.objectives.mixed import MixedObjective, TaskLoss
from tenfold.objectives.objective import Loss
from tests.engine.stages import FixedWindows, make_model, make_stage, run_stage


@dataclass(frozen=True)
class PerRow:
    """A loss that counts rows, as a classifier's does: 3 a row."""

    def weight(self, batch: Batch) -> int:
        return len(batch.rows)

    def __call__(self, model: LanguageModel, batch: Batch) -> Loss:
        return Loss(torch.tensor(3.0 * len(batch.rows), requires_grad=True))


@dataclass(frozen=True)
class TwoTasks(FixedWindows):
    """Windows of two batches: the first is of task `words`, the second of task `kinds`."""

    micro_batch_tokens: int = 32

    def window(self, update: int) -> Window:
        batches = super().window(update).batches
        return Window(tuple(replace(batch, task=("words", "kinds")[place > 0]) for place, batch in enumerate(batches)))


def test_each_row_counts_by_its_own_tasks_loss_over_that_tasks_units_in_a_row() -> None:
    stage = make_stage()
    model = make_model(stage)
    words, kinds = TwoTasks().window(0).batches[:2]
    plain = CausalLanguageModelling()
    mixed = MixedObjective({"words": TaskLoss(plain, 4.0, weight=2.0), "kinds": TaskLoss(PerRow(), 1.0)})
    assert mixed.weight(words) == len(words.rows)
    torch.testing.assert_close(mixed(model, words).total, plain(model, words).total * 2 / 4)
    assert mixed(model, kinds).total.item() == 3 * len(kinds.rows)
    assert mixed.effective_weights() == {"words": 2.0, "kinds": 1.0}


def test_learned_weights_follow_the_published_loss() -> None:
    variances = {name: nn.Parameter(torch.tensor(value)) for name, value in {"words": 0.7, "kinds": -0.2}.items()}
    mixed = MixedObjective({name: TaskLoss(PerRow(), 1.0) for name in variances}, variances)
    batch = TwoTasks().window(0).batches[0]
    total = mixed(make_model(make_stage()), batch).total
    # with variance v = exp(s): L / v + log(sqrt(v)), a row
    variance = math.exp(0.7)
    assert total.item() == pytest.approx(len(batch.rows) * (3 / variance + math.log(math.sqrt(variance))))
    total.backward()
    assert variances["kinds"].grad is None
    assert float(variances["words"].grad) == pytest.approx(len(batch.rows) * (0.5 - 3 / variance))


def learning(updates: int = 6) -> tuple[MixedObjective, dict[str, object]]:
    variances = {name: nn.Parameter(torch.zeros(())) for name in ("words", "kinds")}
    mixed = MixedObjective(
        {"words": TaskLoss(CausalLanguageModelling(), 4.0), "kinds": TaskLoss(PerRow(), 1.0)}, variances
    )
    return mixed, {
        "updates": updates,
        "windows": TwoTasks(),
        "objective": mixed,
        "learned": Learned(variances, 0.05),
    }


def test_what_the_loss_learns_trains_at_its_own_rate_and_is_no_part_of_the_model(tmp_path: Path) -> None:
    mixed, changes = learning()
    stage = make_stage(**changes)
    model = make_model(stage)
    training = Training.begin(model, stage)
    assert {name for name in training.parameters if name.startswith("objective.")} == {
        "objective.words",
        "objective.kinds",
    }
    update_once(model, stage, stage.windows.window(0), training)
    # the first step of Adam is the rate itself, against the gradient's sign: 0.5 - 3 is below zero
    assert changes["learned"].parameters["kinds"].item() == pytest.approx(0.05, rel=1e-4)
    assert not any("objective" in name for name in stage.tuner.trainable(model.network))
    assert mixed.effective_weights()["kinds"] == pytest.approx(math.exp(-0.05), rel=1e-4)


def test_learned_weights_are_in_checkpoints_and_go_on_bit_for_bit(tmp_path: Path) -> None:
    straight, changes = learning()
    stage = make_stage(**changes)
    run_stage(make_model(stage), stage, tmp_path / "straight")
    half, changes = learning(updates=6)
    stage = make_stage(**changes)
    calls = iter([False, False, True])
    with pytest.raises(Exception, match="stopped after update 3"):
        run_stage(make_model(stage), stage, tmp_path / "halves", stop_asked=lambda: next(calls))
    resumed, changes = learning()
    stage = make_stage(**changes)
    run_stage(make_model(stage), stage, tmp_path / "halves")
    assert resumed.effective_weights() == straight.effective_weights() != half.effective_weights()


def test_the_content_tells_rates_and_starts_apart_and_never_where_they_lie() -> None:
    mixed, changes = learning()
    other, again = learning()
    stages = [make_stage(**each) for each in (changes, again)]
    assert repr(mixed) == repr(other) and stages[0].learned.content == stages[1].learned.content
    assert " at 0x" not in repr(mixed)
    assert Learned(changes["learned"].parameters, 0.1).content != changes["learned"].content
