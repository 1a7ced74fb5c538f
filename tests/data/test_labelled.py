"""Rows with labels: what each format says, what is refused with the reason, and how it is told from raw text."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tenfold.data.examples import to_example, to_unlabelled
from tenfold.data.fields import RowFault
from tenfold.data.formats import FORMATS, LABELLED, PROMPTS, detect_format
from tenfold.data.identity import prompt_keys, row_key
from tenfold.data.label_space import LabelSpace, read_labels
from tenfold.data.labelled import Answer, Label, Labelled, label_text
from tenfold.data.sources import open_rows
from tenfold.errors import DataError
from tenfold.recipe import DataSection

ROWS: dict[str, tuple[dict[str, object], Labelled]] = {
    "classification": (
        {"text": "so good", "label": "praise", "text_pair": "indeed"},
        Labelled(("so good", "indeed"), "praise"),
    ),
    "multi_label": ({"text": "a", "labels": ["y", "x", "y"]}, Labelled(("a",), ("x", "y"))),
    "regression": ({"text": "a", "target": 2}, Labelled(("a",), 2.0)),
    "tags": (
        {"tokens": ["in", "New", "York"], "tags": ["O", "B-place", "I-place"]},
        Labelled(("in New York",), ("O", "B-place", "I-place"), ("in", "New", "York")),
    ),
    "span": (
        {"question": "who?", "context": "a cat, a dog", "answer": "a", "answer_start": 7},
        Labelled(("who?", "a cat, a dog"), (Answer("a", 7),)),
    ),
}


@pytest.mark.parametrize("format", ROWS)
def test_each_format_says_what_it_says(format: str) -> None:
    row, expected = ROWS[format]
    assert to_example(row, format, {}) == expected
    assert detect_format(list(row), "auto", {}, "rows") == format
    label = FORMATS[format][-1]
    mapped = {("mine" if key == label else key): value for key, value in row.items()}
    assert to_example(mapped, format, {label: "mine"}) == expected
    assert detect_format(list(mapped), "auto", {label: "mine"}, "rows") == format


@pytest.mark.parametrize("format", ROWS)
def test_a_row_to_answer_needs_no_label_and_a_row_to_learn_from_does(format: str) -> None:
    row, expected = ROWS[format]
    asked = {key: value for key, value in row.items() if key != FORMATS[format][-1]}
    assert to_unlabelled(asked, format, {}).label is None
    assert to_unlabelled(asked, format, {}).texts == expected.texts
    with pytest.raises(RowFault, match=f"no '{FORMATS[format][-1]}'"):
        to_example(asked, format, {})
    assert detect_format(list(asked), "auto", {}, "rows", needed={format: PROMPTS[format]}) == format


@pytest.mark.parametrize(
    ("label", "format", "expected"),
    [
        (3, "classification", "3"),
        (True, "classification", "true"),
        (" x ", "classification", "x"),
        ("[1, 2]", "multi_label", ("1", "2")),
        ([], "multi_label", ()),
        ("2.5", "regression", 2.5),
        (["cat", "dog"], "span", (Answer("cat", 2), Answer("dog", 9))),
        ({"text": ["dog"], "answer_start": [9]}, "span", (Answer("dog", 9),)),
    ],
)
def test_labels_in_other_clothes(label: object, format: str, expected: Label) -> None:
    row, _ = ROWS[format]
    example = to_example({**row, "answer_start": None, FORMATS[format][-1]: label}, format, {})
    assert isinstance(example, Labelled) and example.label == expected


@pytest.mark.parametrize(
    ("format", "change", "told"),
    [
        ("classification", {"text": " "}, "the text is empty"),
        ("classification", {"label": " "}, "column 'label' is empty"),
        ("classification", {"label": 0.5}, "is 0.5, not a name"),
        ("classification", {"label": ["x"]}, "is a list, not text"),
        ("classification", {"label": None}, "'label' is missing or null"),
        ("multi_label", {"labels": "x"}, "is text, not a list of labels"),
        ("multi_label", {"labels": [None]}, "label 1 is null"),
        ("regression", {"target": float("nan")}, "is nan, not a finite number"),
        ("regression", {"target": "inf"}, "is inf, not a finite number"),
        ("regression", {"target": "high"}, "is 'high', not a number"),
        ("regression", {"target": True}, "is true or false, not a number"),
        ("tags", {"tags": ["O"]}, "3 words and 1 tags"),
        ("tags", {"tokens": ["a", "", "c"]}, "word 2 is ''"),
        ("span", {"answer": "mouse", "answer_start": None}, "'mouse' is not in the context"),
        ("span", {"answer_start": 1}, "does not stand at character 1"),
        ("span", {"answer_start": 1.5}, "answer_start is a number, not a whole number"),
        ("span", {"answer": {"text": [], "answer_start": []}}, "there is no answer"),
        ("span", {"answer": ["cat", "dog"], "answer_start": [2]}, "2 answers and 1 starts"),
        ("span", {"answer": ""}, "the answer is empty"),
    ],
)
def test_a_faulty_row_is_told_with_its_reason(format: str, change: dict[str, object], told: str) -> None:
    with pytest.raises(RowFault, match=told):
        to_example({**ROWS[format][0], **change}, format, {})


def test_a_format_that_needs_more_wins_and_a_tie_is_asked_about() -> None:
    assert detect_format(["text"], "auto", {}, "rows") == "text"
    assert detect_format(["text", "label"], "text", {}, "rows") == "text"
    assert detect_format(["text", "intent", "x"], "auto", {"label": "intent"}, "rows") == "classification"
    with pytest.raises(DataError, match="classification, regression"):
        detect_format(["text", "label", "target"], "auto", {}, "rows")
    assert set(LABELLED) == set(ROWS)


def test_texts_are_the_same_whatever_their_label() -> None:
    first, second = Labelled(("So good!",), "x"), Labelled(("so good",), "y")
    assert prompt_keys(first, "all") == prompt_keys(second, "all")
    assert row_key(first) != row_key(Labelled(("So good!",), "y"))
    assert [label_text(label) for label in (("a", "b"), 0.5, "c", (Answer("d", 1),), None)] == [
        "a b",
        "0.5",
        "c",
        "d",
        "",
    ]


def space(write_rows: Callable[..., str], rows: list[object], **data: object) -> LabelSpace:
    return read_labels(open_rows(write_rows(rows)), DataSection(train="x", **data))


def test_labels_are_read_from_the_training_rows(write_rows: Callable[..., str]) -> None:
    rows: list[object] = [{"text": f"t{n}", "label": label} for n, label in enumerate("bbaaac c".replace(" ", ""))]
    assert space(write_rows, rows) == LabelSpace("class", ("a", "b", "c"), (3, 2, 2))
    given = space(write_rows, rows[:3], labels=["c", "b", "a"])
    assert given == LabelSpace("class", ("c", "b", "a"), (0, 2, 1))
    numbers: list[object] = [{"text": "t", "target": target} for target in (1, 2, 6)]
    found = space(write_rows, numbers)
    assert (found.mean, found.spread) == pytest.approx((3.0, (14 / 3) ** 0.5))
    assert found.encoded(6.0) == pytest.approx((3 / (14 / 3) ** 0.5,))
    assert LabelSpace.from_facts(json.loads(json.dumps(found.facts))) == found
    many: list[object] = [{"text": "t", "labels": labels} for labels in (["x", "y"], ["x"], ["y"], [])]
    assert space(write_rows, many).encoded(("y",)) == (0.0, 1.0)
    with pytest.raises(RowFault, match="label 'z' is not one"):
        space(write_rows, many).encoded(("y", "z"))
    some = space(write_rows, many, labels=["y"])
    assert (some.encoded(("x", "y")), some.encoded(("x",)), some.counts) == ((1.0,), (0.0,), (2,))


@pytest.mark.parametrize(
    ("rows", "data", "told"),
    [
        ([{"text": "t", "label": "a"}] * 2, {}, "all 2 training rows have one label: a"),
        ([{"text": "t", "label": label} for label in "aab"], {}, "line 3: label 'b' occurs in this training row only"),
        ([{"text": "t", "labels": []}] * 2, {}, "no row has a label"),
        ([{"text": "t", "target": 2}] * 2, {}, "all 2 training rows have the target 2"),
        ([{"text": "t", "target": 1e300 * sign} for sign in (1, -1)], {}, "too large to be squared"),
        ([{"text": "t", "target": n} for n in (1, 2)], {"labels": ["x"]}, "data.labels"),
        ([{"text": "t", "target": n} for n in (1, 2)], {"class_weights": "balanced"}, "data.class_weights"),
    ],
)
def test_labels_that_leave_nothing_to_tell_apart(
    write_rows: Callable[..., str], rows: list[object], data: dict[str, object], told: str
) -> None:
    with pytest.raises(DataError, match=told):
        space(write_rows, rows, **data)
