"""About how much memory and time a training takes, before it was tried: operations and bytes of a parameter."""

from __future__ import annotations

from collections.abc import Sequence

from tenfold.compare.facts import Facts

TRAINED_BYTES = 16
"""Bytes that full tuning keeps for each parameter: weight, gradient and AdamW's two moments in fp32.

Source: Rajbhandari et al. 2019, "ZeRO", arXiv 1910.02054, section 3.1, who count as many for mixed precision.
"""

USABLE_SHARE = 0.8
"""Part of the memory that these may take; activations need the rest."""

CEILING_SHARE = 0.4
"""Part of the speed of bare matrix products that training reaches (docs/performance.md: 0.40 to 0.49 on a CPU)."""

FULL_FLOPS, FROZEN_FLOPS, READING_FLOPS = 6, 4, 2
"""Operations a parameter and token: of full tuning, of tuning beside frozen weights, of reading alone.

Source: Kaplan et al. 2020, arXiv 2001.08361, section 2.1: two forward, four backward, of which a frozen weight needs
two.
"""

FEW_ROWS = 1000
"""Fewer rows are read three times by the recipe that `tenfold init` writes."""

TRAININGS = 3.75
"""What a comparison with three seeds and three learning rates trains of each, in whole trainings."""

AROUND_SECONDS = 180
"""What it spends on each besides: starts and scores of six runs, half a minute each."""


COST_CLASSES = ((60, "under a minute"), (600, "minutes"), (3600, "tens of minutes"), (86400, "hours"))
"""Seconds below which a training counts as so long; above all it takes days."""

BUDGETS = {"10m": 600, "30m": 1800, "1h": 3600, "2h": 7200, "4h": 14400, "8h": 28800}
"""What a budget may read, and its seconds."""


def frozen_bytes(facts: Facts) -> float:
    """Return the bytes of the model's weights as they are held where they do not train."""
    return facts.model.parameters * (2 if facts.machine.precision == "bf16" else 4)


def fits_whole(facts: Facts) -> bool:
    """Return whether memory allows to train all weights."""
    return fits(facts, TRAINED_BYTES * facts.model.parameters)


def seconds_of_training(facts: Facts, technique: str) -> float:
    """Return about how long one training takes, by the operations it needs."""
    epochs = 3 if facts.num_rows < FEW_ROWS else 1
    passes = {
        "feature_based": READING_FLOPS / epochs,  # reads each row once
        "parameter_efficient": FROZEN_FLOPS,
        "adapters": FROZEN_FLOPS,
        "multi_task": FROZEN_FLOPS,
        "sequential": FROZEN_FLOPS,
        "cross_lingual": FROZEN_FLOPS,
        "transfer": 2 * FULL_FLOPS,  # the stages before the last one come to about one more training
        "distillation": FULL_FLOPS / 2 + READING_FLOPS / epochs,  # a student of half the layers; its teacher reads once
    }
    operations = passes.get(technique, FULL_FLOPS) * epochs * facts.model.inner_parameters * facts.num_tokens
    return operations / speed(facts)


def cost_class(seconds: float) -> str:
    """Return a training's seconds as roughly as they are known."""
    return next((name for limit, name in COST_CLASSES if seconds < limit), "days")


def budget_for(facts: Facts, techniques: Sequence[str]) -> str:
    """Return the smallest usual budget that a comparison of `techniques` needs, or the largest one."""
    needed = sum(TRAININGS * seconds_of_training(facts, each) + AROUND_SECONDS for each in techniques)
    return next((name for name, seconds in BUDGETS.items() if needed <= seconds), list(BUDGETS)[-1])


def speed(facts: Facts) -> float:
    """Return the operations a second that training may hope for on this machine."""
    return CEILING_SHARE * facts.machine.flops


def fits(facts: Facts, needed: float) -> bool:
    """Return whether `needed` bytes leave room for activations."""
    return needed <= USABLE_SHARE * facts.machine.memory_bytes
