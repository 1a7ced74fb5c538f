"""Learning from features as a stage of a run: read, choose by cross-validation, fit the best to all training rows.

What is left in a folder: estimator.skops and reader.json (`readers.py`), and candidates.json, the table of all that was
tried.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from tenfold.data.prepare import Prepared
from tenfold.engine.log import Log
from tenfold.engine.stage import StageResult
from tenfold.errors import Interrupted, Problem
from tenfold.features.candidates import CANDIDATES
from tenfold.features.choose import Candidate, Fold, Targets, Trials, best_of, noted
from tenfold.features.estimators import Wish, make_estimator
from tenfold.features.extract import Extraction, Features
from tenfold.features.readers import EstimatorReader
from tenfold.features.scoring import scoring_of
from tenfold.features.views import View, parts_of
from tenfold.files import write_json


@dataclass(frozen=True)
class Choice:
    """What is learned from, and what is tried on it: every wish on every view, in the same folds."""

    prepared: Prepared
    targets: Targets
    wishes: tuple[Wish, ...]
    views: tuple[View, ...]
    folds: Sequence[Fold]
    metric: str
    standardise: bool
    seed: int

    @property
    def content(self) -> dict[str, object]:
        """Everything that decides what is chosen and fitted, as plain values."""
        return {
            "rows": self.prepared.fingerprint,
            "form": self.targets.form,
            "wishes": [[wish.name, dict(wish.options)] for wish in self.wishes],
            "views": [view.name for view in self.views],
            "folds": [fold[1].tolist() for fold in self.folds],
            "metric": self.metric,
            "standardise": self.standardise,
            "seed": self.seed,
        }

    def tried(self, features: Features, *, heard: Callable[[Candidate], None]) -> list[Candidate]:
        """Return every wish on every view of `features`, tried; `heard` is told of each."""
        score = scoring_of(self.metric, self.targets.form)
        trials = Trials(self.folds, score, standardise=self.standardise, seed=self.seed)
        candidates = []
        with threads_as_chosen():
            for candidate in trials.of(self.wishes, self.views, features.matrix, self.targets):
                heard(candidate)
                candidates.append(candidate)
        return candidates

    def fitted(self, best: Candidate, features: Features) -> tuple[EstimatorReader, dict[str, int]]:
        """Return the best candidate fitted to all rows, and what scikit-learn warned of."""
        notes: dict[str, int] = {}
        form = self.targets.form
        estimator = make_estimator(best.wish, form, standardise=self.standardise, seed=self.seed)
        with threads_as_chosen(), noted(notes), np.errstate(all="ignore"):
            estimator.fit(features.matrix(best.view), self.targets.values)
        return EstimatorReader(best.view, estimator, form, self.targets.num_outputs), notes


@dataclass(frozen=True)
class FeatureFit:
    """The best estimator on the best view of a frozen model's states, chosen and fitted on training rows."""

    name: str
    task: str
    choice: Choice
    extraction: Extraction
    log: Log
    stop_asked: Callable[[], bool] = lambda: False

    @property
    def content(self) -> dict[str, object]:
        """Everything that decides what it comes to, beside the model."""
        return {"name": self.name, "task": self.task, **self.choice.content}

    def make(self, folder: Path) -> StageResult:
        """Write the chosen estimator into `folder`, with the table of all candidates, and return what it took.

        Raises:
            Interrupted: asked to stop; features that were read are kept.
            RunFailure: every candidate failed.
        """
        choice = self.choice
        features = self.extraction.of(choice.prepared, parts_of(choice.views))
        started = time.perf_counter()
        candidates = choice.tried(features, heard=self._heard)
        best = best_of(candidates)
        chosen = time.perf_counter()
        reader, notes = choice.fitted(best, features)
        fitted = time.perf_counter()
        reader.save(folder)
        seconds = {"features": features.seconds, "choosing": chosen - started, "fitting": fitted - chosen}
        table = {
            "metric": choice.metric,
            "folds": len(choice.folds),
            "standardise": choice.standardise,
            "best": candidates.index(best),
            "notes": sorted(notes),
            "seconds": seconds,
            "candidates": [candidate.content for candidate in candidates],
        }
        write_json(folder / CANDIDATES, table)
        return StageResult(
            name=self.name,
            updates=0,
            tokens=features.tokens,
            supervised_tokens=0,
            seconds=sum(seconds.values()),
            best_value=best.mean,
            is_fit=True,
        )

    def reader(self, folder: Path) -> EstimatorReader:
        """Return what answers from now on, read from the folder that `make` filled."""
        return EstimatorReader.load(folder)

    def _heard(self, candidate: Candidate) -> None:
        if self.stop_asked():
            again = "run the same command again: the features are kept"
            raise Interrupted(Problem(f"stopped while choosing for {self.task}", "as asked", remedy=again))
        score = f"{candidate.mean:.4f}" if candidate.scores else candidate.note
        text = f"{candidate.wish.text} on {candidate.view.name}: {score}, {candidate.seconds:.1f} s"
        self.log.write("note", text=text)


def threads_as_chosen() -> AbstractContextManager[object]:
    """Return a block in which linear algebra has as many threads as torch.

    On a core that is shared, a small logistic regression took 10 times as long with a second thread.
    """
    limits: AbstractContextManager[object] = threadpool_limits(torch.get_num_threads())
    return limits
