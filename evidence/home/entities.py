"""`entities`: commands to a smart home, word by word, with what each word names: an area, a device, a temperature …

Sentences are drawn from the templates as in the sample set `household`; while one is drawn, the words that fill a slot
are bracketed, so their place is known and not searched for.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from evidence.piece import Workshop
from evidence.tables import Row, apart, capped, draw, plain, side
from scripts.samples import household, household_words
from scripts.samples.packages import fetch
from scripts.samples.templates import Fill, Node, parse, sample

OPEN, BETWEEN, CLOSE = "\ue000", "\ue001", "\ue002"
"""Signs of Unicode's private area around a slot's name and its words."""

NAMED = {
    "name": "name",
    "area": "area",
    "floor": "floor",
    "temperature": "number",
    "brightness": "number",
    "percentage": "number",
    "position": "number",
    "volume_level": "number",
    "volume_step": "number",
    "color": "color",
    "item": "item",
    "message": "message",
    "media_class": "media",
    "search_query": "title",
    "conversation_command": "command",
    "hours": "duration",
    "minutes": "duration",
    "seconds": "duration",
    "start_hours": "duration",
    "start_minutes": "duration",
    "start_seconds": "duration",
    "device_class": "device",
    "state": "state",
    "fan_mode": "mode",
}
"""The kind of thing that each slot holds."""

DRAWS = 60
SIZES = {"train": 10, "validation": 3, "test": 3}
"""Sentences of one template at most."""


def rows(workshop: Workshop) -> tuple[list[Row], Mapping[str, object]]:
    """Return rows (tokens, tags, text, group, split); tags are O, B-area, I-area …, the group is the template."""
    path = fetch("home-assistant-intents", workshop.cache) / "home_assistant_intents" / "data" / "en.json"
    grammar = json.loads(path.read_text(encoding="utf-8"))
    rules = {name: parse(household_words.RULES.get(name, text)) for name, text in grammar["expansion_rules"].items()}
    found: list[Row] = []
    for block in household.blocks(grammar["intents"]):
        split = side("entities", block.template)
        for tokens, tags in _sentences(block, rules):
            text = " ".join(tokens)
            row: Row = {"tokens": tokens, "tags": tags, "text": text, "said": plain(text)}
            found.append({**row, "group": block.template, "split": split})
    kept = capped(apart(found, "said"), SIZES, key=lambda row: row["group"])
    for row in kept:
        del row["said"]
    spans = Counter(tag[2:] for row in kept if isinstance(row["tags"], list) for tag in row["tags"] if tag[0] == "B")
    return kept, {"templates": len({row["group"] for row in kept}), "spans": dict(spans.most_common())}


def _sentences(block: household.Block, rules: dict[str, Node]) -> list[tuple[list[str], list[str]]]:
    tree = household.wording(block)
    if tree is None:
        return []
    rng = random.Random(f"entities {block.template}")
    found: dict[str, tuple[list[str], list[str]]] = {}
    for _ in range(DRAWS):
        sentence = sample(tree, rules, bracketed(household.filler(rng, block.domains, block.template)), rng)
        tokens, tags = tagged(sentence.text)
        if household.natural(replace(sentence, text=unbracketed(sentence.text))) and any(tag != "O" for tag in tags):
            found[" ".join(tokens)] = tokens, tags
    return sorted(found.values(), key=lambda found: draw("entities", *found[0]))


def bracketed(fill: Fill) -> Fill:
    """Return a fill whose words stand in brackets with the name of their slot."""

    def marked(name: str, slot: str) -> tuple[str, object]:
        words, value = fill(name, slot)
        return f"{OPEN}{slot}{BETWEEN}{words}{CLOSE}", value

    return marked


def unbracketed(text: str) -> str:
    """Return a drawn sentence as it is said."""
    return re.sub(f"{OPEN}[^{BETWEEN}]*{BETWEEN}|{CLOSE}", "", text)


def tagged(text: str) -> tuple[list[str], list[str]]:
    """Return the words of a bracketed sentence and their tags; signs that touch a bracketed word are words too."""
    tokens: list[str] = []
    tags: list[str] = []
    for slot, words, others in re.findall(f"{OPEN}([^{BETWEEN}]*){BETWEEN}([^{CLOSE}]*){CLOSE}|([^{OPEN}]+)", text):
        kind = NAMED.get(slot)
        for position, token in enumerate((words or others).split()):
            tokens.append(token)
            tags.append("O" if kind is None else f"{'I' if position else 'B'}-{kind}")
    return tokens, tags
