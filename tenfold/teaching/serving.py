"""How fast do two models answer? Timed in turn on the same prompts, in one go, so that the machine's moods hit both."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tenfold.evaluation.scorecard import Measure, Score, Scorecard
from tenfold.models.generate import continue_prompts, evaluating
from tenfold.models.language_model import LanguageModel

FILE = "timings.json"
"""Where an artifact keeps what was timed, laid out as its scorecard is."""

SERVING = "serving"
"""The name under which timings are kept, beside the tasks' scores."""

PROMPTS = 8
NEW_TOKENS = 24
BATCHES = 3


def read_timings(folder: Path) -> Scorecard:
    """Return what the run in `folder` timed, stage by stage; empty where it timed nothing."""
    path = folder / FILE
    if not path.is_file():
        return Scorecard()
    return Scorecard.from_json(json.loads(path.read_text(encoding="utf-8")), where=str(path))


@dataclass(frozen=True)
class Served:
    """A model, and the prompts it is given in its own tokens."""

    model: LanguageModel
    prompts: Sequence[Sequence[int]]

    def seconds(self, prompts: slice) -> float:
        """Return how long it takes to answer these prompts together."""
        started = time.perf_counter()
        with self.model.autocasting(), evaluating(self.model.network):
            continue_prompts(self.model.network, self.prompts[prompts], max_new_tokens=NEW_TOKENS, end_ids=[])
        return time.perf_counter() - started


def serving_scores(served: Mapping[str, Served]) -> list[Score]:
    """Return for each model, by name, what an answer takes and how large the model is.

    Every answer has `NEW_TOKENS` tokens, whatever the model says, so that a taciturn model is not called fast:
    `answer_seconds` for one prompt at a time, `tokens_per_second` for all `PROMPTS` together, `BATCHES` times.
    """
    count = min(PROMPTS, *(len(each.prompts) for each in served.values()))
    alone: dict[str, list[float]] = {name: [] for name in served}
    together: dict[str, list[float]] = {name: [] for name in served}
    for each in served.values():
        each.seconds(slice(1))  # the first pass pays for what later ones find ready
    for number in range(count):
        for name in _in_turn(served, number):
            alone[name].append(served[name].seconds(slice(number, number + 1)))
    for number in range(BATCHES):
        for name in _in_turn(served, number):
            together[name].append(count * NEW_TOKENS / served[name].seconds(slice(count)))
    return [Score(name, SERVING, _measures(each.model, alone[name], together[name])) for name, each in served.items()]


def _measures(model: LanguageModel, alone: list[float], together: list[float]) -> dict[str, Measure]:
    parameters = list(model.network.parameters())
    size = float(sum(parameter.numel() for parameter in parameters))
    held = float(sum(parameter.numel() * parameter.element_size() for parameter in parameters))
    measures = (
        Measure("answer_seconds", "seconds", False, tuple(alone)),
        Measure("tokens_per_second", "tokens per second", True, tuple(together)),
        Measure("parameters", "parameters", False, (size,)),
        Measure("weight_bytes", "bytes in memory", False, (held,)),
    )
    return {measure.name: measure for measure in measures}


def _in_turn(served: Mapping[str, Served], number: int) -> list[str]:
    names = list(served)
    return names if number % 2 == 0 else names[::-1]
