"""Two small tasks that a tiny model can learn, and runs over them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tenfold.recipe import Recipe, parse_recipe

WORDS = ("zero", "one", "two", "three")

Write = Callable[..., Recipe]


@pytest.fixture
def words_file(tmp_path: Path) -> Path:
    """32 prompts of another task: say the number as a word, by fours."""
    path = tmp_path / "words.jsonl"
    rows = [{"prompt": f"say {number}", "completion": WORDS[number % 4]} for number in range(32)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def tree(settings: dict[str, Any], rows_file: Path, words_file: Path) -> dict[str, Any]:
    """A recipe's tree with the tasks `lamps` and `words`."""
    data = {"test_share": 0.2, "tasks": {"lamps": str(rows_file), "words": str(words_file)}}
    return {**settings, "data": data}


@pytest.fixture
def labelled(settings: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """A recipe's tree over a frozen model and 60 texts, each of the class that it names."""
    path, colours = tmp_path / "labelled.jsonl", ("blue", "green", "red")
    rows = [{"text": f"lamp {number} {colours[number % 3]}", "label": colours[number % 3]} for number in range(60)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {**settings, "tuner": {"kind": "frozen"}, "data": {"train": str(path), "test_share": 0.2}}


@pytest.fixture
def write(tree: dict[str, Any], tmp_path: Path) -> Write:
    """Return a function from the technique's settings, and other sections, to a recipe with an output of its own."""
    count = 0

    def make(technique: dict[str, Any], **sections: Any) -> Recipe:
        nonlocal count
        count += 1
        whole = {**tree, "technique": technique, "output": str(tmp_path / f"out-{count}")}
        for name, values in sections.items():
            is_whole = name in ("tuner", "output") or not isinstance(values, dict)
            whole[name] = values if is_whole else {**whole.get(name, {}), **values}
        return parse_recipe(whole)

    return make
