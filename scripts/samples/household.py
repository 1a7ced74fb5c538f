"""`household`: English commands as people say them, and the JSON call a smart home needs for each."""

from __future__ import annotations

import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import household_words as words
from .rows import Row, draw, plain
from .templates import Fill, Node, Sentence, parse, sample

INSTRUCTION = "Turn the command into the JSON call for the smart home."
KEYS = (
    "intent",
    "name",
    "area",
    "floor",
    "domain",
    "device_class",
    "state",
    "item",
    "message",
    "media_class",
    "search_query",
    "color",
    "brightness",
    "temperature",
    "percentage",
    "position",
    "fan_mode",
    "volume_level",
    "volume_step",
    "conversation_command",
    "hours",
    "minutes",
    "seconds",
    "start_hours",
    "start_minutes",
    "start_seconds",
)
SIZES = {"train": 1200, "validation": 120, "test": 200}
PER_TEMPLATE = {"train": 20, "validation": 5, "test": 5}
PER_INTENT = {"train": 80, "validation": 10, "test": 14}
TIMER_SHARE = 0.4
"""Nine intents deal with timers; each gets this share of another intent's rows, lest they be a third of all."""

DRAWS_PER_TEMPLATE = 400

UNUSED_INTENTS = {"HassRespond", "HassNevermind"}
"""Small talk: an answer is wanted, not a call."""

UNUSED_LISTS = {"timer_half", "brightness_level", "color_temperature_names"}
"""Words that stand for a number which is not said."""

SAID_TOGETHER = (
    {"hours", "minutes"},
    {"minutes", "seconds"},
    {"minutes", "start_minutes"},
    {"minutes", "start_hours"},
    {"seconds", "start_minutes"},
)
"""Pairs of times that fit into one sentence; nobody adds seconds to a timer of hours."""

UNNATURAL = re.compile("|".join(f"(?:{pattern})" for pattern in words.UNNATURAL))

COUNTS = (2, 3, 5, 7, 10, 12, 15, 20, 25, 30, 35, 40, 45, 50)

Command = tuple[str, str]
"""What is said, and the call as JSON text."""


def cut(package: Path) -> list[Row]:
    """Return rows (messages, intent, template, split): no template and no command on two sides."""
    path = package / "home_assistant_intents" / "data" / "en.json"
    grammar = json.loads(path.read_text(encoding="utf-8"))
    rules = {name: parse(words.RULES.get(name, text)) for name, text in grammar["expansion_rules"].items()}
    spoken = _commands(grammar["intents"], rules)
    _drop_ambiguous(spoken)
    sides = _split(spoken)
    rows: list[Row] = []
    for split, size in SIZES.items():
        chosen = {key: found for key, found in spoken.items() if sides[key[1]] == split}
        if split != "train":
            chosen = _learnable(chosen, rows)
        rows += _balanced(chosen, split, size)
    return rows


def _commands(intents: dict[str, Any], rules: dict[str, Node]) -> dict[tuple[str, str], list[Command]]:
    """Return the natural sentences of each (intent, template), in an order drawn by hash."""
    found: dict[tuple[str, str], set[Command]] = defaultdict(set)
    for block in blocks(intents):
        for sentence in _draws(block, rules):
            call = {"intent": block.intent, **block.slots, **sentence.slots}
            found[block.intent, block.template].add((sentence.text, _json(call)))
    return {key: sorted(texts, key=lambda text: draw("household", *text)) for key, texts in found.items()}


@dataclass(frozen=True)
class Block:
    """A template of an intent, the kinds of device it is about, and the slots that it sets without a word."""

    intent: str
    template: str
    domains: Sequence[str]
    slots: Mapping[str, object]


def blocks(intents: dict[str, Any]) -> Iterator[Block]:
    """Yield every template whose sentences make sense without knowing who says them and where."""
    for intent, body in sorted(intents.items()):
        if intent in UNUSED_INTENTS:
            continue
        for data in body["data"]:
            context = data.get("requires_context", {})
            # "Turn on the lights in here" needs to know where the speaker is; the call cannot say.
            if "area" in context and intent in ("HassTurnOn", "HassTurnOff"):
                continue
            if "binary_sensor" in context.get("domain", ()):
                continue
            for template in data["sentences"]:
                yield Block(intent, template, context.get("domain", ()), data.get("slots", {}))


def _draws(block: Block, rules: dict[str, Node]) -> Iterator[Sentence]:
    tree = wording(block)
    if tree is None:
        return
    rng = random.Random(f"household {block.template}")
    for _ in range(DRAWS_PER_TEMPLATE):
        sentence = sample(tree, rules, filler(rng, block.domains, block.template), rng)
        if natural(sentence):
            yield sentence


def wording(block: Block) -> Node | None:
    """Return the tree of the block's template, reworded to sound natural; None where it cannot."""
    template = block.template
    if any(f"{{{name}:" in template for name in UNUSED_LISTS) or "{name} <light>" in template:
        return None
    if set(block.domains) & set(words.PROPER):
        template = re.sub(r"\[<the>\] \{name\}(?! weather)", "{name}", template)
    for pattern, replacement in words.REWRITES:
        template = re.sub(pattern, replacement, template)
    return parse(template)


def natural(sentence: Sentence) -> bool:
    """Tell whether somebody would say the sentence, and whether it says what its slots mean."""
    return not UNNATURAL.search(sentence.text) and _clear(sentence)


def _clear(sentence: Sentence) -> bool:
    """Tell whether a device is asked for with a verb, a list is called a list, and a timer is not too long."""
    slots, text = sentence.slots, sentence.text
    if "name" in slots and text.startswith(str(slots["name"])):
        return re.fullmatch(r"[\w ]+ timer.*", text) is not None
    if slots.get("name") in words.NAMES["todo"]:
        return text.endswith(" list")
    if "area" in slots and "volume_level" in slots and "volume" not in text:
        return False
    times = {slot for slot in slots if slot.endswith(("hours", "minutes", "seconds"))}
    return len(times) < 2 or times in SAID_TOGETHER


def filler(rng: random.Random, domains: Sequence[str], template: str) -> Fill:
    """Return what says a value for a list; a title fits the kind of media that the sentence names."""
    kind = rng.choice(sorted(words.QUERIES))
    names = [name for domain in domains for name in words.NAMES.get(domain, ())]
    state = "lock" if "lock_states" in template else "cover" if "cover_states" in template else "on_off"

    def fill(name: str, slot: str) -> tuple[str, object]:
        if slot == "name" and name == "name":
            chosen = rng.choice(names)
        elif name == "zone":
            chosen = rng.choice(words.ZONES)
        elif slot == "media_class":
            chosen = kind
        elif slot == "search_query":
            chosen = rng.choice(words.QUERIES[kind])
        elif name == "cover_classes":
            chosen = rng.choice(words.COVERS)
            return f"{chosen}s", chosen
        elif name == "volume_step":
            value = rng.choice(("up", "down"))
            return rng.choice((value, "increase" if value == "up" else "decrease")), value
        elif slot == "state":
            chosen = rng.choice(words.WORDS[state])
        elif name in ("area", "floor"):
            chosen = rng.choice(words.AREAS if name == "area" else words.FLOORS)
        elif name in _LISTS:
            chosen = rng.choice(words.WORDS[_LISTS[name]])
        else:
            return _number(name, rng)
        return chosen, chosen

    return fill


_LISTS = {
    "message": "message",
    "shopping_list_item": "item",
    "todo_list_item": "item",
    "timer_name": "timer",
    "timer_command": "command",
    "color": "color",
    "fan_mode": "fan_mode",
}


def _number(name: str, rng: random.Random) -> tuple[str, int | float]:
    if name.startswith(("one_", "many_")):
        many, unit = name.split("_")
        count = rng.randint(1, 6) if unit == "hour" else rng.choice(COUNTS)
        return f"{count} {unit}" + ("s" if many == "many" and count > 1 else ""), count
    if name == "temperature":
        value: int | float = rng.choice((17, 18, 18.5, 19, 20, 20.5, 21, 21.5, 22, 23, 24))
    elif name == "color_temperature":
        value = rng.randrange(2200, 6600, 100)
    elif name.startswith("volume_step"):
        value = rng.randrange(5, 35, 5)
    else:
        value = rng.randrange(5, 100, 5)
    return str(value), -value if name == "volume_step_down" else value


def _json(call: dict[str, object]) -> str:
    assert set(call) <= set(KEYS), sorted(set(call) - set(KEYS))
    return json.dumps({key: call[key] for key in KEYS if key in call}, separators=(",", ":"))


def _drop_ambiguous(spoken: dict[tuple[str, str], list[Command]]) -> None:
    """Leave in `spoken` only commands that stand for one call, each under one template."""
    calls: dict[str, set[str]] = defaultdict(set)
    owner: dict[str, tuple[str, str]] = {}
    for key in sorted(spoken, key=lambda key: draw("owner", *key)):
        for text, call in spoken[key]:
            calls[plain(text)].add(call)
            owner.setdefault(plain(text), key)
    for key, found in spoken.items():
        kept = {plain(text): (text, call) for text, call in found if len(calls[plain(text)]) == 1}
        spoken[key] = [command for text, command in kept.items() if owner[text] == key]


def _split(spoken: dict[tuple[str, str], list[Command]]) -> dict[str, str]:
    """Return the side of each template; of an intent's templates one in four is held out for the test."""
    templates: dict[str, list[str]] = defaultdict(list)
    for (intent, template), found in spoken.items():
        if found:
            templates[intent].append(template)
    sides: dict[str, str] = {}
    for intent, known in templates.items():
        for position, template in enumerate(sorted(known, key=lambda text: draw("split", intent, text))):
            held_out = "test" if position % 4 == 1 else "validation" if position % 8 == 3 else "train"
            sides.setdefault(template, held_out)
    for _, template in spoken:
        sides.setdefault(template, "train")
    return sides


def _learnable(spoken: dict[tuple[str, str], list[Command]], rows: list[Row]) -> dict[tuple[str, str], list[Command]]:
    """Return the commands whose call has no key and no inferred value that its intent lacks in `rows`."""
    trained = set().union(*(_features(_call(row)) for row in rows))
    return {key: [command for command in found if _features(command[1]) <= trained] for key, found in spoken.items()}


def _features(call: str) -> set[tuple[str, str, object]]:
    """Return the keys of a call, with those values that are not copied from the command."""
    held: dict[str, object] = json.loads(call)
    inferred = ("domain", "device_class", "state")
    return {(str(held["intent"]), key, value if key in inferred else "") for key, value in held.items()}


def _balanced(spoken: dict[tuple[str, str], list[Command]], split: str, size: int) -> list[Row]:
    """Take turns over the intents, and over the templates within an intent, until `size` rows are in."""
    queues: dict[str, list[tuple[str, Command]]] = {}
    for intent in sorted({intent for intent, _ in spoken}):
        own = {template: found for (name, template), found in spoken.items() if name == intent}
        order = sorted(own, key=lambda template: draw("turn", template))
        turns = range(PER_TEMPLATE[split])
        queue = [(template, own[template][turn]) for turn in turns for template in order if turn < len(own[template])]
        queues[intent] = queue[: round(PER_INTENT[split] * (TIMER_SHARE if "Timer" in intent else 1))]
    rows: list[Row] = []
    for turn in range(PER_INTENT[split]):
        for intent, queue in queues.items():
            if turn < len(queue) and len(rows) < size:
                rows.append(_row(intent, *queue[turn], split))
    return sorted(rows, key=lambda row: draw("order", json.dumps(row["messages"])))


def _call(row: Row) -> str:
    messages = row["messages"]
    assert isinstance(messages, list)
    return str(messages[-1]["content"])


def _row(intent: str, template: str, command: Command, split: str) -> Row:
    text, call = command
    turns = (("system", INSTRUCTION), ("user", text), ("assistant", call))
    messages = [{"role": role, "content": content} for role, content in turns]
    return {"messages": messages, "intent": intent, "template": template, "split": split}
