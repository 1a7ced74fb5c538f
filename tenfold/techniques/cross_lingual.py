"""Cross-lingual tuning: train a task in one language, answer it in others.

Idea: a model that was pre-trained on many languages holds them in one space; a task learned in one of them works in
the others, at first without a row of theirs (zero-shot), then with a few. With an adapter for each language under the
task's (MAD-X), the language is exchanged and the task's adapter stays.
Source: Pires et al. 2019 (arXiv 1906.01502); Conneau et al. 2020, "XLM-R" (arXiv 1911.02116); few rows, Lauscher et al.
2020 (arXiv 2005.00633); adapters, Pfeiffer et al. 2020, "MAD-X" (arXiv 2005.00052); smoothed shares of several source
languages, Lample & Conneau 2019 (arXiv 1901.07291), section 3.1.
When: rows in one language, users in others, and a model that was pre-trained on all of these.
Costs: one stage and a scoring of every language; few_shot: two more stages for each language, number of rows and draw
(one without compare_alone), each of which loads the base anew, and one that is kept.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

from tenfold.errors import Problem
from tenfold.recipe import Recipe
from tenfold.techniques.cross_lingual_claims import (
    COMMONEST,
    better_than_alone,
    few_rows_add,
    transfers_zero_shot,
)
from tenfold.techniques.cross_lingual_options import TEXT, CrossLingualOptions
from tenfold.techniques.technique import Plan, Technique

if TYPE_CHECKING:
    from tenfold.engine.stage import Stage, StageResult
    from tenfold.techniques.context import Run
    from tenfold.techniques.start import Start
    from tenfold.techniques.world import World


def meet(world: World, options: CrossLingualOptions) -> None:
    """Refuse more few rows than a language has, and adapters that cannot be read or do not fit the model.

    Raises:
        UserError: with every such problem.
    """
    from tenfold.techniques.cross_lingual_stages import require_fitting

    require_fitting(world, options)


def plan(run: Run, options: CrossLingualOptions) -> Plan:
    """Return the stages, and what the tokenizer makes of each language."""
    from tenfold.techniques.cross_lingual_stages import CrossLingualStages
    from tenfold.techniques.languages import fertility, left_out_notes

    stages = CrossLingualStages(run, options)
    found = {name: fertility(task.train.rows, run.world.tokenizer) for name, task in stages.tasks.items()}
    notes = [
        f"{name}: {each.tokens_a_word:.2f} tokens a word, {each.tokens_a_character:.2f} a character"
        for name, each in found.items()
    ]
    notes += [
        f"{name}: left out {rows}, whose label no training row of {', '.join(options.source)} has"
        for name, rows in left_out_notes(run.recipe).items()
    ]
    return Plan(tuple(stages.all()), tuple(notes))


def cross_lingual(run: Run, options: CrossLingualOptions) -> Generator[Stage, StageResult, None]:
    """Tell what the tokenizer makes of each language, then yield the stages of the plan."""
    from tenfold.techniques.cross_lingual_stages import CrossLingualStages
    from tenfold.techniques.languages import commonest_share, fertility, left_out_notes, rounded

    stages = CrossLingualStages(run, options)
    found = {name: fertility(task.train.rows, run.world.tokenizer) for name, task in stages.tasks.items()}
    run.report("tokens a word", rounded({name: each.tokens_a_word for name, each in found.items()}))
    run.report("tokens a character", rounded({name: each.tokens_a_character for name, each in found.items()}))
    items = {name: task.items for name, task in stages.tasks.items() if task.items}
    shares = {name: commonest_share([item.reference for item in each]) for name, each in items.items()}
    run.report(COMMONEST, rounded(shares))
    if without := left_out_notes(run.recipe):
        run.report("left out: labels that the source lacks", without)
    if len(stages.sources) > 1:
        met = zip(options.source, stages.shares(), strict=True)
        run.report("share of the rows", rounded(dict(met)))
    for stage in stages.all():
        if options.adapted and stage.name.startswith(TEXT):
            run.let_adapters_answer(stage.name, stage.tuner.composition)  # type: ignore[attr-defined]
        elif options.adapted:
            for name in stages.tasks:
                run.let_adapters_answer(name, stages.composition(name))
        yield stage


def check(recipe: Recipe, options: CrossLingualOptions) -> list[Problem]:
    """Return what does not fit before any row is read."""
    from tenfold.techniques.languages import language_problems

    problems = []
    tasks = recipe.data.tasks
    if options.language_column is not None and tasks:
        remedy = "remove one of them: tasks are languages by themselves"
        problems.append(Problem("technique.language_column", "data.tasks are named too", remedy=remedy))
    elif options.language_column is None:
        if len(tasks) < 2:
            remedy = "name the column of your rows, or a task for each language: data.tasks: {en: FILE, de: FILE}"
            problems.append(Problem("technique.language_column", "no second language", remedy=remedy))
        else:
            problems += language_problems(tasks, options)
        if options.languages:
            found = "they are chosen from a column, and none is named"
            problems.append(Problem("technique.languages", found, remedy="set technique.language_column"))
    twice = sorted(set(options.language_adapters) & set(options.language_text))
    if twice:
        found = f"{', '.join(twice)} has an adapter and text to train one"
        problems.append(Problem("technique.language_text", found, remedy="remove one of them"))
    if options.adapted and recipe.tuner.kind != "bottleneck":
        found = f"language adapters lie under bottleneck adapters, and the tuner is {recipe.tuner.kind}"
        problems.append(Problem("tuner.kind", found, "bottleneck", "set tuner: bottleneck"))
    if len(set(options.few_shot)) < len(options.few_shot):
        problems.append(Problem("technique.few_shot", "a number of rows is named twice", remedy="name each once"))
    return problems


def start(recipe: Recipe, options: CrossLingualOptions) -> Start:
    """Return the recipe's model, and the languages' adapters as what decides the run too."""
    from tenfold.models.sources import resolve
    from tenfold.techniques.start import Start
    from tenfold.tuning.bank_files import hash_bank

    adapters = {
        f"adapter of {language} ({at})": hash_bank(Path(at)) for language, at in options.language_adapters.items()
    }
    return Start(resolve(recipe.model), adapters)


def expand(recipe: Recipe, options: CrossLingualOptions) -> Recipe:
    """Return the recipe with a task for each language.

    Raises:
        UserError: the rows' languages do not fit the options.
    """
    from tenfold.techniques.languages import with_languages

    return with_languages(recipe, options)


TECHNIQUE = Technique(
    kind="cross_lingual",
    summary="learn a task in one language and answer it in others, with no rows of theirs or a few",
    when="rows in one language, users in others, a model that was pre-trained on all of these",
    stages=cross_lingual,
    options=CrossLingualOptions,
    check=check,
    start=start,
    meet=meet,
    plan=plan,
    expand=expand,
    claims=(
        transfers_zero_shot(source="Pires et al. 2019, arXiv 1906.01502; Conneau et al. 2020, arXiv 1911.02116"),
        few_rows_add(source="Lauscher et al. 2020, arXiv 2005.00633, section 5"),
        better_than_alone(source="Lauscher et al. 2020, arXiv 2005.00633"),
    ),
)
