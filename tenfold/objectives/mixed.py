"""The loss of several tasks at once: each task's own, made comparable, weighted by hand or by what it learns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tenfold.data.batch import Batch
from tenfold.data.windows import Windows
from tenfold.models.trunk import Trunk
from tenfold.objectives.objective import Loss, Objective

UPDATES_SEEN = 64
"""Updates of a task from which the units of its average row are counted."""


def units_per_row(objective: Objective, windows: Windows) -> float:
    """Return how many units `objective` counts in a row, on average over the first updates of `windows`."""
    seen = [windows.window(update) for update in range(min(UPDATES_SEEN, windows.updates_per_epoch))]
    units = sum(objective.weight(batch) for window in seen for batch in window.batches)
    return units / sum(len(window.rows) for window in seen)


@dataclass(frozen=True)
class TaskLoss:
    """One task's part of a mixed loss."""

    objective: Objective
    units_per_row: float
    """How many units the objective counts in a row of the task, on average."""
    weight: float = 1.0


@dataclass(frozen=True)
class MixedObjective:
    """The sum over rows of `weight * loss / units_per_row`, each row by its own task's loss.

    So a task counts by its share of the rows, whether its answers are a word or a page, and whether its unit is a token
    or a row: divided by the rows of an update, this is the mean of the tasks' own mean losses in their shares.

    With `log_variances` every task's loss L becomes `exp(-s) * L + s / 2`, s the logarithm of the task's variance,
    which trains too. Tasks with a high loss so come to count less. Source: Kendall et al. 2018 (arXiv 1705.07115),
    equation 10, for losses that are negative log likelihoods.
    """

    tasks: Mapping[str, TaskLoss]
    log_variances: Mapping[str, nn.Parameter] | None = field(default=None, repr=False)

    def weight(self, batch: Batch) -> int:
        """Return the number of rows."""
        return len(batch.rows)

    def __call__(self, model: Trunk, batch: Batch) -> Loss:
        """Return the loss summed over the batch's rows."""
        task = self.tasks[batch.task]
        total = task.weight / task.units_per_row * task.objective(model, batch).total
        if self.log_variances is None:
            return Loss(total)
        log_variance = self.log_variances[batch.task]
        return Loss(torch.exp(-log_variance) * total + len(batch.rows) * log_variance / 2)

    def effective_weights(self) -> dict[str, float]:
        """Return by how much each task's mean loss counts now, its share of the rows apart."""
        return {
            name: task.weight * (1.0 if self.log_variances is None else float(_precision(self.log_variances[name])))
            for name, task in self.tasks.items()
        }


def _precision(log_variance: Tensor) -> Tensor:
    return torch.exp(-log_variance.detach())
