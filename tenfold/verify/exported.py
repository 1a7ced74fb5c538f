"""How others open what a run saves: transformers and PEFT as they come, without any of our code."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import peft
import torch
from torch.nn import functional

from tenfold.data.batch import IGNORED, Batch
from tenfold.models.architecture import Family
from tenfold.models.load import OPENERS
from tenfold.models.quiet import quiet_loading
from tenfold.verify.measure import Values


def plain_losses(weights: Path, rows: Sequence[Batch], *, family: Family, base: Path | None) -> Values:
    """Return the negative log likelihood of each row's supervised tokens by the model in `weights`, in fp32.

    It is an adapter on the model in `base`, or where there is none, a whole model. Each of `rows` is one row.
    """
    model = _opened(weights, family=family, base=base)
    values: dict[tuple[str, int, int], torch.Tensor] = {}
    for batch in rows:
        (row,) = batch.rows
        met = sum(key[:2] == (batch.task, row) for key in values)
        values[batch.task, row, met] = _losses(model, batch)
    return values


def _opened(weights: Path, *, family: Family, base: Path | None) -> Any:
    with quiet_loading(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # notes of PEFT's that are about training
        model = OPENERS[family].from_pretrained(base or weights, dtype=torch.float32, local_files_only=True)
        if base is not None:
            model = peft.PeftModel.from_pretrained(model, weights)
    return model.eval()


@torch.no_grad()
def _losses(model: Any, batch: Batch) -> torch.Tensor:
    if batch.source is None:
        inputs = {"input_ids": batch.input_ids[None]}
    else:
        inputs = {**batch.source.read(), "decoder_input_ids": batch.input_ids[None]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logits = model(**inputs, use_cache=False).logits[0, -len(batch.input_ids) :]
    told = batch.targets != IGNORED
    return functional.cross_entropy(logits[told].float(), batch.targets[told], reduction="none")
