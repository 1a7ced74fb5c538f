"""Comparisons written by hand: one whose every text is hostile, and one as large and wordy as they get."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tenfold.artifact import Artifact
from tenfold.compare.comparison import Comparison, Entry, Tried
from tenfold.evaluation.scorecard import Measure, Score, Scorecard
from tenfold.files import write_json
from tests.compare.artifacts import COST, accuracy, artifact, rows_of

EVIL = "\"><img src=x onerror=alert(1)><script>alert(2)</script>'{{ 7*7 }}&lt;b&gt;</style></title></svg>"
HELD = {"claim": "is better", "source": "Someone 2020", "outcome": "held", "because": "accuracy +0.5"}
LATE = [1.0, 0.0] * 10


def entry(folder: Path, name: str, items: Any = (1, 0, 1, 1), **others: Any) -> Entry:
    return Entry(name, tuple(artifact(folder / f"{len(name)}{seed}", items, seed=seed, **others) for seed in (0, 1)))


def hostile(folder: Path) -> Comparison:
    """Return a comparison that has something for every section, every text of it hostile."""
    updates = [{"event": "update", "stage": "trained", "update": n, "loss": 1 / n} for n in range(1, 9)]
    log = [*updates, {"event": "evaluation", "stage": "trained", "update": 8, "metric": EVIL, "value": 0.5}]
    answers = rows_of(LATE)
    answers[0] |= {"prompt": EVIL, "after": f"{EVIL}\ud800\x00"}
    stages = ("pretrained-9", "pretrained-99", "scratch-9", "scratch-99")
    curve = [Score(stage, "main", {"accuracy": accuracy(LATE)}) for stage in stages]
    common: dict[str, Any] = {
        "general": ([1.0] * 8, [1.5] * 8),
        "log": log,
        "others": [*curve, Score("before", EVIL, {"accuracy": accuracy(LATE)})],
        "facts": {"reported": {"accuracy of main, 4 rows a class": {EVIL: [0.5]}}},
    }
    first = Entry(
        f"first_{EVIL}",
        entry(folder, "a", LATE, rows=answers, claims=[dict.fromkeys(HELD, EVIL)], **common).runs,
        failures=(EVIL,),
        note=EVIL,
        search=(Tried(0.1, 0.2, 3.0),),
    )
    second = entry(folder, "bb", LATE, claims=[HELD], sections={"tuner": "full"}, seconds=7, **common)
    third = Entry("third", failures=(EVIL,))
    return Comparison(EVIL, (first, second, third), refused={EVIL: EVIL}, rules=(EVIL,))


WAYS = {
    "full_fine_tuning": (0.86, 5400.0, 11_000_000_000, 538_000_000, "full"),
    "instruction": (0.855, 1500.0, 3_200_000_000, 9_600_000, "lora"),
    "parameter_efficient.bottleneck_on_every_second_layer": (0.84, 1300.0, 3_100_000_000, 7_100_000, "lora"),
    "multi_task": (0.83, 2400.0, 3_600_000_000, 19_000_000, "lora"),
    "sequential": (0.80, 3900.0, 3_300_000_000, 12_000_000, "lora"),
    "distillation": (0.78, 7300.0, 6_100_000_000, 88_000_000, "full"),
    "feature_based.LogisticRegression_C_10_class_weight_balanced": (0.71, 9.0, 1_300_000_000, 410_000, "lora"),
    "parameter_efficient.prompt": (0.42, 1100.0, 2_900_000_000, 37_000, "prompt"),
}
"""Of each way: the share it gets right, seconds, bytes of memory, bytes on disk, tuner."""

INTENTS = ("turn_on_the_light", "set_a_timer", "what_is_the_weather_like_tomorrow_afternoon", "play_music")
LABELS = tuple(f"{INTENTS[n % 4]}_{n}" for n in range(40))
NUM_ROWS = 400

CLAIM = {
    "claim": "Reaches at least 95 % of what full fine-tuning reaches, with at most 1 % of its parameters trained",
    "source": "Houlsby et al. 2019, Parameter-Efficient Transfer Learning for NLP, table 1 and figure 3",
    "because": "accuracy 0.855 of 0.860: a share of 0.994 [0.981, 1.007]; 0.71 % trained",
}


def large(folder: Path) -> Comparison:
    """Return eight ways with three seeds each on rows of 40 classes, with long names and all that can be measured."""
    entries = []
    for place, name in enumerate(WAYS):
        runs = tuple(_large_run(folder / f"{place}-{seed}", name, seed) for seed in (0, 1, 2))
        note = "two of its seeds were given less time, by the rule that prunes whoever is clearly worse" * (place == 7)
        tried = tuple(Tried(rate, 0.7 - rate, 60 + 9000 * rate) for rate in (1e-4, 5e-4, 2e-3))
        entries.append(Entry(name, runs, note=note, search=tried if place else ()))
    failed = "OutOfMemory: 14.2 GB were asked for and 11.9 GB are free; lower runtime.micro_batch_tokens"
    rules = (
        "Each way was given 20 minutes or 800 updates, whichever came first.",
        "Learning rates were chosen on validation rows, with one seed; test rows were read once.",
    )
    refused = {"cross_lingual": "needs a column of languages; the rows have: text, label"}
    return Comparison(
        "Intents of a household: 40 classes, 400 test rows",
        (*entries, Entry("qlora", failures=(failed,))),
        refused,
        rules,
    )


def _large_run(folder: Path, name: str, seed: int) -> Artifact:
    share, seconds, memory, disk, tuner = WAYS[name]
    luck = random.Random(f"{name} {seed}")
    hard = random.Random(0)
    items = [float(hard.random() * 0.7 + luck.random() * 0.3 < share) for _ in range(NUM_ROWS)]
    cost = replace(COST, peak_memory_bytes=memory, bytes_on_disk=disk, trainable_share=disk / 540_000_000)
    general = [1.0 + hard.random() / 5 for _ in range(64)]
    worse = [value + (1 - share + luck.random() / 9) * (0.4 if tuner == "full" else 0.05) for value in general]
    others, facts = _curves(name, luck)
    run = artifact(
        folder,
        seed=seed,
        measure=accuracy(items),
        rows=_labelled(items, luck),
        general=(general, worse),
        others=others,
        seconds=seconds * luck.uniform(0.9, 1.1),
        cost=cost,
        claims=[CLAIM | {"outcome": ("held", "unclear", "not held here")[len(name) % 3]}] * (tuner == "lora"),
        facts=facts,
        log=_log(share, luck),
        sections={"tuner": tuner},
    )
    timed = Score(
        "trained",
        "serving",
        {"answer_seconds": Measure("answer_seconds", "seconds", False, (max(0.004, seconds / 1e5),))},
    )
    write_json(folder / "timings.json", Scorecard((timed,)).to_json())
    return run


def _labelled(items: Sequence[float], luck: random.Random) -> list[dict[str, str]]:
    """Return a row for each item; some have hostile or long text, one runs from right to left."""
    rows = []
    for number, item in enumerate(items):
        wanted = LABELS[number % 40]
        answer = wanted if item else luck.choice(LABELS)
        prompt = f"Could you please see to it, row {number}? " + ("Say it once more, and slowly. " * (number % 9))
        prompt = {3: "<script>alert(1)</script>", 4: "https://" + "long" * 60, 5: "אור במטבח"}.get(number % 40, prompt)
        rows.append({"task": "main", "prompt": prompt, "reference": wanted, "before": LABELS[0], "after": answer})
    return rows


def _curves(name: str, luck: random.Random) -> tuple[list[Score], dict[str, Any]]:
    """Return scores of a second task and, of two ways, how many rows they take."""
    right = [float(luck.random() < 0.8) for _ in range(60)]
    others = [Score("trained", "questions_about_the_manual_of_the_heating", {"accuracy": accuracy(right)})]
    rows = (5, 10, 20, 40)
    if name == "sequential":
        for way, start in (("pretrained", 0.3), ("scratch", 0.05)):
            for size in rows:
                found = [float(luck.random() < start + size / 100) for _ in range(NUM_ROWS)]
                others.append(Score(f"{way}-{40 * size}", "main", {"accuracy": accuracy(found)}))
    curve = {f"accuracy of main, {size} rows a class": {"logistic_regression": [0.3 + size / 100]} for size in rows}
    return others, {"reported": curve if name.startswith("feature_based") else {}}


def _log(share: float, luck: random.Random) -> list[dict[str, object]]:
    told: list[dict[str, object]] = []
    for update in range(1, 801, 4):
        loss = 3.7 * 0.99**update + (1 - share) * (1 + luck.random())
        told.append({"event": "update", "stage": "trained", "update": update, "loss": loss})
        if update % 80 == 1:
            value = share * (1 - 0.99**update)
            told.append(
                {"event": "evaluation", "stage": "trained", "update": update, "metric": "accuracy", "value": value}
            )
    return told
