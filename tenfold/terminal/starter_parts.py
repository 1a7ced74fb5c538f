"""What a starter recipe says of its technique and tuner, given the rows it shall learn."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tenfold.data.formats import LABELLED, OF_WHOLE_ROWS
from tenfold.data.sources import Rows, open_rows
from tenfold.errors import Problem, RecipeError

LANGUAGE = "language"
LANGUAGE_COLUMNS = (LANGUAGE, "lang", "locale")

LORA = """
tuner:
  kind: lora         # `tenfold techniques` lists the others
  rank: 16           # more rank learns more and weighs more
"""
BOTTLENECK = """
tuner:
  kind: bottleneck   # two small layers in each block
  reduction: 16      # of the width: less is larger
"""
FEATURES = """\
  estimators:        # of scikit-learn, by name, with its own options
    - {name: LogisticRegression, C: 0.1, max_iter: 1000}
    - {name: SVC, C: 1.0}
  layers: [-1]       # such as [-1, 6, average]; each is tried
  pooling: [mean]    # first, last, mean, weighted_mean
  folds: 5           # of the training rows, to choose by

tuner: frozen        # nothing of the model trains
"""
DISTILLED = """\
  # who teaches: the folder of a run (runs/NAME), or a model as above
  teacher: smollm2-135m-instruct
  student: {layers: 15}   # of the model's; `of: teacher` takes the teacher's
  alpha: 0.5         # weight of the teacher beside the rows' own responses
  # curve: [20, 10]  # also students of these sizes, to compare with
  # level: sequence  # learn the teacher's answers, with any tokenizer;
                     # in place of alpha, which is then to be removed
  # compare: true    # also train the same student without its teacher

tuner: full          # a student that lost layers has much to learn
"""
DISTILLED_LABELS = """\
  # who teaches: the folder of a run that has learned the same labels
  teacher: runs/NAME
  student: {layers: 3, of: teacher}   # begins with the teacher's head, too
  alpha: 0.5         # weight of the teacher beside the rows' own labels
  temperature: 2.0   # softens both sides; numbers have none
  # curve: [2, 1]    # also students of these sizes, to compare with
  # compare: true    # also train the same student without its teacher

tuner: full          # a student that lost layers has much to learn
"""
MIXED = """\
  temperature: 2.0   # 1: tasks by their rows; higher: more evenly
  # compare_alone: true   # also a model for each task, to compare with
"""
CURES = """\
  replay: 0.1        # share of the rows that are earlier tasks'
  # ewc: 1.0e5       # hold what mattered to earlier tasks
  # compare_cures: true   # also without any cure, and with each alone
"""
RANK = "tuner.rank=32 --set output=runs/rank-32"


@dataclass(frozen=True)
class Given:
    """The tables that were named, each by its task's name: where it is from, and its rows."""

    technique: str
    sources: Mapping[str, str]
    tables: Mapping[str, Rows]
    columns: Mapping[str, str]
    language_column: str | None
    """The column that the user said holds a row's language."""

    @property
    def only(self) -> str:
        """The source of the only table."""
        (source,) = self.sources.values()
        return source

    @property
    def num_rows(self) -> int:
        """The rows of all tables."""
        return sum(map(len, self.tables.values()))

    @property
    def formats(self) -> list[str]:
        """Each format once."""
        return list(dict.fromkeys(table.format for table in self.tables.values()))

    @property
    def names(self) -> str:
        """The tasks, as a YAML list."""
        return "[" + ", ".join(self.tables) + "]"


@dataclass(frozen=True)
class Part:
    """What stands below `kind:` in the recipe, the tuner's section included, and one thing to change."""

    text: str
    change: str = RANK


def open_given(technique: str, data: Sequence[str], columns: Mapping[str, str] | None) -> Given:
    """Return the rows of `data` by the names of their files.

    Raises:
        RecipeError: two tables of one name.
        DataError: rows cannot be read.
    """
    mapped = dict(columns or {})
    language = mapped.pop(LANGUAGE, None) if technique == "cross_lingual" else None
    sources: dict[str, str] = {}
    for source in data:
        name = re.sub(r"[^\w-]+", "-", Path(source.rpartition(":")[2]).name.partition(".")[0]).strip("-_") or "rows"
        if name in sources:
            found = f"{sources[name]} and {source} would both be the task {name!r}"
            raise RecipeError(Problem("--data", found, remedy="give files of different names"))
        sources[name] = source
    tables = {name: open_rows(source, columns=mapped or None) for name, source in sources.items()}
    return Given(technique, sources, tables, mapped, language)


def part_of(technique: str, given: Given) -> Part:
    """Return the technique's part of the recipe.

    Raises:
        RecipeError: the technique cannot work with rows like these.
    """
    if technique in OF_SEVERAL:
        return OF_SEVERAL[technique](given)
    if len(given.tables) > 1:
        found = f"{technique} learns one table of rows, and {len(given.tables)} are given"
        raise RecipeError(Problem("--data", found, remedy=f"name one, or use one of {', '.join(OF_SEVERAL)}"))
    return OF_ONE[technique](given) if technique in OF_ONE else Part(LORA)


def _features(given: Given) -> Part:
    if not any(table.format in LABELLED for table in given.tables.values()):
        found = f"{given.only} is of format {given.formats[0]}, which is answered in words; an estimator gives labels"
        (table,) = given.tables.values()
        there = list(next(_rows(table)))
        named = {"text": there[0], "label": there[-1]}
        options = " ".join(f"--columns {ours}={shlex.quote(theirs)}" for ours, theirs in named.items())
        remedy = f"name the columns, such as {options}"
        allowed = {name: LABELLED[name] for name in OF_WHOLE_ROWS}
        raise RecipeError(Problem("--data", found, "rows with " + _columns_of(allowed), remedy))
    _require_whole_rows(given)
    return Part(FEATURES, "technique.folds=10 --set output=runs/ten-folds")


def _distilled(given: Given) -> Part:
    _require_whole_rows(given)
    has_labels = any(table.format in LABELLED for table in given.tables.values())
    return Part(DISTILLED_LABELS if has_labels else DISTILLED, "technique.alpha=0.9 --set output=runs/alpha-0.9")


def _require_whole_rows(given: Given) -> None:
    (format,) = given.formats
    if format in LABELLED and format not in OF_WHOLE_ROWS:
        found = f"{given.only} is of format {format}, whose labels lie on tokens; {given.technique} takes one a row"
        raise RecipeError(Problem("--data", found, ", ".join(OF_WHOLE_ROWS), "use task_specific"))


def _mixed(given: Given) -> Part:
    _require_several(given)
    return Part(MIXED + LORA)


def _one_after_another(given: Given) -> Part:
    _require_several(given)
    stages = "".join(f"    - {{task: {name}}}   # also: epochs, learning_rate, tuner\n" for name in given.tables)
    return Part(f"  stages:            # in this order\n{stages}{CURES}{LORA}")


def _adapters(given: Given) -> Part:
    also = "  # also an attention over these adapters:\n"
    fused = f"{also}  # fuse: {given.names}\n" if len(given.tables) > 1 else ""
    return Part(fused + BOTTLENECK, "tuner.reduction=8 --set output=runs/wider")


def _languages(given: Given) -> Part:
    few = "  # few_shot: [5, 20]   # then also so many rows of each other language\n"
    if len(given.tables) > 1:
        return Part(f"  source: [{next(iter(given.tables))}]   # is trained; the others are only asked\n{few}{LORA}")
    (rows,) = given.tables.values()
    column, spoken = _language_column(rows, given.language_column)
    source = "en" if "en" in spoken else spoken.most_common(1)[0][0]
    told = f"  language_column: {json.dumps(column, ensure_ascii=False)}   # {len(spoken)} languages\n"
    return Part(
        f"{told}  source: [{json.dumps(source, ensure_ascii=False)}]   # is trained; the others are only asked\n"
        f"{few}{LORA}"
    )


OF_ONE: Mapping[str, Callable[[Given], Part]] = {"feature_based": _features, "distillation": _distilled}
OF_SEVERAL: Mapping[str, Callable[[Given], Part]] = {
    "multi_task": _mixed,
    "sequential": _one_after_another,
    "adapters": _adapters,
    "cross_lingual": _languages,
}
"""Techniques that take a table for each task, or for each language."""


def _require_several(given: Given) -> None:
    if len(given.tables) < 2:
        found = f"{given.technique} learns several tasks, and {given.only} is one"
        raise RecipeError(Problem("--data", found, remedy=f"name a file for each: --data {given.only} --data OTHER"))


def spoken_languages(rows: Rows, named: str | None) -> tuple[str, Counter[str]] | None:
    """Return the column that says a row's language and how many rows each has; None where there are not two."""
    counts: dict[str, Counter[str]] = {}
    for row in _rows(rows):
        for column in (named,) if named else LANGUAGE_COLUMNS:
            if row.get(column):
                counts.setdefault(column, Counter())[str(row[column])] += 1
    return next(((column, spoken) for column, spoken in counts.items() if len(spoken) > 1), None)


def _language_column(rows: Rows, named: str | None) -> tuple[str, Counter[str]]:
    if spoken := spoken_languages(rows, named):
        return spoken
    found = f"{rows.name} has no column {named!r} of" if named else f"{rows.name} does not say"
    remedy = "name the column: --columns language=COLUMN, or a file for each language: --data en.jsonl --data de.jsonl"
    known = ", ".join(dict.fromkeys(column for row in islice(_rows(rows), 100) for column in row))
    raise RecipeError(Problem("--data", f"{found} two languages or more", f"a column of {known}", remedy))


def _rows(rows: Rows) -> Iterator[dict[str, object]]:
    return (row for _, chunk in rows.chunks() for row in chunk)


def _columns_of(formats: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(", ".join(columns) for columns in formats.values())
