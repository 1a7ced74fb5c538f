"""Artifacts written by hand, without any training: all that a comparison reads of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tenfold.artifact import Artifact
from tenfold.evaluation.cost import Cost
from tenfold.evaluation.lineage import Ancestor, Lineage
from tenfold.evaluation.scorecard import BEFORE, RETENTION, Measure, Score, Scorecard
from tenfold.files import write_json
from tenfold.recipe import dump_recipe, parse_recipe

CLASSES = ("on", "off")
COST = Cost(
    train_seconds=60.0,
    evaluation_seconds=1.0,
    tokens_per_second=100.0,
    peak_memory_bytes=2_000_000_000,
    trainable_parameters=10,
    total_parameters=1000,
    trainable_share=0.01,
    bytes_on_disk=5_000_000,
    base_bytes=500_000_000,
)


def accuracy(items: Sequence[float]) -> Measure:
    return Measure("accuracy", "share", True, tuple(map(float, items)))


def rows_of(items: Sequence[float]) -> list[dict[str, str]]:
    """Return a row for each item: answered right where the item is 1."""
    rows = []
    for number, item in enumerate(items):
        wanted = CLASSES[number % 2]
        answer = wanted if item else CLASSES[1 - number % 2]
        rows.append({"task": "main", "prompt": f"row {number}", "reference": wanted, "before": "on", "after": answer})
    return rows


def artifact(
    folder: Path,
    items: Sequence[float] = (1, 0, 1, 1),
    *,
    task: str = "main",
    seed: int = 0,
    sections: Mapping[str, Any] | None = None,
    measure: Measure | None = None,
    rows: Sequence[Mapping[str, str]] | None = None,
    general: tuple[Sequence[float], Sequence[float]] | None = None,
    others: Sequence[Score] = (),
    later: Sequence[Score] = (),
    seconds: float = 60.0,
    cost: Cost = COST,
    claims: Sequence[Mapping[str, str]] = (),
    facts: Mapping[str, Any] | None = None,
    log: Sequence[Mapping[str, object]] = (),
    test: Mapping[str, object] | None = None,
) -> Artifact:
    """Write an artifact whose first task has a value for each item, 0 for all before training."""
    folder.mkdir(parents=True)
    tree = {"data": {"train": "rows.jsonl"}, **(sections or {}), "output": str(folder)}
    recipe = parse_recipe({**tree, "runtime": {**tree.get("runtime", {}), "seed": seed}})
    after = measure or accuracy(items)
    scores = [Score(BEFORE, task, {after.name: replace(after, items=(0.0,) * len(after.items))})]
    if general is not None:
        scores.append(Score(BEFORE, RETENTION, {"general_bits_per_byte": _bits(general[0])}))
    scores += [*others, Score("trained", task, {after.name: after})]
    if general is not None:
        scores.append(Score("trained", RETENTION, {"general_bits_per_byte": _bits(general[1])}))
    scores += later
    answers = rows_of(after.items) if rows is None else rows
    side = {"source": "test.jsonl", "rows": len(after.items), "sha256": "abc"}
    (folder / "recipe.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
    write_json(folder / "scorecard.json", Scorecard(tuple(scores)).to_json())
    write_json(folder / "cost.json", vars(replace(cost, train_seconds=seconds)))
    write_json(folder / "claims.json", list(claims))
    lineage = Lineage((Ancestor("trained", ("main",), BEFORE, "lora", "b", "w"),), ("trained",))
    write_json(folder / "lineage.json", lineage.to_json())
    provenance = {
        "tenfold": "0",
        "packages": {"torch": "2"},
        "model": {"name": "base", "origin": "here"},
        "data": {"main": {"test": side | dict(test or {})}},
        "seed": seed,
    }
    write_json(folder / "provenance.json", provenance)
    (folder / "generations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers), encoding="utf-8")
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log), encoding="utf-8")
    told = {
        "format": 1,
        "weights": "adapter",
        "technique": recipe.technique.kind,
        "tuner": recipe.tuner.kind,
        "base": "base",
        "tasks": {name: {"kind": "classification"} for name in {task, *(score.task for score in later)}},
        "reported": {},
    }
    write_json(folder / "artifact.json", {**told, **(facts or {})})
    return Artifact.open(folder)


def _bits(values: Sequence[float]) -> Measure:
    return Measure("general_bits_per_byte", "bits per byte", False, tuple(map(float, values)))
