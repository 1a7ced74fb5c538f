"""One split for all: the rows of each side as files, so that whoever trains on them sees the same ones."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from tenfold.data.identity import hash_of
from tenfold.data.labelled import Labelled
from tenfold.data.sources import Rows, open_rows
from tenfold.data.splits import column_values, open_splits
from tenfold.errors import DataError, Problem
from tenfold.files import write_atomic
from tenfold.recipe import DataSection, Recipe
from tenfold.recipe.sections import SIDES, TASK

Side = Literal["validation", "test"]


@dataclass(frozen=True)
class Drawn:
    """One task's rows of each side, as lines of JSON: not written yet."""

    texts: Mapping[str, str]
    format: str
    columns: Mapping[str, str]
    """By which names the recipe reads the rows."""
    num_rows: tuple[int, int, int]

    def write(self, folder: Path) -> Sides:
        """Write a file for each side into `folder`."""
        paths = {side: folder / f"{side}.jsonl" for side in SIDES}
        for side, path in paths.items():
            write_atomic(path, self.texts[side])
        return Sides(**paths, format=self.format, columns=self.columns, num_rows=self.num_rows)


@dataclass(frozen=True)
class Sides:
    """The files of one task's rows, and how many each holds."""

    train: Path
    validation: Path
    test: Path
    format: str
    columns: Mapping[str, str]
    """By which names the recipe reads the rows."""
    num_rows: tuple[int, int, int]


def draw_split(recipe: Recipe, *, but: Collection[str] = ()) -> dict[str, Drawn]:
    """Return the rows of each task of `recipe`, side by side, but for some; nothing is written.

    Of validation and test rows as many are kept as `evaluation.max_rows` says, chosen by content and seed: these are
    scored, every time all of them.

    Raises:
        DataError: rows that cannot be read, or none left for a side.
    """
    return {name: _drawn(name, data, recipe) for name, data in recipe.tasks.items() if name not in but}


def kept_split(recipe: Recipe, folder: Path, *, but: Collection[str] = ()) -> dict[str, Drawn] | None:
    """Return the split of `recipe` as it was written into `folder`, a folder for each task; None where it was not."""
    drawn = {}
    for name, data in recipe.tasks.items():
        paths = {side: folder / name / f"{side}.jsonl" for side in SIDES}
        if name in but:
            continue
        if not all(path.is_file() for path in paths.values()):
            return None
        texts = {side: path.read_bytes().decode() for side, path in paths.items()}
        format = open_rows(str(paths["train"]), format=data.format, columns=data.columns).format
        train, validation, test = (texts[side].count("\n") for side in SIDES)
        drawn[name] = Drawn(texts, format, data.columns, (train, validation, test))
    return drawn


def _drawn(name: str, data: DataSection, recipe: Recipe) -> Drawn:
    seed = recipe.runtime.seed
    splits = open_splits(data, seed=seed, with_validation=True)
    where = f"data.tasks.{name}" if recipe.data.tasks else "data"
    for side, rows in (("validation", splits.validation), ("test", splits.test)):
        if rows is None:
            remedy = f"set {where}.{side}, or a {where}.{side}_share above 0"
            raise DataError(
                Problem(f"{where}.{side}", "a comparison needs such rows, and there are none", remedy=remedy)
            )
    assert splits.validation is not None and splits.test is not None
    limit = recipe.evaluation.max_rows
    kept = {
        "train": splits.train,
        "validation": _some(splits.validation, limit, seed),
        "test": _some(splits.test, limit, seed),
    }
    texts = {side: _text(rows) for side, rows in kept.items()}
    return Drawn(
        texts, splits.train.format, data.columns, (len(kept["train"]), len(kept["validation"]), len(kept["test"]))
    )


def _some(rows: Rows, limit: int, seed: int) -> Rows:
    ranks = [hash_of(f"compared {seed} {text}") for text in rows.table["row"]]
    chosen = sorted(sorted(range(len(rows)), key=lambda index: (ranks[index], index))[:limit])
    return rows.select(np.array(chosen, dtype=np.int64))


def _text(rows: Rows) -> str:
    column = rows.columns.get("audio", "audio")
    lines = []
    for _, chunk in rows.chunks():
        for row in chunk:
            if rows.format == "speech" and rows.folder:  # a relative path was meant from where the rows were
                row = {**row, column: str(Path(rows.folder) / str(row[column]))}
            lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    return "".join(lines)


def slices_of(sides: Sides, data: DataSection, column: str) -> dict[str, str]:
    """Return what each test row has in `column`, by its prompt; prompts that stand there with several are left out.

    Raises:
        DataError: a row has no such column.
    """
    rows = open_rows(str(sides.test), format=sides.format, columns=data.columns)
    found: dict[str, set[str]] = {}
    for index, value in enumerate(column_values(rows, column)):
        example = rows.example(index)
        prompt = example.text if isinstance(example, Labelled) else example.turns[-2].content
        found.setdefault(prompt, set()).add(value)
    return {prompt: values.pop() for prompt, values in found.items() if len(values) == 1}


def with_rows(recipe: Recipe, sides: Mapping[str, Sides], *, judged_on: Side, every: int | None) -> Recipe:
    """Return `recipe` with its tasks' rows from `sides`, all of `judged_on` scored.

    Every so many updates a checkpoint is judged on validation rows; with None never.
    """

    def of(task: str, data: DataSection) -> DataSection:
        return _with_sides(data, sides[task], judged_on=judged_on, is_chosen=every is not None)

    tasks = {name: of(name, data) for name, data in recipe.data.tasks.items()}
    data = recipe.data.model_copy(update={"tasks": tasks}) if tasks else of(TASK, recipe.data)
    most = max(max(each.num_rows[1:]) for each in sides.values())
    evaluation = recipe.evaluation.model_copy(update={"every": every, "patience": None, "max_rows": most})
    return recipe.model_copy(update={"data": data, "evaluation": evaluation})


def _with_sides(data: DataSection, sides: Sides, *, judged_on: Side, is_chosen: bool) -> DataSection:
    files = {
        "train": str(sides.train),
        "test": str(getattr(sides, judged_on)),
        "validation": str(sides.validation) if is_chosen else None,
    }
    format = sides.format if data.columns == sides.columns else data.format
    return data.model_copy(update={**files, "format": format, "max_rows": None, "group_by": None})
