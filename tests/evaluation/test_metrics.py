from __future__ import annotations

import math
import random
from collections import Counter
from itertools import combinations

import pytest

from tenfold.evaluation.metrics import METRICS, choose_metrics, words


def score(name: str, prediction: str, reference: str) -> float:
    [value] = METRICS[name].score([prediction], [reference])
    return value


SHARES = tuple(name for name, metric in METRICS.items() if metric.higher_is_better)
"""Error rates have no upper bound: they have tests of their own."""


@pytest.mark.parametrize("name", SHARES)
def test_every_metric_gives_one_for_the_reference_itself_and_stays_between_zero_and_one(name: str) -> None:
    texts = [
        '{"a": [1, true, "ü"]}',
        "a cat sat on the mat",
        "",
        "   ",
        "日本語の文",
        "नमस्ते दुनिया",
        "?!",
        "[" * 9000,
    ]
    for prediction in texts:
        for reference in texts:
            assert 0 <= score(name, prediction, reference) <= 1
    assert score(name, texts[0], texts[0]) == pytest.approx(1)


def test_predictions_and_references_must_pair_up() -> None:
    with pytest.raises(ValueError, match="zip"):
        METRICS["exact_match"].score(["a"], ["a", "b"])


def test_exact_match_ignores_white_space_only() -> None:
    assert score("exact_match", " turn  on\nthe light ", "turn on the light") == 1
    assert score("exact_match", "Turn on the light", "turn on the light") == 0
    assert score("exact_match", "turn on the light.", "turn on the light") == 0


@pytest.mark.parametrize(
    ("prediction", "reference", "equal"),
    [
        ('{"b": 2, "a": 1}', '{"a":1,"b":2}', True),
        ('{"a": 1.0}', '{"a": 1}', True),
        (' {"a": 1}\n', '{"a": 1}', True),
        ('{"a": true}', '{"a": 1}', False),
        ('{"a": [1, 2]}', '{"a": [2, 1]}', False),
        ('{"a": [1, 2]}', '{"a": [1]}', False),
        ('{"a": 1, "b": null}', '{"a": 1}', False),
        ('{"a": "1"}', '{"a": 1}', False),
        ('Sure: {"a": 1}', '{"a": 1}', False),
        ('{"a": 1} {"a": 1}', '{"a": 1}', False),
        ("{'a': 1}", '{"a": 1}', False),
        ("NaN", "NaN", False),
        ("not json", "not json", False),
        ("[" * 100_000, '{"a": 1}', False),
    ],
)
def test_json_match_compares_values(prediction: str, reference: str, equal: bool) -> None:
    assert score("json_match", prediction, reference) == equal


def test_token_f1_is_the_harmonic_mean_of_precision_and_recall() -> None:
    prediction, reference = "the red cat the", "The cat, sat!"
    common = 2  # "the" once, "cat" once
    precision, recall = common / 4, common / 3
    assert score("token_f1", prediction, reference) == pytest.approx(2 * precision * recall / (precision + recall))
    assert score("token_f1", "STRASSE «ja»", "straße ja") == 1
    assert score("token_f1", "我喜欢猫", "我喜欢狗") == pytest.approx(3 / 4)
    assert score("token_f1", "!", "?") == 1  # nothing but punctuation on both sides: equal, as in SQuAD
    assert score("token_f1", "", "a") == 0


def test_rouge_l_is_the_f_measure_of_the_longest_common_subsequence() -> None:
    generator = random.Random(0)
    for letters in ("abcde", "абвгд", "कखगघङ"):
        for _ in range(20):
            left = [generator.choice(letters) for _ in range(generator.randint(1, 6))]
            right = [generator.choice(letters) for _ in range(generator.randint(1, 6))]
            longest = max(
                length
                for length in range(min(len(left), len(right)) + 1)
                if set(combinations(left, length)) & set(combinations(right, length))
            )
            expected = 2 * longest / (len(left) + len(right))
            assert score("rouge_l", " ".join(left), " ".join(right)) == pytest.approx(expected)


def test_words_are_kept_whole_in_every_script() -> None:
    assert words("Cats' naïve Übung, здравствуй мир! नमस्ते 42") == [
        "cats",
        "naïve",
        "übung",
        "здравствуй",
        "мир",
        "नमस्ते",
        "42",
    ]
    assert words("我有 2 只猫abc") == ["我", "有", "2", "只", "猫", "abc"]


def test_chrf_is_f2_of_character_ngrams() -> None:
    def plain(prediction: str, reference: str) -> float:
        """Popović 2015, written out: mean precision and recall over the orders that both texts have."""
        precisions, recalls = [], []
        for order in range(1, 7):
            grams = [
                Counter(text[i : i + order] for i in range(len(text) - order + 1))
                for text in (prediction.replace(" ", ""), reference.replace(" ", ""))
            ]
            sizes = [sum(gram.values()) for gram in grams]
            if not all(sizes):
                continue
            hits = sum((grams[0] & grams[1]).values())
            precisions.append(hits / sizes[0])
            recalls.append(hits / sizes[1])
        precision, recall = sum(precisions) / len(precisions), sum(recalls) / len(recalls)
        return 5 * precision * recall / (4 * precision + recall) if precision + recall else 0.0

    for pair in [("a cat sat here", "the cat sat there"), ("кот", "кошка"), ("ab", "xy")]:
        assert score("chrf", *pair) == pytest.approx(plain(*pair), abs=1e-9)


def test_metrics_fit_the_references() -> None:
    assert choose_metrics(['{"a": 1}', "{}"])[0] == "json_match"
    assert choose_metrics(['{"a": 1}', "[1]"])[0] == "exact_match"  # an array is no object
    assert choose_metrics(["yes", "no", "it is a long story that does not end"])[0] == "exact_match"
    assert choose_metrics(["five words are short enough"])[0] == "exact_match"
    assert choose_metrics(["six words are long enough now"])[0] == "rouge_l"
    assert choose_metrics(["这是一个很长的句子"])[0] == "rouge_l"  # nine words without a space
    assert all(name in METRICS for text in ("{}", "a", "a " * 9) for name in choose_metrics([text]))
    assert all(math.isfinite(metric.score_item("a", "a")) for metric in METRICS.values())
