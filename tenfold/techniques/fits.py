"""How a run carries out a fit: taken from the store, or made and kept there; then it answers its task."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from tenfold.engine.stage import Fit, StageResult
from tenfold.engine.store import fingerprint, store_fit, stored_fit
from tenfold.evaluation.cost import PeakMemory
from tenfold.techniques.context import Run


def carry_out(run: Run, fit: Fit) -> StageResult:
    """Return what `fit` came to, restored from the store or made now; from here on it answers its task."""
    run.model.base.requires_grad_(False)  # nothing of the network trains
    key = fingerprint(run.state, fit.content)
    ranks = run.runtime.ranks
    stored = ranks.first(partial(stored_fit, key))
    if stored is None:
        run.log.write("note", text=f"fit {fit.name}: begun")

        def make(folder: Path) -> StageResult:
            with PeakMemory(run.runtime.device) as memory:
                result = fit.make(folder)
            return replace(result, peak_memory_bytes=memory.peak_bytes)  # kept with it: who finds it again is told

        folder, result = ranks.first(partial(store_fit, key, make))
        run.log.write("fitted", stage=fit.name, seconds=round(result.seconds, 3))
    else:
        folder, result = stored[0], replace(stored[1], from_store=True)
        run.log.write("stage_restored", stage=fit.name, updates=0, seconds=result.seconds)
    run.answer_with(fit.task, fit.reader(folder), key=key)
    run.keep_fit(fit.task, folder, result)
    return result
