"""What is said, and done, where an update of a training cannot be made as it was to be."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tenfold.data.batch import Batch, Window
from tenfold.data.windows import WindowSource
from tenfold.engine.log import Log
from tenfold.engine.ranks import Ranks
from tenfold.engine.stage import Stage
from tenfold.errors import Interrupted, NonFiniteLoss, OutOfMemory, Problem, RecipeError
from tenfold.models.memory import is_out_of_memory


def smaller_micro_batches(
    windows: WindowSource, window: Window, update: int, error: Exception, log: Log
) -> WindowSource:
    """Return `windows` with half the micro-batch if `error` means "out of memory"; else raise it again.

    Raises:
        OutOfMemory: the `window` has one row at a time already.
    """
    if not is_out_of_memory(error):
        raise error
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    largest = max(batch.num_positions for batch in window.batches)
    if all(len(batch.rows) == 1 for batch in window.batches):
        raise OutOfMemory(
            Problem(
                f"update {update + 1}",
                f"out of memory with one row at a time ({largest} tokens)",
                remedy="set data.max_length lower, runtime.gradient_checkpointing: true, a smaller tuner, or qlora;"
                " with all weights, optim.optimizer: adamw_8bit",
            )
        ) from error
    tokens = max(1, min(largest, windows.micro_batch_tokens) // 2)
    log.write("note", text=f"out of memory: micro-batches of {tokens} tokens from now on; the update stays the same")
    return windows.with_micro_batch_tokens(tokens)


def only_batch(window: Window) -> Batch:
    """Return the one batch that `window` is made of, for `optim.in_backward`.

    Raises:
        RecipeError: it holds rows that no batch can hold together.
    """
    if len(window.batches) > 1:
        found = f"an update is made of {len(window.batches)} batches, such as rows of several tasks"
        raise RecipeError(
            Problem("optim.in_backward", found, allowed="updates of one batch", remedy="leave out optim.in_backward")
        )
    return window.batches[0]


def out_of_memory_for_good(update: int, *, in_backward: bool) -> OutOfMemory:
    """Return what to raise where memory ran out in an update that cannot be begun again with less.

    With `in_backward` some parameters have moved already; where weights are sharded, other ranks are in the middle of
    the update and cannot be told.
    """
    if in_backward:
        found = "out of memory; optim.in_backward takes it whole"
        remedy = "lower optim.batch_size or data.max_length, or set runtime.gradient_checkpointing: true"
    else:
        found = "out of memory; where weights are sharded a micro-batch cannot be made smaller on the way"
        remedy = "set runtime.micro_batch_tokens lower, or runtime.gradient_checkpointing: true; or more processes"
    return OutOfMemory(Problem(f"update {update + 1}", found, remedy=remedy))


def not_finite(stage: Stage, window: Window, totals: Sequence[Tensor], update: int, ranks: Ranks) -> NonFiniteLoss:
    """Return what to raise where a loss (of those in `totals`) or its gradient is no number; it names the rows."""
    mine = [batch.rows for batch, total in zip(ranks.share(window), totals, strict=True) if not torch.isfinite(total)]
    found = [rows for of_rank in ranks.each(mine) for rows in of_rank]
    rows = found[0] if found else window.rows
    named = ", ".join(stage.windows.origin(row) for row in rows[:5])
    more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    return NonFiniteLoss(
        Problem(
            f"stage {stage.name}, update {update + 1}",
            f"the loss or its gradient is not finite; rows: {named}{more}",
            remedy="lower optim.learning_rate, or run in precision fp32; the last checkpoint is kept",
        )
    )


def interrupted(update: int) -> Interrupted:
    """Return what to raise where a training was asked to stop."""
    return Interrupted(
        Problem(
            f"stopped after update {update}",
            "as asked; a checkpoint was written",
            remedy="run the same command again to go on from here",
        )
    )
