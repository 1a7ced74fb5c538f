"""Instruction fine-tuning: teach a model to answer as your examples do.

Idea: show the model prompts with the responses you want, and train on the response tokens only.
Source: Wei et al. 2021, "Finetuned Language Models Are Zero-Shot Learners" (arXiv 2109.01652); Ouyang et al. 2022
(arXiv 2203.02155), section 3.5, for the supervised stage.
When: you have prompts with good responses (some hundreds are enough for a narrow task), single or multi-turn.
Costs: one stage; with LoRA about the memory of inference plus activations, with full tuning four times the weights.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from tenfold.techniques.claims import keeps_general_text, task_metric_rises
from tenfold.techniques.technique import Options, Technique

if TYPE_CHECKING:
    from tenfold.engine.stage import Stage, StageResult
    from tenfold.techniques.context import Run


def instruction(run: Run, options: Options) -> Generator[Stage, StageResult, None]:
    """Yield one stage: the recipe's tuner, trained on response tokens."""
    yield run.stage("instruction")


TECHNIQUE = Technique(
    kind="instruction",
    summary="teach a model to answer as your prompt and response pairs do",
    when="you have prompts with the responses you want: questions, summaries, commands, chats",
    stages=instruction,
    shards=True,
    claims=(
        task_metric_rises(source="Wei et al. 2021, arXiv 2109.01652"),
        keeps_general_text(source="Ouyang et al. 2022, arXiv 2203.02155, names its loss as the alignment tax"),
    ),
)
