"""How an artifact becomes a model that answers: base opened, identity checked, trained weights put in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from tenfold.engine.runtime import Runtime, open_runtime
from tenfold.models.heads import HeadSettings, load_heads
from tenfold.models.load import load_tokenizer
from tenfold.models.open import open_model
from tenfold.models.save import is_saved_in_fp32
from tenfold.models.sources import resolve
from tenfold.models.trunk import Trunk
from tenfold.recipe import Recipe
from tenfold.tuning.acting import Acting, let_act, require_choice
from tenfold.tuning.adapter_bank import bank_of
from tenfold.tuning.composition import from_json, from_text
from tenfold.tuning.identity import check_identity, identify, read_identity
from tenfold.tuning.tuner import make_tuner


def choose_adapters(model: Trunk, own: object, asked: str | None, *, drop_blocks: int = 0) -> None:
    """Let adapters of the loaded `model` act from here on: those that are `asked` for, else its task's `own`.

    `asked` is written as `legal`, `legal+medical` fused, `de/legal` stacked, or `none`; `own` as an artifact keeps it,
    None for what acts already. The first `drop_blocks` blocks go without.

    Raises:
        ArtifactError: the model holds no adapters, or not these.
    """
    if asked is None and own is None and not drop_blocks:
        return
    bank = bank_of(model.network)
    if bank is not None:
        require_choice(bank, asked, drop_blocks=drop_blocks)
    active = None if bank is None else bank.active
    composition = from_text(asked) if asked is not None else active if own is None else from_json(own)
    asked_by = "--adapter" if asked is not None else "--drop-blocks" if drop_blocks else "artifact.json, answered_by"
    let_act(model.network, Acting(composition, tuple(range(drop_blocks))), asked_by=asked_by)


def load_tuned(
    recipe: Recipe,
    weights: Path,
    *,
    is_whole: bool,
    heads: Mapping[str, Mapping[str, Any]],
    fitted: Sequence[str] = (),
    base: str | None = None,
    runtime: Runtime | None = None,
) -> Trunk:
    """Return the model that `recipe` tuned, its trained weights read from the folder `weights`.

    `is_whole` says that they are a whole model, not an adapter beside one; `heads` are the settings of the heads on it
    by task, `fitted` the tasks that an estimator in a folder of their name answers; `base` names another copy of it.

    Raises:
        ArtifactError: the base is not the one that the adapter was trained on.
        ModelError: the base cannot be had.
    """
    section = recipe.model if base is None else recipe.model.model_copy(update={"name": base, "revision": None})
    # precision as in training; device and threads as this machine has them
    runtime = runtime or open_runtime(recipe.runtime.model_copy(update={"device": "auto", "threads": None}))
    tokenizer = load_tokenizer(weights, trust_remote_code=section.trust_remote_code)
    tuner = make_tuner(recipe.tuner)
    folder = weights
    if not is_whole:
        files = resolve(section)
        folder = files.folder
        own = load_tokenizer(folder, trust_remote_code=section.trust_remote_code)
        check_identity(read_identity(weights), identify(folder, own, name=files.name))
    # a stage that trained the base itself may have come after the recipe's own tuner
    is_in_fp32 = tuner.loads_in_fp32 or (is_whole and not tuner.trains_base_weights and is_saved_in_fp32(weights))
    model = open_model(
        folder,
        tokenizer,
        dtype=torch.float32 if is_in_fp32 else runtime.compute_dtype,
        device=runtime.device,
        quantization=None if is_whole else tuner.quantization,
        trust_remote_code=section.trust_remote_code,
    )
    for task, settings in heads.items():
        model.add_head(task, HeadSettings(**settings))
    load_heads(model.heads, weights)
    if fitted:
        from tenfold.features.readers import EstimatorReader  # brings scikit-learn along

        model.readers.update({task: EstimatorReader.load(weights / task) for task in fitted})
    model.eval()
    if is_in_fp32:
        model.autocast = runtime.autocast
    if is_in_fp32 or (is_whole and not tuner.trains_base_weights):
        return model
    model.wrap(tuner.load(model.base, weights), packs=tuner.packs, autocast=None)
    model.eval()
    return model
