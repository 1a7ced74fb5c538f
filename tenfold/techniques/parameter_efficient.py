"""Parameter-efficient fine-tuning: train a small addition, leave the base model as it is.

Idea: freeze the base and train few parameters beside it (LoRA, QLoRA, IA³, prompts …); the result is a small file
that any copy of the base can carry, and that can be merged into it.
Source: Hu et al. 2021, "LoRA" (arXiv 2106.09685); Dettmers et al. 2023, "QLoRA" (arXiv 2305.14314).
When: memory is short, several tasks share one base, or the base's own abilities must stay.
Costs: one stage; memory of the frozen base plus activations; a few megabytes on disk.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from tenfold.errors import Problem
from tenfold.recipe import Recipe
from tenfold.recipe.tuners import TUNERS
from tenfold.techniques.claims import keeps_general_text, small_on_disk, task_metric_rises, trains_few_parameters
from tenfold.techniques.technique import Options, Technique

if TYPE_CHECKING:
    from tenfold.engine.stage import Stage, StageResult
    from tenfold.techniques.context import Run


class ParameterEfficientOptions(Options):
    """Settings of parameter-efficient tuning."""

    merge: bool = False
    """Also save the base with the adapter merged in, as a model folder of its own."""


def parameter_efficient(run: Run, options: ParameterEfficientOptions) -> Generator[Stage, StageResult, None]:
    """Yield one stage with the recipe's adapter; afterwards ask for a merged copy if the options do."""
    yield run.stage("parameter_efficient")
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
    claims=(
        trains_few_parameters(share=0.01, source="Hu et al. 2021, arXiv 2106.09685, abstract"),
        task_metric_rises(source="Hu et al. 2021, arXiv 2106.09685"),
        small_on_disk(share=0.05, source="Hu et al. 2021, arXiv 2106.09685, section 4.2"),
        keeps_general_text(source="Biderman et al. 2024, 'LoRA Learns Less and Forgets Less', arXiv 2405.09673"),
    ),
)
