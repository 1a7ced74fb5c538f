"""Task-specific fine-tuning: one model for one task, with probabilities that mean what they say.

Idea: put a small head on a language model (or let it write), train both on the task's rows, and measure the result
against what costs nothing: asking the model as it is, showing it examples, counting words.
Source: heads, Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training", section 3.2, and
Devlin et al. 2018 (arXiv 1810.04805), section 4; going on with the domain's raw text first, Gururangan et al. 2020
(arXiv 2004.10964); temperature scaling, Guo et al. 2017 (arXiv 1706.04599), section 4.2.
When: one task: classes, sets of labels, numbers, tagged words, answers in a context, or text of one domain.
Costs: one stage; with `domain` one more over its text; the baselines a pass over the test rows for each class.
"""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import TYPE_CHECKING

from tenfold.errors import Problem, collecting
from tenfold.recipe import Recipe
from tenfold.techniques.task_specific_claims import (
    better_than,
    domain_helps,
    probabilities_can_be_trusted,
)
from tenfold.techniques.task_specific_names import FEW_SHOT, WORDS, ZERO_SHOT
from tenfold.techniques.task_specific_options import TaskSpecificOptions
from tenfold.techniques.technique import Plan, Technique

if TYPE_CHECKING:
    from tenfold.engine.stage import Stage, StageResult
    from tenfold.techniques.context import Run
    from tenfold.techniques.start import Start


def check(recipe: Recipe, options: TaskSpecificOptions) -> list[Problem]:
    """Return what does not fit: several tasks, or settings of a domain that is none."""
    problems: list[Problem] = []
    if len(recipe.tasks) > 1:
        remedy = "leave one in data.tasks, or choose technique.kind: multi_task"
        problems.append(
            Problem(
                "technique.kind", f"task_specific is for one task, and there are {len(recipe.tasks)}", remedy=remedy
            )
        )
    if options.domain is None:
        for name in ("compare_domain", "domain_updates"):
            if getattr(options, name):
                problems.append(
                    Problem(f"technique.{name}", "there is no domain to go on with", remedy="set technique.domain")
                )
        return problems
    if recipe.tuner.kind == "frozen":
        found = "the domain's text trains the model, and frozen leaves it as it is"
        problems.append(Problem("tuner.kind", found, remedy="choose another tuner, or remove technique.domain"))
    from tenfold.data.sources import open_rows  # brings datasets along

    with collecting(problems):
        open_rows(options.domain, format="text")
    return problems


def start(recipe: Recipe, options: TaskSpecificOptions) -> Start:
    """Return the recipe's model, and the domain's text as what decides the run too."""
    from tenfold.data.sources import open_rows
    from tenfold.models.sources import resolve
    from tenfold.techniques.start import Start

    files = resolve(recipe.model)
    if options.domain is None:
        return Start(files)
    text = open_rows(options.domain, format="text")
    return Start(files, {f"domain text ({text.name})": text.fingerprint})


def plan(run: Run, options: TaskSpecificOptions) -> Plan:
    """Return the stages, and what is compared without any training.

    Raises:
        UserError: the tokenizer cannot mask words, or the text gives test rows away.
    """
    from tenfold.techniques.task_specific_stages import scorers, stages, told_masked_words

    compared = scorers(run, options)
    notes = []
    if options.baselines:
        names = ", ".join(name.replace("_", " ") for name in compared)
        notes.append(f"compared without training: {names or 'nothing, for rows of this format'}")
    if run.world.first.validation is None and run.world.first.train.form in ("class", "classes"):
        notes.append("no validation rows: probabilities stay as they are (set evaluation.every to hold some out)")
    if told := told_masked_words(run, options):
        notes.append(told)
    asks_model = {name: score for name, (score, _) in compared.items() if name != WORDS}
    timed = tuple(partial(score, run.model, stage="trial") for score in asks_model.values())
    return Plan(tuple(stages(run, options)), tuple(notes), timed)


def task_specific(run: Run, options: TaskSpecificOptions) -> Generator[Stage, StageResult, None]:
    """Score what costs nothing, yield the stages, then settle temperature and threshold on the validation rows."""
    from tenfold.techniques.task_specific_stages import score_baselines, settle, stages, told_masked_words

    planned = stages(run, options)
    if told := told_masked_words(run, options):
        run.report("domain", told)
    score_baselines(run, options)
    for stage in planned:  # noqa: UP028 - a list cannot be sent results, as `yield from` would
        yield stage
    settle(run, options)


TECHNIQUE = Technique(
    kind="task_specific",
    summary="train one model for one task: classes, labels, numbers, tags, answers, or text of one domain",
    when="you have rows of one task, and want it done well, with probabilities that mean what they say",
    stages=task_specific,
    options=TaskSpecificOptions,
    check=check,
    start=start,
    plan=plan,
    claims=(
        better_than(
            ZERO_SHOT,
            "the base model asked as it is",
            source="Radford et al. 2018, section 5; Devlin et al. 2018, arXiv 1810.04805",
        ),
        better_than(FEW_SHOT, "the base model shown examples", source="Liu et al. 2022, arXiv 2205.05638, section 4"),
        better_than(WORDS, "a linear model over words", source="Wang & Manning 2012, aclanthology.org/P12-2018"),
        probabilities_can_be_trusted(source="Guo et al. 2017, arXiv 1706.04599, table 1"),
        domain_helps(source="Gururangan et al. 2020, arXiv 2004.10964, table 3"),
    ),
)
