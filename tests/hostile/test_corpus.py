"""Every committed hostile input, those that once broke something among them, ends in a result or in an error told."""

from __future__ import annotations

import pytest

from fuzz.promise import CORPUS, attempt
from fuzz.targets import TARGETS


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TARGETS)
def test_inputs_of_the_corpus_keep_the_promise(name: str) -> None:
    target = TARGETS[name]
    assert target.seeds
    attempt(target, b"")  # what is made once does not count as the first input's
    breaches = {seed.name: attempt(target, seed.read_bytes()) for seed in target.seeds}
    assert {name: breach for name, breach in breaches.items() if breach} == {}


def test_no_input_lies_where_no_target_reads_it() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)


def test_the_promise_can_be_broken() -> None:
    from fuzz.promise import Target

    def divide(content: bytes) -> float:
        return 1 / len(content)

    breach = attempt(Target("rows_txt", "divides", divide), b"")
    assert breach is not None
    assert breach.key.startswith("ZeroDivisionError")
    assert attempt(Target("rows_txt", "divides", divide), b"a") is None
