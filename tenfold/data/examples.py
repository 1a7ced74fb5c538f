"""What a row says: turns of a conversation, raw text, or texts with labels; here are the formats of words.

| format | columns | optional |
|---|---|---|
| messages (OpenAI, ChatML) | `messages`: list of `{role, content}`, each perhaps with `train` or `weight` | |
| sharegpt | `conversations`: list of `{from, value}` | `system` |
| alpaca | `instruction`, `output` | `input`, `system` |
| prompt_completion | `prompt`, `completion` | `system` |
| text | `text` | |
| translation | `source`, `target` | `language`: of the target |
| speech | `audio`: a path, `text`: what is said | `language`: that is spoken |

The formats with labels are in `labelled.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, cast

from tenfold.data.fields import RowFault, checked_text, list_of, text_of
from tenfold.data.json_stream import json_kind
from tenfold.data.labelled import LABEL_COLUMNS, Labelled, read_labelled, require_label

Role = Literal["system", "user", "assistant", "tool"]

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}
"""Our role for each name that data sets use."""


RESPONSES = {"alpaca": "output", "prompt_completion": "completion", "translation": "target", "speech": "text"}
"""The column that holds the response, in the formats that have one for it."""

SEPARATORS = {"prompt_completion": ""}
"""What the plain template puts between prompt and response, where it is not a line break."""


@dataclass(frozen=True)
class Turn:
    """One message; `train` is False where the row itself keeps a reply out of the loss."""

    role: Role
    content: str
    train: bool = True


@dataclass(frozen=True)
class Example:
    """A conversation that ends with the assistant, or raw text (then there are no turns).

    `separator` is what the plain template puts between turns: nothing where the row brings its own, else a line break.
    Of a translation the user's turn is the text to translate, without any instruction. Of speech it is the path of the
    audio as the row has it, and `folder` is where relative ones start.
    """

    turns: tuple[Turn, ...] = ()
    text: str | None = None
    separator: str = "\n"
    is_translation: bool = False
    is_speech: bool = False
    language: str | None = None
    """What the row says of the language that is translated into, or spoken."""
    folder: str = ""

    @property
    def audio(self) -> Path:
        """The file that holds the speech."""
        assert self.is_speech, "only speech has a file"
        return Path(self.folder) / Path(self.turns[0].content).expanduser()


def to_example(row: Mapping[str, object], format: str, columns: Mapping[str, str]) -> Example | Labelled:
    """Return what the row says; `columns` gives the row's column for each of ours that is named otherwise.

    Raises:
        RowFault: a missing column, a value that is not text, turns out of order, an empty response, no label.
    """
    renamed = _renamed(row, columns)
    if format in LABEL_COLUMNS:
        return require_label(read_labelled(renamed, format, columns), renamed, format, columns)
    example = _READERS[format](renamed, columns)
    if example.text is None:
        _check_order(example.turns)
    return example


def to_question(row: Mapping[str, object], format: str, columns: Mapping[str, str]) -> tuple[Example, str | None]:
    """Return what the row asks, without its last reply, and that reply where the row has one.

    Raises:
        RowFault: as `to_example`, but a missing or empty response is none.
    """
    renamed = _renamed(row, columns)
    response = RESPONSES.get(format)
    if response is not None and renamed.get(response) is None:
        renamed[response] = ""
    example = _READERS[format](renamed, columns)
    turns = example.turns if example.text is None else (Turn("user", example.text),)
    reference = None
    if turns and turns[-1].role == "assistant":
        reference = turns[-1].content or None
        turns = turns[:-1]
    _check_order((*turns, Turn("assistant", "to come")))
    return replace(example, turns=turns, text=None), reference


def to_unlabelled(row: Mapping[str, object], format: str, columns: Mapping[str, str]) -> Labelled:
    """Return what a row of a format with labels asks; with its label where it has one.

    Raises:
        RowFault: as `to_example`, but a missing label is none.
    """
    return read_labelled(_renamed(row, columns), format, columns)


def with_reply(row: Mapping[str, object], format: str, columns: Mapping[str, str], reply: str) -> dict[str, object]:
    """Return the row (which `to_example` reads) with another last reply, under the row's own names."""
    if format in RESPONSES:
        return {**row, columns.get(RESPONSES[format], RESPONSES[format]): reply}
    name, key = {"messages": ("messages", "content"), "sharegpt": ("conversations", "value")}[format]
    turns = list(_list_of_objects(_renamed(row, columns), name, columns))
    return {**row, columns.get(name, name): [*turns[:-1], {**turns[-1], key: reply}]}


def learned_replies(turns: Sequence[Turn], train_on: Literal["all", "last"]) -> list[int]:
    """Return the places in `turns` of the replies to learn."""
    replies = [place for place, turn in enumerate(turns) if turn.role == "assistant"]
    considered = replies[-1:] if train_on == "last" else replies
    return [place for place in considered if turns[place].train]


def _renamed(row: Mapping[str, object], columns: Mapping[str, str]) -> dict[str, object]:
    """Return the row with our names for its columns."""
    ours = {name: row.get(column) for name, column in columns.items()}
    return {key: value for key, value in row.items() if key not in ours} | ours


def _check_order(turns: tuple[Turn, ...]) -> None:
    """Refuse all but: perhaps a system turn, then user and assistant in turn, tools between replies."""
    before = "start"
    allowed = {
        "start": ("system", "user"),
        "system": ("user",),
        "user": ("assistant",),
        "assistant": ("user", "tool"),
        "tool": ("tool", "assistant"),
    }
    for number, turn in enumerate(turns, 1):
        if turn.role not in allowed[before]:
            after = f"after {before}" if before != "start" else "first"
            raise RowFault(f"turn {number}: {turn.role} comes {after} (allowed here: {', '.join(allowed[before])})")
        if turn.role == "assistant" and not turn.content.strip():
            where = f"turn {number}: " if [other.role for other in turns].count("assistant") > 1 else ""
            raise RowFault(f"{where}the response is empty")
        before = turn.role
    if before != "assistant":
        raise RowFault(f"the last turn is {before}, not assistant" if turns else "no turns")


def _read_messages(row: Mapping[str, object], columns: Mapping[str, str]) -> Example:
    turns = []
    for number, message in enumerate(_list_of_objects(row, "messages", columns), 1):
        where = f"turn {number}"
        if message.get("tool_calls") or message.get("function_call"):
            raise RowFault(f"{where}: tool calls are not supported yet (remove such rows, or write the call as text)")
        turns.append(Turn(_role(message, "role", where), _content(message, "content", where), _train(message, where)))
    return Example(tuple(turns))


def _read_sharegpt(row: Mapping[str, object], columns: Mapping[str, str]) -> Example:
    turns = _system(row)
    for number, message in enumerate(_list_of_objects(row, "conversations", columns), 1):
        where = f"turn {number}"
        if "from" not in message and "role" in message:
            name = columns.get("conversations", "conversations")
            raise RowFault(
                f"{where}: has role and content, not from and value "
                f"(set data.format: messages and data.columns: {{messages: {name}}})"
            )
        if message.get("from") == "function_call":
            raise RowFault(f"{where}: tool calls are not supported yet (remove such rows, or write the call as text)")
        turns.append(Turn(_role(message, "from", where), _content(message, "value", where), _train(message, where)))
    return Example(tuple(turns))


def _read_alpaca(row: Mapping[str, object], columns: Mapping[str, str]) -> Example:
    instruction = text_of(row, "instruction", columns)
    extra = text_of(row, "input", columns) if row.get("input") is not None else ""
    prompt = f"{instruction}\n\n{extra}" if extra.strip() else instruction
    turns = [*_system(row), Turn("user", prompt), Turn("assistant", text_of(row, "output", columns))]
    return Example(tuple(turns))


def _read_prompt_completion(row: Mapping[str, object], columns: Mapping[str, str]) -> Example:
    pair = [Turn("user", text_of(row, "prompt", columns)), Turn("assistant", text_of(row, "completion", columns))]
    return Example((*_system(row), *pair), separator=SEPARATORS["prompt_completion"])


def _read_text(row: Mapping[str, object], columns: Mapping[str, str]) -> Example:
    text = text_of(row, "text", columns)
    if not text.strip():
        raise RowFault("the text is empty")
    return Example(text=text)


def _read_source(asks: str, answers: str, row: Mapping[str, object], columns: Mapping[str, str]) -> Example:
    if not (text := text_of(row, asks, columns)).strip():
        raise RowFault(f"{columns.get(asks, asks)!r} is empty")
    turns = (Turn("user", text), Turn("assistant", text_of(row, answers, columns)))
    language = text_of(row, "language", columns) if row.get("language") is not None else None
    return Example(turns, is_translation=asks == "source", is_speech=asks == "audio", language=language)


_READERS: dict[str, Callable[[Mapping[str, object], Mapping[str, str]], Example]] = {
    "messages": _read_messages,
    "sharegpt": _read_sharegpt,
    "alpaca": _read_alpaca,
    "prompt_completion": _read_prompt_completion,
    "text": _read_text,
    "translation": partial(_read_source, "source", "target"),
    "speech": partial(_read_source, "audio", "text"),
}


def _system(row: Mapping[str, object]) -> list[Turn]:
    text = row.get("system")
    if text is None or text == "":
        return []
    return [Turn("system", checked_text(text, "column 'system'"))]


def _list_of_objects(row: Mapping[str, object], name: str, columns: Mapping[str, str]) -> list[Mapping[str, object]]:
    value = list_of(row, name, columns, "turns")
    if not all(isinstance(message, dict) for message in value):
        raise RowFault(f"column {columns.get(name, name)!r} is not a list of turns (objects)")
    return cast(list[Mapping[str, object]], value)


def _role(message: Mapping[str, object], key: str, where: str) -> Role:
    name = message.get(key)
    if not isinstance(name, str):
        raise RowFault(f"{where}: no {key!r} (the turn has: {', '.join(message) or 'nothing'})")
    if name.lower() not in ROLES:
        raise RowFault(f"{where}: unknown role {name!r} (allowed: {', '.join(ROLES)})")
    return ROLES[name.lower()]


def _content(message: Mapping[str, object], key: str, where: str) -> str:
    content = message.get(key)
    if content is None:
        raise RowFault(f"{where}: no {key!r}")
    if isinstance(content, list):
        return "".join(_text_part(part, where) for part in content)
    return checked_text(content, f"{where}: {key!r}")


def _text_part(part: object, where: str) -> str:
    if not isinstance(part, dict) or part.get("type") != "text":
        kind = part.get("type") if isinstance(part, dict) else json_kind(part)
        raise RowFault(f"{where}: content of type {kind!r}; only text can be learned from")
    return checked_text(part.get("text"), f"{where}: a text part")


def _train(message: Mapping[str, object], where: str) -> bool:
    """Read `train: false`, or `weight: 0` as OpenAI's files have it; absent and null mean True."""
    train, weight = message.get("train"), message.get("weight")
    if train is not None and not isinstance(train, bool):
        raise RowFault(f"{where}: train is {train!r} (allowed: true, false)")
    if weight is not None and weight not in (0, 1):
        raise RowFault(f"{where}: weight is {weight!r} (allowed: 0, 1)")
    return train is not False and (weight is None or weight == 1)
