"""Corpus BLEU from kept counts: sacrebleu's figure, and intervals and tests that resample items."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import sacrebleu

from tenfold.evaluation.bleu import bleu_counts, bleu_of
from tenfold.evaluation.metrics import METRICS
from tenfold.evaluation.scorecard import Score, Scorecard

WORDS = ("the", "a", "cat", "dog", "sat", "ran", "on", "under", "mat", "tree", "and", "slowly", "home", "again")


def corpus(num_items: int, share_right: float, seed: int = 0) -> tuple[list[str], list[str]]:
    generator = np.random.default_rng(seed)
    references, predictions = [], []
    for _ in range(num_items):
        words = list(generator.choice(WORDS, generator.integers(5, 14)))
        others, luck = generator.choice(WORDS, len(words)), generator.random(len(words))
        heard = [
            word if chance < share_right else other for word, other, chance in zip(words, others, luck, strict=True)
        ]
        references.append(" ".join(words))
        predictions.append(" ".join(heard[: generator.integers(4, 14)]))
    return predictions, references


@pytest.mark.parametrize("share_right", [0.0, 0.4, 0.8, 1.0])
@pytest.mark.parametrize("num_items", [1, 3, 40])
def test_the_value_is_sacrebleus_corpus_score(num_items: int, share_right: float) -> None:
    predictions, references = corpus(num_items, share_right)
    expected = sacrebleu.corpus_bleu(predictions, [references]).score / 100
    assert METRICS["bleu"].measure(predictions, references).value == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("prediction", "reference"),
    [("", "a b c d e"), ("x y z q r", "a b c d e"), ("a b", "a b"), ("a b c d", "a b c d"), ("a x", "a b c d e f")],
)
def test_short_and_wrong_sentences_are_sacrebleus_too(prediction: str, reference: str) -> None:
    expected = sacrebleu.corpus_bleu([prediction], [[reference]]).score / 100
    assert METRICS["bleu"].score([prediction], [reference]) == [pytest.approx(expected, abs=1e-9)]


def test_the_interval_is_that_of_items_drawn_again() -> None:
    predictions, references = corpus(40, 0.7)
    measure = METRICS["bleu"].measure(predictions, references)
    generator = np.random.default_rng(7)
    drawn = []
    for _ in range(400):
        chosen = generator.integers(40, size=40)
        drawn.append(
            sacrebleu.corpus_bleu([predictions[i] for i in chosen], [[references[i] for i in chosen]]).score / 100
        )
    low, high = np.quantile(drawn, [0.025, 0.975])
    # two draws of resamples: the ends of 400 differ from those of 2,000 by a fifth of the width at most
    assert measure.interval.low == pytest.approx(low, abs=(high - low) / 5)
    assert measure.interval.high == pytest.approx(high, abs=(high - low) / 5)
    sentences = METRICS["bleu"].score(predictions, references)
    assert np.mean(sentences) != pytest.approx(measure.value, abs=1e-3), "the mean of sentences is another figure"


def test_a_clear_gain_is_called_one_and_none_is_not() -> None:
    (poor, references), (good, same_references) = corpus(30, 0.5), corpus(30, 0.95)
    assert references == same_references
    card = Scorecard()
    for stage, predictions in (("before", poor), ("after", good)):
        measure = METRICS["bleu"].measure(predictions, references)
        card = card.add(Score(stage, "main", {"bleu": measure}, tuple(predictions)))
    change = card.change("main", "bleu")
    assert change is not None and change.is_better
    early, late = (card.score(stage, "main") for stage in ("before", "after"))
    assert early is not None and late is not None
    assert change.test.difference.mean == pytest.approx(late.primary.value - early.primary.value)
    same = early.primary.change_to(early.primary)
    assert same.verdict == "no clear change" and same.p_value == 1.0


def test_p_is_the_share_of_swaps_that_change_as_much() -> None:
    (poor, references), (good, _) = corpus(6, 0.5), corpus(6, 0.7)
    first, second = (METRICS["bleu"].measure(each, references) for each in (poor, good))
    changes = []
    for swaps in itertools.product((False, True), repeat=6):
        sides = [[b, a] if swapped else [a, b] for a, b, swapped in zip(poor, good, swaps, strict=True)]
        early, late = ([side[place] for side in sides] for place in (0, 1))
        changes.append(
            sacrebleu.corpus_bleu(late, [references]).score - sacrebleu.corpus_bleu(early, [references]).score
        )
    expected = np.mean(np.abs(changes) >= abs(changes[0]) - 1e-9)
    # 10,000 random swaps instead of all 64: three standard errors
    assert first.change_to(second).p_value == pytest.approx(
        expected, abs=3 * (expected * (1 - expected) / 10_000) ** 0.5
    )


def test_counts_survive_the_file() -> None:
    predictions, references = corpus(5, 0.5)
    measure = METRICS["bleu"].measure(predictions, references)
    card = Scorecard((Score("before", "main", {"bleu": measure}),))
    assert Scorecard.from_json(card.to_json()) == card


def test_summed_counts_of_one_sentence_are_its_own() -> None:
    counts = np.asarray(bleu_counts(["a b c d e"], ["a b c d f"]), dtype=np.float64)
    # 4 of 5 words, 3 of 4, 2 of 3 and 1 of 2 longer ones; no brevity penalty
    assert bleu_of(counts)[0] == pytest.approx((4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
