"""From rows with a column for the language to a task for each language, and what the tokenizer makes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tenfold.data.examples import Example
from tenfold.data.sources import Rows, open_rows
from tenfold.data.splits import column_values
from tenfold.errors import DataError, Problem, RecipeError, nearest
from tenfold.models.load import Tokenizer
from tenfold.recipe import DataSection, Recipe
from tenfold.techniques.cross_lingual_options import TEXT, CrossLingualOptions

COUNTED_ROWS = 200


def with_languages(recipe: Recipe, options: CrossLingualOptions) -> Recipe:
    """Return `recipe` with a task for each language, the sources first, and one for each language's raw text.

    Rows with labels share one head. Its classes are those of the source languages' training rows; rows of other classes
    are left out.

    Raises:
        DataError: no such column, or a language without rows.
        RecipeError: the languages do not fit the options.
    """
    tasks: dict[str, Any] = {name: data.model_dump() for name, data in recipe.data.tasks.items()}
    if options.language_column is not None:
        rows = open_rows(str(recipe.data.train), format=recipe.data.format, columns=recipe.data.columns)
        tasks = _split(rows, recipe.data, options)
    elif not any(data.head for data in recipe.data.tasks.values()):
        tasks = _with_one_head(recipe.data.tasks, options.source)
    shared = recipe.data.model_dump(exclude={"tasks", "train", "validation", "test"})
    for language, path in options.language_text.items():
        tasks.setdefault(f"{TEXT}{language}", {**shared, "columns": {}, "format": "text", "train": path})
    technique = {**recipe.technique.model_dump(), "language_column": None, "languages": ()}
    return Recipe(**{**recipe.model_dump(), "technique": technique, "data": {**shared, "tasks": tasks}})


def _split(rows: Rows, data: DataSection, options: CrossLingualOptions) -> dict[str, Any]:
    column = str(options.language_column)
    values = column_values(rows, column)
    counts = Counter(values)
    missing = [name for name in (*options.languages, *options.source) if not counts[name]]
    if missing:
        known = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items())[:50])
        problems = [Problem(rows.name, f"no row in {name!r}", known, nearest(name, counts)) for name in missing]
        raise DataError(*dict.fromkeys(problems))
    wanted = set(options.languages or counts) | set(options.source)
    names = [*options.source, *sorted(wanted - set(options.source))]
    problems = language_problems(names, options)
    if problems:
        raise RecipeError(*problems)
    where = {name: {**data.where, column: [name]} for name in names}
    shared = data.model_dump(exclude={"tasks", "where"})
    tasks = {name: {**shared, "where": where[name]} for name in names}
    if rows.format != "classification":
        return tasks
    labels = list(data.labels) or _labels(rows, values, data, options.source)
    return _answered_by(names[0], tasks, labels)


def _with_one_head(given: Mapping[str, DataSection], source: Sequence[str]) -> dict[str, Any]:
    """Return the tasks of languages that have files of their own; rows of classes share the first source's head."""
    tasks: dict[str, Any] = {name: data.model_dump() for name, data in given.items()}
    languages = {name: data for name, data in given.items() if not name.startswith(TEXT) and data.train is not None}
    tables = {
        name: open_rows(str(data.train), format=data.format, columns=data.columns) for name, data in languages.items()
    }
    if not all(table.format == "classification" for table in tables.values()):
        return tasks
    found = {
        label for name in source for label in _labels(tables[name], [name] * len(tables[name]), given[name], source)
    }
    labels = list(given[source[0]].labels) or sorted(found)
    return {**tasks, **_answered_by(source[0], {name: tasks[name] for name in languages}, labels)}


def _answered_by(head: str, tasks: Mapping[str, Any], labels: Sequence[str]) -> dict[str, Any]:
    """Return the `tasks` with the head of the task `head` for all, and only the rows with one of `labels`."""
    return {
        name: {
            **task,
            "where": {**task["where"], task["columns"].get("label", "label"): list(labels)},
            "labels": list(labels),
            "head": None if name == head else head,
        }
        for name, task in tasks.items()
    }


def left_out(recipe: Recipe) -> dict[str, Counter[str]]:
    """Return for each language the labels of its rows that `data.where` leaves out, with how many rows have each.

    `recipe` is one that `with_languages` wrote out.
    """
    found = {}
    for name, data in recipe.data.tasks.items():
        label = data.columns.get("label", "label")
        if data.train is None or label not in data.where:
            continue
        rows = open_rows(data.train, format=data.format, columns=data.columns)
        columns = {column: column_values(rows, column) for column in data.where}
        others = [column for column in data.where if column != label]
        found[name] = Counter(
            columns[label][row]
            for row in range(len(rows))
            if columns[label][row] not in data.where[label]
            and all(columns[column][row] in data.where[column] for column in others)
        )
    return {name: labels for name, labels in found.items() if labels}


def left_out_notes(recipe: Recipe) -> dict[str, str]:
    """Return `10 rows (Returns 8, Sales 2)` for each language of which rows are left out."""
    return {
        name: f"{labels.total()} rows ({', '.join(f'{label} {count}' for label, count in labels.most_common())})"
        for name, labels in left_out(recipe).items()
    }


def _labels(rows: Rows, languages: Sequence[str], data: DataSection, source: Sequence[str]) -> list[str]:
    """Return the labels of the source languages' training rows, in alphabetical order."""
    found = column_values(rows, data.columns.get("label", "label"))
    row_of = (row for _, chunk in rows.chunks() for row in chunk)
    sides = [str(row.get("split", "train")) for row in row_of]
    kept = zip(languages, found, sides, strict=True)
    return sorted({label for language, label, side in kept if language in source and side == "train"})


def language_problems(languages: Iterable[str], options: CrossLingualOptions) -> list[Problem]:
    """Return what does not fit: unknown sources or adapters, nobody to transfer to, sources without an adapter."""
    names = [name for name in languages if not name.startswith(TEXT)]
    known, problems = ", ".join(names), []
    named = {"source": options.source, **{key: getattr(options, key) for key in ("language_adapters", "language_text")}}
    for key, values in named.items():
        for name in values:
            if name not in names:
                found = f"no language {name!r}"
                problems.append(Problem(f"technique.{key}", found, known, nearest(name, names)))
    if not options.source:
        problems.append(Problem("technique.source", "no language to train", known, "name one"))
    if not set(names) - set(options.source):
        found = f"no second language: {known or 'none'} would be trained, and none is left to transfer to"
        problems.append(Problem("technique.source", found, remedy="add rows of another language, or fewer sources"))
    bare = [name for name in options.source if name not in options.adapted]
    if options.adapted and bare:
        found = f"{', '.join(bare)} has none, and is trained: the task's adapter would learn the language too"
        problems.append(Problem("technique.language_adapters", found, remedy="give every source language one"))
    return problems


@dataclass(frozen=True)
class Fertility:
    """How many tokens the tokenizer makes of a language's words (between blanks) and characters."""

    tokens_a_word: float
    tokens_a_character: float


def fertility(rows: Rows, tokenizer: Tokenizer) -> Fertility:
    """Return the tokenizer's fertility over the first rows' texts.

    Source: Rust et al. 2021, "How Good is Your Tokenizer?" (arXiv 2012.15613), section 3.2, for tokens a word.
    Languages that write no blanks have long words: compare those by characters.
    """
    texts = [text for number in range(min(COUNTED_ROWS, len(rows))) for text in _texts(rows, number)]
    tokens = sum(len(tokenizer.encode(text, add_special_tokens=False)) for text in texts)
    words, characters = sum(len(text.split()) for text in texts), sum(map(len, texts))
    return Fertility(tokens / max(1, words), tokens / max(1, characters))


def _texts(rows: Rows, number: int) -> Sequence[str]:
    example = rows.example(number)
    if not isinstance(example, Example):
        return example.texts
    return [example.text] if example.text is not None else [turn.content for turn in example.turns]


def commonest_share(references: Sequence[str]) -> float:
    """Return the share of the most frequent of `references`: what always giving that answer would score."""
    return max(Counter(references).values()) / len(references) if references else 0.0


def rounded(values: Mapping[str, float]) -> dict[str, float]:
    """Return the values with three decimals, to be told."""
    return {name: round(value, 3) for name, value in values.items()}
