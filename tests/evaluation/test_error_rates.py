"""Word and character error rates: against jiwer's, and normalised as documented."""

from __future__ import annotations

import jiwer
import numpy as np
import pytest

from tenfold.evaluation.error_rates import basic_text, num_edits
from tenfold.evaluation.metrics import METRICS

PREDICTIONS = ("the cat sat on mat", "", "a dog barks loudly at night", "Grüß dich, Welt!", "one two three")
REFERENCES = ("The cat sat on the mat.", "hello there", "a dog barks", "Grüß Dich Welt", "three two one")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Hello,\tWORLD!  ", "hello world"),
        ("Don't stop — it’s 5 o'clock", "dont stop its 5 oclock"),
        ("STRASSE Straße", "strasse strasse"),
        ("well-known (very)", "well known very"),
        ("नमस्ते दुनिया।", "नमस्ते दुनिया"),  # vowel signs stay
        ("ｆｕｌｌ　ｗｉｄｔｈ", "full width"),
        ("+5 €", "5"),
        ("…", ""),
    ],
)
def test_basic_text_drops_case_marks_and_symbols_only(text: str, expected: str) -> None:
    assert basic_text(text) == expected


def test_edits_are_those_of_the_textbook_table() -> None:
    def slow(first: str, second: str) -> int:
        table = {(i, 0): i for i in range(len(first) + 1)} | {(0, j): j for j in range(len(second) + 1)}
        for i, a in enumerate(first, 1):
            for j, b in enumerate(second, 1):
                table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (a != b))
        return table[len(first), len(second)]

    generator = np.random.default_rng(0)
    for _ in range(200):
        one, other = ("".join(generator.choice(list("abc"), generator.integers(0, 9))) for _ in range(2))
        assert num_edits(one, other) == slow(one, other)


def test_the_rates_are_jiwers_on_the_same_text() -> None:
    predictions, references = (list(map(basic_text, texts)) for texts in (PREDICTIONS, REFERENCES))
    wer, cer = (METRICS[name].measure(PREDICTIONS, REFERENCES) for name in ("wer", "cer"))
    assert wer.value == pytest.approx(jiwer.wer(references, predictions))
    assert cer.value == pytest.approx(jiwer.cer(references, predictions))
    assert not wer.higher_is_better and not cer.higher_is_better
    assert wer.interval.low <= wer.value <= wer.interval.high


def test_a_sign_of_a_script_without_blanks_is_a_word() -> None:
    assert METRICS["wer"].score(["今天天気"], ["今日天気"]) == [0.25]


def test_references_of_marks_alone_weigh_nothing() -> None:
    measure = METRICS["wer"].measure(["a b", "c"], ["…", "c d"])
    assert measure.weights == (0.0, 2.0) and measure.value == 0.5
    assert METRICS["wer"].measure(["a"], ["…"]).value == 0.0
