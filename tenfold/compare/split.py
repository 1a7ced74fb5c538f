"""One split for all: the rows of each side as files, so that whoever trains on them sees the same ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tenfold.data.identity import hash_of
from tenfold.data.sources import Rows
from tenfold.data.splits import open_splits
from tenfold.errors import DataError, Problem
from tenfold.files import write_atomic
from tenfold.recipe import DataSection, Recipe
from tenfold.recipe.sections import SIDES


@dataclass(frozen=True)
class Drawn:
    """One task's rows of each side, as lines of JSON: not written yet."""

    texts: Mapping[str, str]
    format: str
    num_rows: tuple[int, int, int]

    def write(self, folder: Path) -> Sides:
        """Write a file for each side into `folder`."""
        paths = {side: folder / f"{side}.jsonl" for side in SIDES}
        for side, path in paths.items():
            write_atomic(path, self.texts[side])
        return Sides(**paths, format=self.format, num_rows=self.num_rows)


@dataclass(frozen=True)
class Sides:
    """The files of one task's rows, and how many each holds."""

    train: Path
    validation: Path
    test: Path
    format: str
    num_rows: tuple[int, int, int]


def draw_split(recipe: Recipe) -> dict[str, Drawn]:
    """Return the rows of each task of `recipe`, side by side; nothing is written.

    Of validation and test rows as many are kept as `evaluation.max_rows` says, chosen by content and seed: these are
    scored, every time all of them.

    Raises:
        DataError: rows that cannot be read, or none left for a side.
    """
    return {name: _drawn(name, data, recipe) for name, data in recipe.tasks.items()}


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
    return Drawn(texts, splits.train.format, (len(kept["train"]), len(kept["validation"]), len(kept["test"])))


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


def with_sides(data: DataSection, sides: Sides, *, judged_on: Path, chosen_on: Path | None) -> DataSection:
    """Return `data` with its rows from `sides`: scored on `judged_on`, checkpoints chosen on `chosen_on` if any are."""
    files = {
        "train": str(sides.train),
        "test": str(judged_on),
        "validation": None if chosen_on is None else str(chosen_on),
    }
    return data.model_copy(update={**files, "format": sides.format, "max_rows": None, "group_by": None})
