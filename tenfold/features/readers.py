"""What answers from features in place of a head: a fitted estimator, or what is known without any features.

Shape letters: N rows, C classes or labels, D features.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from tenfold.data.batch import Batch
from tenfold.errors import ArtifactError, Problem
from tenfold.features.choose import Targets
from tenfold.features.estimator_files import load_estimator, save_estimator
from tenfold.features.estimators import Form
from tenfold.features.views import View, read_parts
from tenfold.files import sha256_file, write_json
from tenfold.models.trunk import Trunk

ESTIMATOR = "estimator.skops"
READER = "reader.json"

_LEAST = 1e-6
"""The smallest probability that a logit is made of."""


@dataclass(frozen=True)
class EstimatorReader:
    """Answers with a fitted estimator on one view of a model's states."""

    view: View
    estimator: BaseEstimator
    form: Form
    num_outputs: int

    def __call__(self, model: Trunk, batch: Batch) -> Tensor:
        """Return logits [N, C] whose verdict is the estimator's own prediction; numbers [N, 1] are the prediction."""
        parts = read_parts(model, batch, self.view.parts)
        rows = torch.cat([parts[part] for part in self.view.parts], dim=1).numpy()
        return torch.from_numpy(self.logits(rows)).float()

    def logits(self, rows: np.ndarray) -> np.ndarray:
        """Return the same for features [N, D]."""
        if self.form == "value":
            return np.asarray(self.estimator.predict(rows), dtype=np.float64).reshape(len(rows), 1)
        predicted = self.estimator.predict(rows)
        if self.form == "classes":
            return self._of_labels(rows, np.asarray(predicted).reshape(len(rows), self.num_outputs))
        return self._of_classes(rows, np.asarray(predicted).astype(int))

    def save(self, folder: Path) -> None:
        """Write the estimator, and what it answers from."""
        save_estimator(self.estimator, folder / ESTIMATOR)
        facts = {
            "layers": list(self.view.layers),
            "pooling": self.view.pooling,
            "form": self.form,
            "num_outputs": self.num_outputs,
            "sha256": sha256_file(folder / ESTIMATOR),
        }
        write_json(folder / READER, facts)

    @classmethod
    def load(cls, folder: Path) -> EstimatorReader:
        """Return the reader that `save` wrote.

        Raises:
            ArtifactError: something is missing, damaged or not trusted.
        """
        try:
            facts: Mapping[str, Any] = json.loads((folder / READER).read_text(encoding="utf-8"))
            view = View(tuple(facts["layers"]), facts["pooling"])
            form, num_outputs, told = facts["form"], int(facts["num_outputs"]), facts["sha256"]
            is_whole = told == sha256_file(folder / ESTIMATOR)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(Problem(str(folder), f"damaged: {error}", remedy="run the recipe again")) from error
        if not is_whole:
            found = "not the file that was saved: its hash does not hold"
            raise ArtifactError(Problem(str(folder / ESTIMATOR), found, remedy="run the recipe again"))
        return cls(view, load_estimator(folder / ESTIMATOR), form, num_outputs)

    def _of_classes(self, rows: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        known = np.asarray(self.estimator.classes_).astype(int)
        values = np.full((len(rows), self.num_outputs), np.log(_LEAST))
        values[:, known] = self._confidences(rows, known)
        # an SVC's decision values may favour another class than its votes: what it predicts is what counts
        best = values.max(axis=1)
        is_other = values.argmax(axis=1) != predicted
        values[np.flatnonzero(is_other), predicted[is_other]] = best[is_other] + 1e-3
        return values

    def _confidences(self, rows: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Return log probabilities, or decision values where there are none, [N, K]."""
        if hasattr(self.estimator, "predict_proba"):
            logs: np.ndarray = np.log(np.clip(self.estimator.predict_proba(rows), _LEAST, None))
            return logs
        assert hasattr(self.estimator, "decision_function"), "`wish_problems` has refused what has neither"
        decided = np.asarray(self.estimator.decision_function(rows), dtype=np.float64)
        if decided.ndim == 1:
            return np.stack([-decided / 2, decided / 2], axis=1)
        assert decided.shape[1] == len(known), "`wish_problems` has refused values of pairs of classes"
        return decided

    def _of_labels(self, rows: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Return a logit for each label, above zero exactly where it is predicted: how sure is the estimator's own."""
        decided = self._decided(rows).reshape(predicted.shape)
        # what is predicted counts: votes, or one label's own threshold, may say otherwise than the value does
        agrees = (decided > 0) == (predicted > 0)
        certain = np.where(agrees, np.maximum(np.abs(decided), _LEAST), _LEAST)
        return np.where(predicted > 0, certain, -certain)

    def _decided(self, rows: np.ndarray) -> np.ndarray:
        """Return the log odds of each label's probability, or its decision value where there is no probability."""
        if not hasattr(self.estimator, "predict_proba"):
            assert hasattr(self.estimator, "decision_function"), "`wish_problems` has refused what has neither"
            return np.asarray(self.estimator.decision_function(rows), dtype=np.float64)
        shares = self.estimator.predict_proba(rows)
        if isinstance(shares, list):  # one table a label, over the values 0 and 1 that it took in training
            known = self.estimator.classes_
            shares = np.stack([each @ np.asarray(values) for each, values in zip(shares, known, strict=True)], axis=1)
        shares = np.clip(shares, _LEAST, 1 - _LEAST)
        return np.asarray(np.log(shares / (1 - shares)))


@dataclass(frozen=True)
class FeaturelessReader:
    """Answers every row alike: the logits of the training rows' shares, or their mean. What features must beat."""

    logits: tuple[float, ...]

    def __call__(self, model: Trunk, batch: Batch) -> Tensor:
        """Return the same answer for each row, [N, C]; the model is not asked."""
        return torch.tensor(self.logits).expand(len(batch.lengths), -1)


def without_features(targets: Targets) -> FeaturelessReader:
    """Return what answers with the majority class (each label by its own majority), or the mean of the numbers."""
    values = targets.values
    if targets.form == "value":
        return FeaturelessReader((float(np.mean(values)),))
    if targets.form == "class":
        shares = np.bincount(values.astype(int), minlength=targets.num_outputs) / len(values)
        return FeaturelessReader(tuple(float(each) for each in np.log(np.clip(shares, _LEAST, None))))
    shares = np.clip(values.mean(axis=0), _LEAST, 1 - _LEAST)
    return FeaturelessReader(tuple(float(each) for each in np.log(shares / (1 - shares))))
