"""The household commands say what their calls hold, read cleanly, and can be learned from the training rows."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest

from tenfold import samples

ORDER = [
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
]

SAID = {
    "light": ("light", "lamp", "illuminate", "brightness", "color"),
    "lock": ("lock", "door", "window"),
    "person": ("anyone", "anybody", "someone", "somebody", "everyone", "everybody", "who", "people"),
    "up": ("up", "increase"),
    "down": ("down", "decrease"),
}
"""What may be said for a value that the call names otherwise."""

Command = tuple[str, dict[str, object], dict[str, object]]


@pytest.fixture(scope="module")
def commands() -> list[Command]:
    """Text, call and row of every command."""
    found: list[Command] = []
    for row in samples.load("household"):
        messages = row["messages"]
        assert isinstance(messages, list)
        assert [message["role"] for message in messages] == ["system", "user", "assistant"]
        found.append((messages[1]["content"], json.loads(messages[2]["content"]), row))
    return found


def test_sizes_of_the_splits(commands: list[Command]) -> None:
    assert Counter(row["split"] for _, _, row in commands) == {"train": 1200, "validation": 120, "test": 200}


def test_calls_are_compact_json_with_keys_in_one_order(commands: list[Command]) -> None:
    for _, call, row in commands:
        assert isinstance(row["messages"], list)
        assert row["messages"][2]["content"] == json.dumps(call, separators=(",", ":"))
        assert list(call) == [key for key in ORDER if key in call]
        assert call["intent"] == row["intent"]


def test_every_value_of_a_call_is_said(commands: list[Command]) -> None:
    for text, call, _ in commands:
        for key, value in call.items():
            if key == "intent":
                continue
            if isinstance(value, int | float):
                assert f"{abs(value):g}" in re.findall(r"\d+(?:\.\d+)?", text), (text, call)
            elif key == "domain" and value == "cover":
                assert f"{call['device_class']}s" in text, (text, call)
            elif key == "domain" and value == "light" and call["intent"] == "HassLightSet":
                # "Set the hallway to 30%": lights are all that can be set so.
                assert {"brightness", "color", "temperature"} & set(call), (text, call)
            else:
                assert any(word in text for word in SAID.get(str(value), (str(value),))), (text, call)


def test_every_number_that_is_said_is_in_the_call(commands: list[Command]) -> None:
    for text, call, _ in commands:
        said = [float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)]
        held = [abs(float(value)) for value in call.values() if isinstance(value, int | float)]
        assert sorted(said) == sorted(held), (text, call)


def test_commands_read_cleanly(commands: list[Command]) -> None:
    for text, _, _ in commands:
        assert text == " ".join(text.split())
        assert not re.search(r"[\[\]{}<>()|;_]", text), text
        assert not re.search(r"\b(\w+) \1\b", text), text
        assert len(text.split()) <= 16, text


def test_no_command_is_given_twice_even_for_two_calls(commands: list[Command]) -> None:
    assert len({re.sub(r"\W+", " ", text.casefold()) for text, _, _ in commands}) == len(commands)


def test_held_out_calls_use_only_what_training_shows(commands: list[Command]) -> None:
    inferred = ("domain", "device_class", "state")

    def features(call: dict[str, object]) -> set[tuple[object, object, object]]:
        return {(call["intent"], key, value if key in inferred else "") for key, value in call.items()}

    trained = set().union(*(features(call) for _, call, row in commands if row["split"] == "train"))
    for text, call, row in commands:
        assert row["split"] == "train" or features(call) <= trained, text


def test_no_intent_dominates(commands: list[Command]) -> None:
    for split in ("train", "validation", "test"):
        counts = Counter(call["intent"] for _, call, row in commands if row["split"] == split)
        assert max(counts.values()) <= 0.09 * counts.total()
        assert len(counts) >= 20
