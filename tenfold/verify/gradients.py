"""Do the short cuts of an update change it? Cutting it into micro-batches, packing, fused kernels, recomputation.

All but one check compute in fp32, whatever the recipe's precision, so that a wrong formula stands out from rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tenfold.models.trunk import Route, Trunk
from tenfold.tuning.fused_lora import unfused
from tenfold.verify.finding import Compared, Skipped
from tenfold.verify.measure import REASON, Measured, Tolerances, differences, measure, measure_each
from tenfold.verify.specimen import Opened, Specimen


def accumulation(specimen: Specimen) -> Compared | Skipped:
    """Compare an update of one micro-batch with the same one in as many as there are rows.

    Rows are padded here, so that what packing does is not part of it.
    """
    opened = specimen.exact
    with padded_rows(opened.model):
        whole = measure(opened.model, opened.stage, opened.together)
        parts = measure(opened.model, opened.stage, opened.alone)
    count = len(opened.alone)
    if count == len(opened.together):
        return Skipped("the update has one row of each task, which cannot be cut")
    what = f"{len(opened.together)} x {count} rows, {count} x 1 row"
    return Compared(what, differences(parts, whole, specimen.allowed), REASON)


def packing(specimen: Specimen) -> Compared | Skipped:
    """Compare rows in one batch, packed end to end where the model's route does so, with the same rows one by one."""
    opened = specimen.exact
    if len(opened.alone) == len(opened.together):
        return Skipped("the update has one row of each task, so no two share a batch")
    together = measure(opened.model, opened.stage, opened.together)
    alone = measure_each(opened.model, opened.stage, opened.alone)
    how = "packed" if opened.model.route.packs else "padded"
    what = f"{len(opened.alone)} rows {how}, each alone"
    return Compared(what, differences(together, alone, specimen.allowed), REASON)


def kernels(specimen: Specimen) -> Compared | Skipped:
    """Compare the model's fastest route with its own forward pass, eager attention and all, row by row."""
    return _kernels(specimen.exact, specimen.allowed)


def kernels_in_own_precision(specimen: Specimen) -> Compared | Skipped:
    """Compare the same in the precision that the recipe trains in."""
    if specimen.runtime.precision == "fp32":
        return Skipped("the recipe trains in fp32, which is compared above")
    opened, _ = specimen.trained
    return _kernels(opened, specimen.allowed_in_own_precision)


def _kernels(opened: Opened, limits: Tolerances) -> Compared:
    fast = measure(opened.model, opened.stage, opened.alone)
    with plain_forward(opened.model):
        plain = measure(opened.model, opened.stage, opened.alone)
    route = opened.model.route
    names = {
        "packed rows": route.packs,
        "split head": route.splits_head,
        "fused blocks": route.fuses,
        "fused layers and attention": not route.packs,
    }
    what = ", ".join(name for name, is_used in names.items() if is_used)
    return Compared(what, differences(fast, plain, limits), REASON)


def recomputation(specimen: Specimen) -> Compared | Skipped:
    """Compare an update whose activations are kept with one where they are computed again, both with dropout."""
    opened = specimen.exact
    model = opened.model
    if not model.base.supports_gradient_checkpointing:
        return Skipped("this architecture cannot recompute activations")
    model.base.activation_checkpointing_disable()
    model.train()
    try:
        kept = _with_seed(opened)
        model.recompute_activations()
        again = _with_seed(opened)
    finally:
        model.base.activation_checkpointing_disable()
        if opened.stage.gradient_checkpointing:
            model.recompute_activations()
        model.eval()
    return Compared(f"{len(opened.alone)} rows", differences(again, kept, specimen.allowed), REASON)


def _with_seed(opened: Opened) -> Measured:
    torch.manual_seed(opened.run.runtime.seed)
    return measure(opened.model, opened.stage, opened.together)


@contextmanager
def padded_rows(model: Trunk) -> Iterator[None]:
    """Let rows go through the model's own forward pass, padded, inside the block."""
    route = model.route
    model.route = Route(packs=False)
    try:
        yield
    finally:
        model.route = route


@contextmanager
def plain_forward(model: Trunk) -> Iterator[None]:
    """Let nothing of ours compute inside the block: padded rows, the architecture's eager attention, PEFT's layers."""
    attention = model.base.config._attn_implementation
    with padded_rows(model), unfused(model.network):
        model.base.set_attn_implementation("eager")
        try:
            yield
        finally:
            model.base.set_attn_implementation(attention)
