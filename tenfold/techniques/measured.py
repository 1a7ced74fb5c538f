"""A score is measured once: what decides it is its key, and the store remembers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from tenfold.engine.log import Log
from tenfold.engine.memory import out_of_memory_named
from tenfold.engine.ranks import Ranks
from tenfold.engine.store import StoredScore, store_score, stored_score
from tenfold.errors import Interrupted, Problem
from tenfold.evaluation.scorecard import Score, Scorecard


def measured_once(
    stage: str,
    task: str,
    key: str,
    measure: Callable[[], Sequence[Score]],
    *,
    log: Log,
    stop_asked: Callable[[], bool],
    ranks: Ranks,
    by_all: bool = False,
) -> StoredScore:
    """Return what `measure` gives, or gave before under `key`; of several `ranks` the first one measures.

    `by_all`: each of them measures the same, for the weights are sharded and it takes all to compute with them.

    Raises:
        Interrupted: `stop_asked()` is true, and it would have to be measured.
        OutOfMemory: it does not fit.
    """

    def begun() -> StoredScore | None:
        known = stored_score(key)
        if known is not None:
            log.write("score_restored", stage=stage, task=task)
            return known
        if stop_asked():
            again = "run the same command again: what was trained is in the store"
            raise Interrupted(Problem(f"stopped before scoring {stage}", "as asked", remedy=again))
        log.write("scoring", stage=stage, task=task)
        return None

    def measured() -> StoredScore:
        started = time.perf_counter()
        with out_of_memory_named(f"scoring {stage}"):
            card = Scorecard(tuple(measure()))
        return StoredScore(card.to_json(), time.perf_counter() - started)

    def kept(known: StoredScore) -> StoredScore:
        store_score(key, known)
        log.write("scored", stage=stage, task=task, seconds=round(known.seconds, 3))
        return known

    if not by_all:
        return ranks.first(lambda: begun() or kept(measured()))
    known = ranks.first(begun)
    if known is not None:
        return known
    mine = measured()
    return ranks.first(lambda: kept(mine))
