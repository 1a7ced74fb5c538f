"""Five formats give one kind of example; what does not fit is refused with the reason."""

from __future__ import annotations

import json

import pytest

from tenfold.data.examples import Example, Turn, to_example, with_reply
from tenfold.data.fields import RowFault
from tenfold.data.formats import detect_format
from tenfold.errors import DataError

USER, REPLY = Turn("user", "Q"), Turn("assistant", "A")
OPENAI = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]


@pytest.mark.parametrize(
    ("format", "row", "turns"),
    [
        ("messages", {"messages": OPENAI}, (USER, REPLY)),
        ("messages", {"messages": json.dumps(OPENAI)}, (USER, REPLY)),
        (
            "messages",
            {"messages": [{**turn, "weight": None, "tool_calls": None} for turn in OPENAI]},
            (USER, REPLY),
        ),
        (
            "messages",
            {"messages": [{"role": "developer", "content": "S"}, *OPENAI]},
            (Turn("system", "S"), USER, REPLY),
        ),
        (
            "messages",
            {"messages": [*OPENAI, *OPENAI[:1], {"role": "assistant", "content": "B", "weight": 0}]},
            (USER, REPLY, USER, Turn("assistant", "B", train=False)),
        ),
        (
            "messages",
            {
                "messages": [
                    OPENAI[0],
                    {"role": "assistant", "content": [{"type": "text", "text": "A"}], "train": False},
                ]
            },
            (USER, Turn("assistant", "A", train=False)),
        ),
        (
            "sharegpt",
            {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]},
            (USER, REPLY),
        ),
        (
            "sharegpt",
            {
                "conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}],
                "system": "S",
            },
            (Turn("system", "S"), USER, REPLY),
        ),
        ("alpaca", {"instruction": "Q", "input": "", "output": "A"}, (USER, REPLY)),
        (
            "alpaca",
            {"instruction": "Do", "input": "this", "output": "A"},
            (Turn("user", "Do\n\nthis"), REPLY),
        ),
        ("prompt_completion", {"prompt": "Q", "completion": "A"}, (USER, REPLY)),
    ],
)
def test_row_is_read_as_turns(format: str, row: dict[str, object], turns: tuple[Turn, ...]) -> None:
    assert to_example(row, format, {}).turns == turns


def test_raw_text_has_no_turns() -> None:
    assert to_example({"text": " a "}, "text", {}) == Example(text=" a ")


def test_columns_rename_in_every_format() -> None:
    shapes: dict[str, dict[str, object]] = {
        "messages": {"messages": OPENAI},
        "sharegpt": {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]},
        "alpaca": {"instruction": "Q", "input": "more", "output": "A"},
        "prompt_completion": {"prompt": "Q", "completion": "A"},
        "text": {"text": "T"},
    }
    for format, row in shapes.items():
        columns = {ours: f"my_{ours}" for ours in row}
        renamed = {columns[ours]: value for ours, value in row.items()}
        assert detect_format(list(renamed), "auto", columns, "x") == format
        assert to_example(renamed, format, columns) == to_example(row, format, {})


def test_columns_may_swap_two_names() -> None:
    row = {"prompt": "A", "completion": "Q"}
    columns = {"prompt": "completion", "completion": "prompt"}
    assert to_example(row, "prompt_completion", columns).turns == (USER, REPLY)


def message(role: str, content: object = "x", **more: object) -> dict[str, object]:
    return {"role": role, "content": content, **more}


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([message("assistant")], r"turn 1: assistant comes first \(allowed here: system, user\)"),
        ([message("user"), message("user"), message("assistant")], "turn 2: user comes after user"),
        ([message("user"), message("assistant"), message("system")], "turn 3: system comes after assistant"),
        ([message("system"), message("assistant")], "turn 2: assistant comes after system"),
        ([message("user")], "the last turn is user, not assistant"),
        ([], "no turns"),
        ([message("user"), message("narrator")], "turn 2: unknown role 'narrator'"),
        ([{"content": "x"}], "turn 1: no 'role'"),
        ([message("user"), message("assistant", " \n")], "^the response is empty"),
        ([message("user"), message("assistant")] * 2 + [message("user"), message("assistant", "")], "turn 6: the resp"),
        ([message("user", 3)], "turn 1: 'content' is a number, not text"),
        ([message("user", None)], "turn 1: no 'content'"),
        ([message("user", [{"type": "image_url"}])], "content of type 'image_url'; only text"),
        ([message("user", ["x"])], "content of type 'text'"),
        (
            [message("user"), message("assistant", None, tool_calls=[{}])],
            "turn 2: tool calls are not supported yet",
        ),
        ([message("user"), message("assistant", weight=0.5)], "weight is 0.5"),
        ([message("user"), message("assistant", train="no")], "train is 'no'"),
        ([message("user", "\ud83d"), message("assistant")], "half of a surrogate pair"),
        ("not json", "is text, not a list of turns"),
        ('[{"role": "user", "role": "user"}]', "column 'messages': 'role' stands more than once in an object"),
        (["x"], "is not a list of turns"),
        (None, r"no 'messages' \(the row has: messages\)"),
    ],
)
def test_faulty_conversation_is_refused_with_the_reason(messages: object, reason: str) -> None:
    with pytest.raises(RowFault, match=reason):
        to_example({"messages": messages}, "messages", {})


@pytest.mark.parametrize(
    ("format", "row", "reason"),
    [
        ("prompt_completion", {"prompt": "a"}, r"no 'completion' \(the row has: prompt\)"),
        (
            "prompt_completion",
            {"prompt": "a", "completion": {"x": 1}},
            "column 'completion' is an object, not text",
        ),
        ("prompt_completion", {"prompt": "a", "completion": ""}, "^the response is empty"),
        ("alpaca", {"instruction": "a", "output": 3}, "column 'output' is a number"),
        ("text", {"text": " "}, "the text is empty"),
        (
            "sharegpt",
            {"conversations": OPENAI},
            r"set data.format: messages and .*\{messages: conversations\}",
        ),
        (
            "sharegpt",
            {"conversations": [{"from": "function_call", "value": "x"}]},
            "tool calls are not supported",
        ),
    ],
)
def test_faulty_row_is_refused_with_the_reason(format: str, row: dict[str, object], reason: str) -> None:
    with pytest.raises(RowFault, match=reason):
        to_example(row, format, {})


@pytest.mark.parametrize(
    ("found", "format", "columns", "message"),
    [
        (
            ["messages", "text"],
            "auto",
            {},
            r"fit more than one format\n  allowed: messages, text\n.*data.format: messages",
        ),
        (
            ["question", "answer"],
            "auto",
            {},
            r"no known format(.|\n)*\{prompt: question, completion: answer\}",
        ),
        (["prompt", "response"], "auto", {}, r"\{completion: response\}"),
        (["Dialogue"], "auto", {}, r"\{messages: Dialogue\}"),
        (["document"], "auto", {}, r"\{text: document\}"),
        (["a"], "auto", {}, r"columns a: no known format\n  allowed: messages \(messages\); sharegpt"),
        (
            ["question", "answer"],
            "alpaca",
            {},
            r"not the format 'alpaca'(.|\n)*\{instruction: question, output: answer\}",
        ),
        (
            ["question", "reply"],
            "auto",
            {"prompt": "qestion"},
            r"no column 'qestion' in x(.|\n)*did you mean 'question'",
        ),
        (
            ["a"],
            "auto",
            {"promt": "a"},
            r"data.columns.promt: not one of our columns(.|\n)*did you mean 'prompt'",
        ),
    ],
)
def test_columns_that_fit_no_format_are_told_with_a_remedy(
    found: list[str], format: str, columns: dict[str, str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        detect_format(found, format, columns, "x")


def test_mapping_decides_between_formats() -> None:
    found = ["messages", "text", "q", "a"]
    assert detect_format(found, "auto", {"prompt": "q", "completion": "a"}, "x") == "prompt_completion"
    assert detect_format(found, "text", {}, "x") == "text"


def test_a_column_that_is_mapped_is_not_taken_under_its_own_name_too() -> None:
    assert detect_format(["source", "target"], "auto", {"text": "target"}, "x") == "text"


@pytest.mark.parametrize(
    ("row", "format", "columns"),
    [
        ({"prompt": "a", "completion": "old", "kept": 1}, "prompt_completion", {}),
        ({"q": "a", "r": "old"}, "prompt_completion", {"prompt": "q", "completion": "r"}),
        ({"instruction": "a", "input": "b", "output": "old"}, "alpaca", {}),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "old"}]}, "messages", {}),
        (
            {"talk": '[{"from": "human", "value": "a"}, {"from": "gpt", "value": "old"}]'},
            "sharegpt",
            {"conversations": "talk"},
        ),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_row_with_another_reply_asks_the_same(row: dict[str, object], format: str, columns: dict[str, str]) -> None:
    before = to_example(row, format, columns)
    after = to_example(with_reply(row, format, columns, "new"), format, columns)
    assert after.turns[:-1] == before.turns[:-1]
    assert after.turns[-1].content == "new"
    assert row.keys() == with_reply(row, format, columns, "new").keys()
