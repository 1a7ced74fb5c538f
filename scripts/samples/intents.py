"""`intents`: sentences in ten languages and the intent each expresses; slots stay as {placeholders}."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .rows import Row, draw, drop_repeats
from .templates import Node, Sentence, parse, sample

LANGUAGES = ("cy", "de", "el", "en", "es", "eu", "ga", "it", "th", "zh-CN")
PER_INTENT = {"train": 14, "validation": 2, "test": 4}
DRAWS_PER_TEMPLATE = 12


def cut(
    package: Path, *, languages: Sequence[str] = LANGUAGES, per_intent: Mapping[str, int] = PER_INTENT
) -> list[Row]:
    """Return rows (text, intent, language, template, split): at most `per_intent` a split, intent and language."""
    rows: list[Row] = []
    for language in languages:
        path = package / "home_assistant_intents" / "data" / f"{language}.json"
        rows += _language(language, json.loads(path.read_text(encoding="utf-8")), per_intent)
    # "Pause timer" is both English and German: one row, so that it is not on two sides.
    return drop_repeats(rows, "text", label="intent")


def _language(language: str, grammar: dict[str, Any], per_intent: Mapping[str, int]) -> list[Row]:
    # The same words can be one template of two intents: one number for both keeps them on one side.
    numbers: dict[str, int] = {}
    sides: dict[str, str] = {}
    rules = {name: parse(text) for name, text in grammar["expansion_rules"].items()}
    candidates: list[Row] = []
    for intent, body in sorted(grammar["intents"].items()):
        templates = sorted({text for block in body["data"] for text in block["sentences"]})
        templates.sort(key=lambda text: draw("intents", language, text))
        for position, template in enumerate(templates):
            number = numbers.setdefault(template, len(numbers))
            split = sides.setdefault(template, _side(position, len(templates)))
            for text in _sentences(template, rules, grammar["lists"]):
                row = {"text": text, "intent": intent, "language": language}
                candidates.append({**row, "template": f"{language}/{number:04d}", "split": split})
    return _capped(drop_repeats(candidates, "text", label="intent"), per_intent)


def _side(position: int, templates: int) -> str:
    """Every fifth template of an intent is tested and every tenth validates, once there are enough."""
    if position % 5 == 1 and templates >= 2:
        return "test"
    return "validation" if position % 10 == 2 and templates >= 6 else "train"


def _sentences(template: str, rules: dict[str, Node], lists: dict[str, Any]) -> list[str]:
    rng = random.Random(f"intents {template}")
    tree = parse(template)

    def fill(name: str, slot: str) -> tuple[str, object]:
        values = lists.get(name, {}).get("values")
        if not values:
            return f"{{{slot}}}", slot
        chosen = rng.choice(values)
        words = parse(chosen["in"] if isinstance(chosen, dict) else chosen)
        return sample(words, rules, fill, rng).text, slot

    drawn: list[Sentence] = [sample(tree, rules, fill, rng) for _ in range(DRAWS_PER_TEMPLATE)]
    return list(dict.fromkeys(sentence.text for sentence in drawn if sentence.text))


def _capped(rows: list[Row], per_intent: Mapping[str, int]) -> list[Row]:
    """Keep the allowed number an intent and split, a sentence from each template before a second one."""
    turn: dict[object, int] = defaultdict(int)
    groups: dict[tuple[object, object], list[tuple[int, float, Row]]] = defaultdict(list)
    for row in rows:
        turn[row["template"], row["intent"]] += 1
        order = (turn[row["template"], row["intent"]], draw("cap", row["language"], row["text"]), row)
        groups[row["intent"], row["split"]].append(order)
    kept: list[Row] = []
    for (_, split), ordered in groups.items():
        ordered.sort(key=lambda entry: entry[:2])
        kept += [row for _, _, row in ordered[: per_intent[str(split)]]]
    return sorted(kept, key=lambda row: (str(row["intent"]), str(row["template"]), str(row["text"])))
