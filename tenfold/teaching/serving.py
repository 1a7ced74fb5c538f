"""How fast do two models answer? Timed in turn on the same prompts, in one go, so that the machine's moods hit both."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tenfold.evaluation.scorecard import Measure, Score, Scorecard
from tenfold.models.generate import continue_prompts, evaluating
from tenfold.models.language_model import LanguageModel
from tenfold.models.trunk import Trunk
from tenfold.tasks.labels import LabelKind

FILE = "timings.json"
"""Where an artifact keeps what was timed, laid out as its scorecard is."""

SERVING = "serving"
"""The name under which timings are kept, beside the tasks' scores."""

BATCHES = 3


def read_timings(folder: Path) -> Scorecard:
    """Return what the run in `folder` timed, stage by stage; empty where it timed nothing."""
    path = folder / FILE
    if not path.is_file():
        return Scorecard()
    return Scorecard.from_json(json.loads(path.read_text(encoding="utf-8")), where=str(path))


class Served(Protocol):
    """A model with questions in its own tokens, as it is timed."""

    @property
    def model(self) -> Trunk:
        """The model."""
        ...

    @property
    def unit(self) -> str:
        """What its answers are counted in."""
        ...

    @property
    def num_questions(self) -> int:
        """How many it is asked."""
        ...

    @property
    def units_per_answer(self) -> int:
        """How many units an answer has."""
        ...

    def seconds(self, questions: slice) -> float:
        """Return how long it takes to answer these questions together."""
        ...


@dataclass(frozen=True)
class Writer:
    """A model that writes `units_per_answer` tokens after each prompt, whatever it says: a taciturn one is not fast."""

    model: LanguageModel
    prompts: Sequence[Sequence[int]]
    unit: str = "tokens"
    units_per_answer: int = 24
    most: int = 8

    @property
    def num_questions(self) -> int:
        """How many prompts are used, `most` at most."""
        return min(self.most, len(self.prompts))

    def seconds(self, questions: slice) -> float:
        """Return how long it takes to answer these prompts together."""
        started = time.perf_counter()
        with self.model.autocasting(), evaluating(self.model.network):
            prompts = self.prompts[questions]
            continue_prompts(self.model.network, prompts, max_new_tokens=self.units_per_answer, end_ids=[])
        return time.perf_counter() - started


@dataclass(frozen=True)
class Labeller:
    """A model with a head that answers rows, from their tokens to the head's logits."""

    model: Trunk
    kind: LabelKind
    rows: Sequence[Sequence[int]]
    unit: str = "rows"
    units_per_answer: int = 1
    most: int = 64

    @property
    def num_questions(self) -> int:
        """How many rows are used, `most` at most."""
        return min(self.most, len(self.rows))

    def seconds(self, questions: slice) -> float:
        """Return how long it takes to answer these rows together, in batches of `BATCH_TOKENS` tokens."""
        started = time.perf_counter()
        self.kind.logits(self.model, self.rows[questions])
        return time.perf_counter() - started


def serving_scores(served: Mapping[str, Served]) -> list[Score]:
    """Return for each model, by name, what an answer takes and how large the model is.

    `answer_seconds` is for one question at a time, `tokens_per_second` (or `rows_per_second`) for all of them together,
    `BATCHES` times.
    """
    count = min(each.num_questions for each in served.values())
    alone: dict[str, list[float]] = {name: [] for name in served}
    together: dict[str, list[float]] = {name: [] for name in served}
    for each in served.values():
        each.seconds(slice(1))  # the first pass pays for what later ones find ready
    for number in range(count):
        for name in _in_turn(served, number):
            alone[name].append(served[name].seconds(slice(number, number + 1)))
    for number in range(BATCHES):
        for name in _in_turn(served, number):
            units = count * served[name].units_per_answer
            together[name].append(units / served[name].seconds(slice(count)))
    return [Score(name, SERVING, _measures(each, alone[name], together[name])) for name, each in served.items()]


def _measures(served: Served, alone: list[float], together: list[float]) -> dict[str, Measure]:
    parameters = [*served.model.network.parameters(), *served.model.heads.parameters()]
    size = float(sum(parameter.numel() for parameter in parameters))
    held = float(sum(parameter.numel() * parameter.element_size() for parameter in parameters))
    measures = (
        Measure("answer_seconds", "seconds", False, tuple(alone)),
        Measure(f"{served.unit}_per_second", f"{served.unit} per second", True, tuple(together)),
        Measure("parameters", "parameters", False, (size,)),
        Measure("weight_bytes", "bytes in memory", False, (held,)),
    )
    return {measure.name: measure for measure in measures}


def _in_turn(served: Mapping[str, Served], number: int) -> list[str]:
    names = list(served)
    return names if number % 2 == 0 else names[::-1]
