"""How close is a generated text to its reference? One number for each item.

Every metric is taken item by item, so that intervals and paired tests can be made over items. Where the literature
pools counts over the corpus, each says what ours does: chrF is the mean over sentences, error rates weigh items by the
length of their references, and BLEU keeps the counts.
"""

from __future__ import annotations

import json
import statistics
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from tenfold.evaluation.bleu import bleu_counts, bleu_of
from tenfold.evaluation.error_rates import character_error_rate, num_characters, num_words, word_error_rate
from tenfold.evaluation.scorecard import Measure
from tenfold.evaluation.words import apart, words

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu.metrics import CHRF

SHORT_ANSWER_WORDS = 5
"""References of at most this many words (median) are short answers: word overlap says little about them."""


@dataclass(frozen=True)
class Metric:
    """A named way to score one prediction against one reference.

    `weigh` gives what a reference weighs, where the metric is a ratio of sums; `count` gives the counts of all pairs,
    where it is pooled over the corpus.
    """

    name: str
    score_item: Callable[[str, str], float]
    unit: str = "share"
    higher_is_better: bool = True
    weigh: Callable[[str], float] | None = None
    count: Callable[[Sequence[str], Sequence[str]], list[tuple[int, ...]]] | None = None

    def score(self, predictions: Sequence[str], references: Sequence[str]) -> list[float]:
        """Return one value for each pair."""
        return [self.score_item(*pair) for pair in zip(predictions, references, strict=True)]

    def measure(self, predictions: Sequence[str], references: Sequence[str]) -> Measure:
        """Return the metric over all pairs."""
        if self.count is not None:
            counts = self.count(predictions, references)
            return Measure.pooled(self.name, counts, by=self.name, unit=self.unit)
        weights = None if self.weigh is None else tuple(map(self.weigh, references))
        if weights is not None and not any(weights):
            weights = None  # references of marks alone: each counts as wrong by nothing
        return Measure(
            name=self.name,
            unit=self.unit,
            higher_is_better=self.higher_is_better,
            items=tuple(self.score(predictions, references)),
            weights=weights,
        )


def exact_match(prediction: str, reference: str) -> float:
    """Return 1 if both are the same text once runs of white space count as one space, else 0.

    Source: Rajpurkar et al. 2016 (SQuAD, arXiv 1606.05250), section 6.1; ours keeps case, punctuation and
    articles.
    """
    return float(" ".join(prediction.split()) == " ".join(reference.split()))


def json_match(prediction: str, reference: str) -> float:
    """Return 1 if both are JSON texts of equal value, else 0; text around the JSON makes it no JSON text.

    The order of keys and the spelling of numbers (1, 1.0) are free; `true` is not 1, and arrays keep their
    order.

    Source: RFC 8259, sections 3 to 6, for what a JSON text is (NaN and Infinity are none).
    """
    try:
        return float(_same_value(_read_json(prediction), _read_json(reference)))
    except (ValueError, RecursionError):
        return 0.0


def token_f1(prediction: str, reference: str) -> float:
    """Return the harmonic mean of word precision and word recall, words counted with their repetitions.

    Source: Rajpurkar et al. 2016 (SQuAD, arXiv 1606.05250), section 6.1. Departures, to fit any language:
    case is folded the Unicode way, all Unicode punctuation is dropped, English articles are kept, and each
    ideograph or kana is a word of its own (as MLQA does, Lewis et al. 2020, arXiv 1910.07475, section 4.1).
    """
    kept = [_without_punctuation(text.casefold()) for text in (prediction, reference)]
    predicted, wanted = ([word for part in text.split() for word in apart(part)] for text in kept)
    if not predicted or not wanted:
        return float(predicted == wanted)
    common = sum((Counter(predicted) & Counter(wanted)).values())
    return 2 * common / (len(predicted) + len(wanted))


def rouge_l(prediction: str, reference: str) -> float:
    """Return ROUGE-L: the F measure of the longest common subsequence of words, without stemming.

    Source: Lin 2004 (ROUGE, aclanthology.org/W04-1013), section 3.1, by the `rouge-score` package. Departure:
    its own tokenizer drops every letter outside a to z; ours keeps the words of all scripts.
    """
    return float(_rouge_scorer().score(reference, prediction)["rougeL"].fmeasure)


def chrf(prediction: str, reference: str) -> float:
    """Return sentence chrF / 100: F2 of character n-grams of orders 1 to 6, white space left out.

    Source: Popović 2015 (chrF, aclanthology.org/W15-3049), by the `sacrebleu` package with its default
    settings. The mean of these over items is not corpus chrF, which pools the counts first.
    """
    return float(_chrf_scorer().sentence_score(prediction, [reference]).score) / 100


def sentence_bleu(prediction: str, reference: str) -> float:
    """Return BLEU / 100 of one sentence; the mean of these is not corpus BLEU, which is what is reported."""
    return float(bleu_of(np.asarray(bleu_counts([prediction], [reference]), dtype=np.float64))[0])


METRICS: dict[str, Metric] = {
    function.__name__: Metric(function.__name__, function)
    for function in (exact_match, json_match, token_f1, rouge_l, chrf)
} | {
    "bleu": Metric("bleu", sentence_bleu, unit="corpus BLEU / 100; 13a tokens", count=bleu_counts),
    "wer": Metric("wer", word_error_rate, unit="edits per word; basic text", higher_is_better=False, weigh=num_words),
    "cer": Metric(
        "cer",
        character_error_rate,
        unit="edits per character; basic text",
        higher_is_better=False,
        weigh=num_characters,
    ),
}
"""Every metric by its name in recipes."""


def choose_metrics(references: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the metrics that fit these references; the first one is the task metric.

    JSON objects: equality of values. Short answers (median of at most 5 words): equality of texts. Else:
    overlap.
    """
    assert references, "there is at least one reference to choose by"
    if all(_is_json_object(reference) for reference in references):
        return ("json_match", "exact_match", "token_f1")
    if statistics.median(len(words(reference)) for reference in references) <= SHORT_ANSWER_WORDS:
        return ("exact_match", "token_f1", "chrf")
    return ("rouge_l", "chrf", "exact_match")


def _without_punctuation(text: str) -> str:
    return "".join(
        sign for sign in text if sign not in string.punctuation and not unicodedata.category(sign).startswith("P")
    )


def _read_json(text: str) -> object:
    value: object = json.loads(text, parse_constant=_refuse_constant)
    return value


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _same_value(left: object, right: object) -> bool:
    if isinstance(left, bool) or isinstance(right, bool):  # for Python, True == 1
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same_value(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same_value, left, right))
    return left == right


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(_read_json(text), dict)
    except (ValueError, RecursionError):
        return False


class _Words:
    """What `rouge-score` asks of a tokenizer."""

    def tokenize(self, text: str) -> list[str]:
        """Return the text's words."""
        return words(text)


@lru_cache(maxsize=1)
def _rouge_scorer() -> RougeScorer:
    from rouge_score.rouge_scorer import RougeScorer  # brings nltk along: only when asked for

    return RougeScorer(["rougeL"], use_stemmer=False, tokenizer=_Words())


@lru_cache(maxsize=1)
def _chrf_scorer() -> CHRF:
    from sacrebleu.metrics import CHRF

    return CHRF()
