"""Tables of texts: entities stand where they were put, docstrings leave their function, floors count right."""

from __future__ import annotations

import numpy as np
import pytest

from evidence.floors import labelled, spans, written
from evidence.floors.figures import mean, whole
from evidence.floors.page import table
from evidence.home.entities import bracketed, tagged, unbracketed
from evidence.tables import Row
from evidence.text.docstrings import documented

DOCUMENTED = '''
def area(width, height):
    """Return the area of a rectangle.

    More is said here.
    """
    product = width * height
    return product if product > 0 else abs(product) + 0 * width
'''


def test_a_function_is_parted_from_its_first_line() -> None:
    ((code, line),) = documented(DOCUMENTED)
    assert line == "Return the area of a rectangle."
    assert "Return" not in code and code.startswith("def area(width, height):\n    product")


@pytest.mark.parametrize("source", ["def f(:", DOCUMENTED.replace("Return the area of a rectangle.", "Area.")])
def test_what_cannot_be_used_gives_no_pair(source: str) -> None:
    assert not list(documented(source))


def test_words_of_a_slot_are_tagged_where_they_stand() -> None:
    fill = bracketed(lambda name, slot: {"area": ("living room", "x"), "timer": ("5", 5)}[name])
    area, minutes = fill("area", "area")[0], fill("timer", "minutes")[0]
    text = f"in the {area}, room set {minutes}%"
    assert unbracketed(text) == "in the living room, room set 5%"
    assert tagged(text) == (
        ["in", "the", "living", "room", ",", "room", "set", "5", "%"],
        ["O", "O", "B-area", "I-area", "O", "O", "O", "B-duration", "O"],
    )


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (["B-a", "I-a", "O", "B-a"], {(0, 2, "a"), (3, 4, "a")}),
        (["B-a", "B-a"], {(0, 1, "a"), (1, 2, "a")}),
        (["I-a", "I-b"], {(0, 1, "a"), (1, 2, "b")}),
        (["O"], set()),
    ],
)
def test_spans_are_read_from_tags(tags: list[str], expected: set[spans.Span]) -> None:
    assert spans.spans(tags) == expected


def test_the_floor_of_entities_is_their_most_frequent_tag() -> None:
    train: list[Row] = [{"tokens": ["the", "lamp"], "tags": ["O", "B-name"]}]
    test: list[Row] = [
        {"tokens": ["the", "lamp"], "tags": ["O", "B-name"]},
        {"tokens": ["a", "tv"], "tags": ["O", "B-name"]},
    ]
    # One span found, two to find, all found are right: 2 * 1 / (1 + 2).
    (figures,) = spans.entities(train, test, seed=0).values()
    assert figures["span F1"][0] == pytest.approx(2 / 3, abs=1e-4)


def test_the_floor_of_questions_is_a_known_answer_that_stands_there() -> None:
    def row(context: str, answer: str) -> Row:
        answers = {"text": [answer], "answer_start": [0]}
        return {"question": "Which?", "context": context, "answers": answers, "rivals": int("Perl" in context)}

    train = [row("Perl", "Perl"), row("Perl", "Perl"), row("Qt", "Qt")]
    test = [row("with Qt", "Qt"), row("in C", "C"), row("Qt, not Perl", "Qt"), row("Perl, not Qt", "Perl")]
    (figures,) = spans.questions(train, test).values()
    assert figures["exact match"][0] == 0.5
    assert figures["exact match with rivals"][0] == 0.5


def test_the_nearest_row_lends_its_answer() -> None:
    train: list[Row] = [{"prompt": "red apple", "completion": "fruit"}, {"prompt": "fast car", "completion": "thing"}]
    assert written.nearest(train, [{"prompt": "a red one"}], "prompt", "completion") == ["fruit"]


def test_preferences_count_ties_as_half() -> None:
    rows: list[Row] = [
        {"prompt": "x", "chosen": "long text", "rejected": "text"},
        {"prompt": "x", "chosen": "same", "rejected": "text"},
    ]
    assert written.preferences(rows)["the longer"]["accuracy"][0] == 0.75


def test_a_majority_is_right_as_often_as_it_occurs() -> None:
    def rows(labels: str) -> list[Row]:
        return [{"text": f"{label} word{number}", "label": label} for number, label in enumerate(labels)]

    floors = labelled.classes(rows("aaabb"), rows("aabb"), analyzer=labelled.WORDS, seed=0)
    assert floors["majority"]["accuracy"][0] == 0.5
    # Of two labels one is never given: (2 * 2 / (4 + 2) + 0) / 2.
    assert floors["majority"]["macro-F1"][0] == pytest.approx(1 / 3, abs=1e-4)


def test_the_mean_explains_nothing() -> None:
    rows: list[Row] = [{"text": f"word{number}", "target": float(number)} for number in range(20)]
    figures = labelled.numbers(rows, rows, seed=0)["mean"]
    assert figures["R2"][0] == 0.0
    assert figures["absolute error"][0] == 5.0  # 9.5, 8.5 … 0.5 away from the mean of 9.5, on either side


def test_an_interval_holds_its_mean() -> None:
    value, low, high = mean([0.0, 1.0, 1.0, 1.0])
    assert low <= value <= high and value == 0.75
    value, low, high = whole(lambda chosen: float(np.mean(chosen)), 5, seed=0)
    assert low <= value <= high and value == 2.0


def test_the_page_shows_a_means_a_line() -> None:
    measured = {"rows": {"train": 1200, "test": 3}, "floors": {"lead": {"F1": [0.5, 0.4, 0.6]}, "copy": {}}}
    assert table({"sections": measured})[2:] == [
        "| sections | 1,200 / 3 | lead | F1 0.500 [0.400, 0.600] |",
        "|  |  | copy |  |",
    ]
