"""Parameter-efficient fine-tuning: train a small addition, leave the base model as it is.

Idea: freeze the base and train few parameters beside it (LoRA, QLoRA, IA³, prompts …); the result is a small file
that any copy of the base can carry, and that can be merged into it.
Source: Hu et al. 2021, "LoRA" (arXiv 2106.09685); Dettmers et al. 2023, "QLoRA" (arXiv 2305.14314).
When: memory is short, several tasks share one base, or the base's own abilities must stay.
Costs: one stage; memory of the frozen base plus activations; a few megabytes on disk. With `compare_full`, full tuning
of the same model on the same rows as well.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field

from tenfold.errors import Problem
from tenfold.recipe import Recipe
from tenfold.recipe.tuners import TUNERS
from tenfold.techniques.claims import keeps_general_text, small_on_disk, task_metric_rises, trains_few_parameters
from tenfold.techniques.parameter_efficient_claims import FULL, cheaper_than_full, keeps_more_than_full
from tenfold.techniques.technique import Options, Plan, Technique

if TYPE_CHECKING:
    from tenfold.engine.stage import Stage, StageResult
    from tenfold.techniques.context import Run


class ParameterEfficientOptions(Options):
    """Settings of parameter-efficient tuning."""

    merge: bool = False
    """Also save the base with the adapter merged in, as a model folder of its own."""
    compare_full: bool = False
    """Also tune every weight of the same model on the same rows, to judge the claims by."""
    full_learning_rate: float = Field(default=2e-5, gt=0.0, le=1.0)
    """The rate of that full tuning (the usual one of instruction tuning)."""


def plan(run: Run, options: ParameterEfficientOptions) -> Plan:
    """Return the stages: full tuning where it is asked for, and the recipe's adapter last."""
    from tenfold.evaluation.scorecard import BEFORE
    from tenfold.recipe.tuners import Full
    from tenfold.tuning.tuner import make_tuner

    own = run.stage("parameter_efficient")
    if not options.compare_full:
        return Plan((own,))
    full = replace(
        run.stage(FULL), tuner=make_tuner(Full()), learning_rate=options.full_learning_rate, starts_from=BEFORE
    )
    note = f"compare_full tunes every weight too: {full.total_updates} updates and a scoring more"
    return Plan((full, replace(own, starts_from=BEFORE)), (note,))


def parameter_efficient(run: Run, options: ParameterEfficientOptions) -> Generator[Stage, StageResult, None]:
    """Yield the stages of the plan; afterwards ask for a merged copy if the options do."""
    for stage in plan(run, options).stages:
        result = yield stage
        if stage.name == FULL:
            seconds, peak = round(result.seconds, 3), result.peak_memory_bytes
            run.report(FULL, {"seconds": seconds, "peak_memory_bytes": peak})
    if options.merge:
        run.save_merged()


def check(recipe: Recipe, options: ParameterEfficientOptions) -> list[Problem]:
    """Return a problem if the tuner trains the base itself, or cannot be merged although it shall be."""
    from tenfold.tuning.merging import can_merge  # brings torch and peft along

    if recipe.tuner.kind in ("full", "partial"):
        return [
            Problem(
                "tuner.kind",
                f"{recipe.tuner.kind} trains the base model's own weights",
                allowed=", ".join(kind for kind in TUNERS if kind not in ("full", "partial")),
                remedy="choose one of these, or technique.kind: instruction",
            )
        ]
    if options.merge and not can_merge(recipe.tuner):
        found = f"{recipe.tuner.kind} is no change of weights and cannot be merged into them"
        return [Problem("technique.merge", found, remedy="set it to false, or choose a tuner such as lora")]
    return []


TECHNIQUE = Technique(
    kind="parameter_efficient",
    summary="train a small addition beside a frozen model: LoRA, QLoRA and the PEFT family",
    when="memory is short, several tasks share one base, or what the base can do must stay",
    stages=parameter_efficient,
    options=ParameterEfficientOptions,
    check=check,
    plan=plan,
    shards=True,
    claims=(
        trains_few_parameters(share=0.01, source="Hu et al. 2021, arXiv 2106.09685, abstract"),
        task_metric_rises(source="Hu et al. 2021, arXiv 2106.09685"),
        small_on_disk(share=0.05, source="Hu et al. 2021, arXiv 2106.09685, section 4.2"),
        cheaper_than_full(source="Hu et al. 2021, arXiv 2106.09685, section 4.2"),
        keeps_more_than_full(source="Biderman et al. 2024, arXiv 2405.09673"),
        keeps_general_text(source="Biderman et al. 2024, 'LoRA Learns Less and Forgets Less', arXiv 2405.09673"),
    ),
)
