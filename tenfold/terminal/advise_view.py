"""What `tenfold advise` shows: the facts, what each technique promises for them, and the commands that settle it."""

from __future__ import annotations

import json
import shlex
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import fill

from rich.markup import escape

from tenfold.compare.advise import Advice, advise, first_to_try
from tenfold.compare.estimate import budget_for, cost_class
from tenfold.compare.facts import FEWEST_TO_SPLIT, ROWS_READ, Facts, TableFacts, facts_of, spread
from tenfold.compare.grid import TUNERS
from tenfold.errors import RecipeError
from tenfold.evaluation.figures import counted
from tenfold.recipe import ModelSection
from tenfold.techniques.technique import BUILTIN
from tenfold.terminal.console import Console
from tenfold.terminal.model_notice import announce_model
from tenfold.terminal.starter_parts import LANGUAGE, Given, open_given, part_of, spoken_languages

PRIOR = "A prior by rules, not a measurement: nothing was trained."

COLOURS = {"suited": "green", "possible": "yellow", "does not apply": "dim"}


def show_advice(data: Sequence[str], model: str, *, columns: Mapping[str, str] | None = None) -> None:
    """Print what is known of the rows of `data`, of `model` and of this machine, and what follows from it.

    Raises:
        DataError: rows cannot be read, or such a model does not learn from them.
        ModelError: the model is not to be had.
        RecipeError: two tables of one name.
    """
    console = Console(highlight=False)
    section = ModelSection(name=model)
    announce_model(section)
    given = open_given("cross_lingual", data, columns)
    facts = gathered(given, section)
    advice = advise(facts)
    for line in told(facts, model):
        console.print(escape(line))
    console.print(f"\n[bold]{PRIOR}[/bold]\n")
    if facts.unlearnable:
        console.print(f"No technique applies: {escape(facts.unlearnable)}.")
        return
    for each in advice:
        _show(console, each)
    first = first_to_try(facts, advice)
    if not first:
        console.print("\nNothing can be begun with: see the reasons above.")
        return
    console.print(f"\nTry first: [bold]{', then '.join(first)}[/bold]. What settles it:\n")
    if any(table.num_alone for table in facts.tables):
        console.print("# Leave the rows out whose label has no other: every run refuses them.")
    for command in commands(facts, first, data, model, columns):
        console.print(escape(command), style="bold", soft_wrap=True)


def gathered(given: Given, section: ModelSection) -> Facts:
    """Return the facts of the tables that were `given`, with what `tenfold init` refuses to make of them."""
    facts = facts_of(given.tables, section)
    few = replace(given, tables={name: spread(rows, ROWS_READ) for name, rows in given.tables.items()})
    refused = {}
    for technique in BUILTIN:
        try:
            part_of(technique, replace(few, technique=technique))
        except RecipeError as error:
            refused[technique] = error.problems[0].found
    facts = replace(facts, refused=refused)
    if len(few.tables) > 1:
        return facts
    (rows,) = few.tables.values()
    if (spoken := spoken_languages(rows, given.language_column)) is None:
        return facts
    scale = facts.num_rows / len(rows)
    return replace(
        facts,
        language_column=spoken[0],
        languages={language: round(count * scale) for language, count in spoken[1].items()},
    )


def told(facts: Facts, model: str) -> Iterator[str]:
    """Yield what is known, a line each."""
    for table in facts.tables:
        yield f"{table.name}: {counted(table.num_rows, 'row')} of format {table.format}"
        if counts := table.rows_per_label.values():
            each = f"{counted(statistics.median(counts), 'row')} each (median; the fewest {min(counts):,})"
            yield f"  {counted(len(counts), 'label')} of {each}"
            yield from _refused_labels(table)
        of = counted(table.num_measured, "row") if table.num_measured < table.num_rows else "all rows"
        sound = ", a clip counted as 30 seconds" if table.format == "speech" else ""
        tokens = counted(table.median_tokens, "token")
        yield f"  about {tokens} each, at most {table.longest_tokens:,} ({of} counted{sound})"
        if table.num_read < table.num_rows:
            yield f"  the rest is told from {table.num_read:,} rows, evenly spaced"
        if table.num_faulty:
            yield f"  {table.num_faulty:,} of {table.num_read:,} rows say nothing to learn: see `tenfold check`"
        if facts.model.context is not None and table.longest_tokens > facts.model.context + 1 and not sound:
            yield f"  the model reads {facts.model.context:,} tokens: set data.max_length, which cuts the longer ones"
    if facts.languages:
        most = sorted(facts.languages, key=facts.languages.__getitem__, reverse=True)[:3]
        yield f"{facts.language_column}: {len(facts.languages)} languages, most rows in {', '.join(most)}"
    yield f"{model}: {_millions(facts.model.parameters)} million parameters, {facts.model.family}"
    machine = facts.machine
    where = "no GPU" if machine.device == "cpu" else machine.device
    yield (
        f"{counted(machine.cores, 'core')}, {where}, {machine.memory_bytes / 1e9:,.0f} GB, "
        f"about {machine.flops / 1e9:,.0f} GFLOP/s in {machine.precision}"
    )


def _refused_labels(table: TableFacts) -> Iterator[str]:
    """Yield what of the labels a run would refuse; of rows that were not read nothing can be said."""
    if table.num_read < table.num_rows:
        return
    if len(table.rows_per_label) == 1:
        yield "  every run refuses that: there is nothing to tell apart"
        return
    if table.num_alone:
        yield f"  every run refuses labels of one row ({table.num_alone:,} here): add rows, or leave theirs out"
    if table.num_alone and not table.unlearnable:
        yield "  what follows is about the others"
    if scarce := sum(1 < count < FEWEST_TO_SPLIT for count in table.rows_per_label.values()):
        yield f"  labels of 2 or 3 rows ({scarce:,} here) may keep 1 to train on, which is refused too"


def _millions(count: int) -> str:
    return f"{count / 1e6:,.0f}" if count >= 10e6 else f"{count / 1e6:.2g}"


def _show(console: Console, advice: Advice) -> None:
    cost = "" if advice.seconds is None else f", {cost_class(advice.seconds)} a training"
    colour = COLOURS[advice.standing]
    console.print(f"[bold]{advice.technique}[/bold]: [{colour}]{advice.standing}[/{colour}]{cost}")
    reason = fill(f"{advice.reason} [{advice.source}]", console.width, initial_indent="  ", subsequent_indent="  ")
    console.print(escape(reason))


def commands(
    facts: Facts, first: Sequence[str], data: Sequence[str], model: str, columns: Mapping[str, str] | None
) -> Iterator[str]:
    """Yield the commands that settle which technique of `first` is better, each as it may be pasted.

    `first` names at least one.
    """
    recipe, budget = _free("recipe.yaml"), budget_for(facts, first)
    others = [each for each in first if each != "cross_lingual"]
    if facts.languages is None or len(others) == len(first):
        yield (
            f"{_init(_base(first), data, model, columns, recipe)} && \\\n"
            f"tenfold compare {recipe} --techniques {','.join(first)} --budget {budget}"
        )
    elif others:
        grid = _free("grid.yaml")
        yield _init(_base(others), data, model, columns, recipe)
        yield "# cross_lingual has to be told the column of languages, which a grid file does:"
        yield "\n".join([f"cat > {grid} <<'END'", *_grid(facts, first, recipe, budget), "END"])
        yield f"tenfold compare {grid}"
    else:
        yield f"{_init('cross_lingual', data, model, columns, recipe)} && \\\ntenfold run {recipe}"


def _grid(facts: Facts, techniques: Sequence[str], recipe: str, budget: str) -> Iterator[str]:
    """Yield the lines of a grid file in which cross_lingual learns one language."""
    assert facts.languages is not None, "rows that say their language"
    source = "en" if "en" in facts.languages else max(facts.languages, key=facts.languages.__getitem__)
    options = {"language_column": facts.language_column, "source": [source]}
    yield f"recipe: {recipe}"
    yield f"techniques: [{', '.join(techniques)}]"
    yield f"options: {json.dumps({'cross_lingual': options}, ensure_ascii=False)}"
    yield f"budget: {budget}"


def _base(techniques: Sequence[str]) -> str:
    """Return whose starter recipe the comparison rests on: one that trains by what `compare` lets it train by."""
    by_starter = {"parameter_efficient", "feature_based", "adapters", "distillation"}
    return next((each for each in techniques if each in by_starter or each not in TUNERS), techniques[0])


def _init(technique: str, data: Sequence[str], model: str, columns: Mapping[str, str] | None, recipe: str) -> str:
    parts = ["tenfold", "init", technique]
    for source in data:
        parts += ["--data", source]
    for ours, theirs in (columns or {}).items():
        if ours == LANGUAGE and technique != "cross_lingual":
            continue  # to the others it says nothing, and they refuse it
        parts += ["--columns", f"{ours}={theirs}"]
    parts += ["--model", model]
    return shlex.join([*parts, *(["--out", recipe] if recipe != "recipe.yaml" else [])])


def _free(name: str) -> str:
    """Return `name`, or one like it that no file here has."""
    path, number = Path(name), 1
    while path.exists():
        number += 1
        path = Path(f"{Path(name).stem}-{number}.yaml")
    return str(path)
