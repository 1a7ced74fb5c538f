"""What a finished run left behind, as something to verify: nothing is trained, its own weights are asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from tenfold.artifact import Artifact
from tenfold.models.trunk import Trunk
from tenfold.verify.finding import Compared, Difference, Skipped
from tenfold.verify.measure import row_values, values_tolerance
from tenfold.verify.specimen import Specimen, Tuned, few_windows

ITEMS = 64
"""Test rows of a task at most: to answer more takes longer than all other checks."""


class Finished(Specimen):
    """An artifact, and the rows that its recipe names.

    Raises (when it is made):
        UserError: its rows or its base model are no longer there.
    """

    def __init__(self, artifact: Artifact, folder: Path) -> None:
        super().__init__(artifact.recipe, folder)
        self.artifact = artifact

    @property
    def stage_name(self) -> str:
        """The last stage of the run."""
        return self.artifact.scorecard.stages[-1]

    @cached_property
    def tuned(self) -> Tuned:
        """The artifact's model; what is expected of it is what it says when it is opened for the first time."""
        windows = few_windows(self.task.windows.padded(not self.answering.route.packs)).with_micro_batch_tokens(1)
        rows = windows.window(0).batches
        kind, model = str(self.artifact.facts["weights"]), self.answering
        tolerance = values_tolerance(model, rows)
        return Tuned(self._load, self.artifact.weights, kind, rows, row_values(model, rows), tolerance)

    @cached_property
    def answering(self) -> Trunk:
        """The artifact's model in fp32."""
        return self._load()

    @property
    def _load(self) -> Callable[[], Trunk]:
        return lambda: self._opened("fp32")

    def _opened(self, precision: str) -> Trunk:
        model = self.artifact.load(runtime=replace(self.runtime, precision=precision))
        self.artifact.answer_as(model, self.task.name)
        return model


def kept_answers(specimen: Specimen) -> Compared | Skipped:
    """Compare the answers that the artifact keeps with those that its weights give now."""
    assert isinstance(specimen, Finished), "only an artifact keeps answers"
    task, scorecard = specimen.task, specimen.artifact.scorecard
    kept = scorecard.score(scorecard.stages[-1], task.name)
    if kept is None or not kept.predictions:
        return Skipped("the artifact keeps no answers: the run had no test rows")
    if len(task.items) > ITEMS:
        return Skipped(f"{len(task.items)} test rows take too long here; `tenfold evaluate` scores them")
    model = specimen._opened(specimen.runtime.precision)
    score = task.score(model, stage="verify")
    others = sum(now != then for now, then in zip(score.predictions, kept.predictions, strict=True))
    apart = Difference("answers that differ", others)
    return Compared(
        f"{len(task.items)} kept answers, those of today", (apart,), "none, the same weights, rows and batches"
    )
