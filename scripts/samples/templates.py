"""The sentence-template language of `home-assistant-intents`: read a template, draw a sentence from it.

(a|b)  one of these          [x]  with or without x        (a;b)  both, in either order
<rule> a named template      {list} or {list:slot}         a word or number from a list
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Node:
    """A part of a template: `kind` is text, rule, list, sequence, choice, optional or permutation."""

    kind: str
    text: str = ""
    slot: str = ""
    parts: tuple[Node, ...] = ()


@dataclass
class Sentence:
    """A sentence as it is being drawn, and the values that its slots took."""

    text: str = ""
    slots: dict[str, object] = field(default_factory=dict)


Fill = Callable[[str, str], tuple[str, object]]
"""Given a list's name and its slot's name: the words to say and the value they stand for."""


def parse(template: str) -> Node:
    """Return the tree of `template`.

    Raises:
        ValueError: a bracket is never closed.
    """
    node, end = _alternatives(template, 0, closing="")
    if end != len(template):
        raise ValueError(f"unbalanced bracket at character {end}: {template}")
    return node


def _alternatives(template: str, start: int, closing: str) -> tuple[Node, int]:
    """Read up to `closing`: sequences parted by | or by ;, whichever this group uses."""
    branches: list[Node] = []
    parts: list[Node] = []
    separator = ""
    at = start
    while at < len(template) and (template[at] not in ")]"):
        sign = template[at]
        if sign in "|;":
            separator = sign
            branches.append(Node("sequence", parts=tuple(parts)))
            parts, at = [], at + 1
        else:
            part, at = _part(template, at)
            parts.append(part)
    if closing and template[at : at + 1] != closing:
        raise ValueError(f"{closing} is missing at character {at}: {template}")
    branches.append(Node("sequence", parts=tuple(parts)))
    if not separator:
        return branches[0], at
    return Node("choice" if separator == "|" else "permutation", parts=tuple(branches)), at


def _part(template: str, at: int) -> tuple[Node, int]:
    """Read one bracketed group, reference or stretch of plain text."""
    sign = template[at]
    if sign in "([":
        inner, end = _alternatives(template, at + 1, closing=")" if sign == "(" else "]")
        return (inner if sign == "(" else Node("optional", parts=(inner,))), end + 1
    if sign in "<{":
        end = template.index(">" if sign == "<" else "}", at)
        name, _, slot = template[at + 1 : end].partition(":")
        return Node("rule" if sign == "<" else "list", name, slot or name), end + 1
    end = at
    while end < len(template) and template[end] not in "()[]<>{}|;":
        end += 1
    return Node("text", template[at:end]), max(end, at + 1)


def sample(template: Node, rules: Mapping[str, Node], fill: Fill, rng: random.Random) -> Sentence:
    """Return one sentence of `template`: every choice even, every optional part kept in half the draws."""
    sentence = Sentence()
    sentence.text = " ".join(_say(template, rules, fill, rng, sentence.slots).split())
    return sentence


def _say(node: Node, rules: Mapping[str, Node], fill: Fill, rng: random.Random, slots: dict[str, object]) -> str:
    def say(part: Node) -> str:
        return _say(part, rules, fill, rng, slots)

    if node.kind == "text":
        return node.text
    if node.kind == "list":
        words, slots[node.slot] = fill(node.text, node.slot)
        return words
    if node.kind == "rule":
        return say(rules[node.text])
    if node.kind == "optional":
        return say(node.parts[0]) if rng.random() < 0.5 else ""
    if node.kind == "choice":
        return say(rng.choice(node.parts))
    if node.kind == "permutation":
        return " ".join(say(part) for part in rng.sample(node.parts, len(node.parts)))
    return "".join(say(part) for part in node.parts)
