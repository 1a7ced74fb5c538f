"""How fast do two models answer? Timed in turn on the same prompts, in one go, so that the machine's moods hit both."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from tenfold.evaluation.scorecard import Measure, Score
from tenfold.models.generate import continue_prompts, evaluating
from tenfold.models.language_model import LanguageModel

SERVING = "serving"
"""The name under which timings are kept, beside the tasks' scores."""

PROMPTS = 8
NEW_TOKENS = 24
BATCHES = 3


def serving_scores(models: Mapping[str, LanguageModel], prompts: Sequence[Sequence[int]]) -> list[Score]:
    """Return for each model, by name, what an answer takes and how large the model is.

    Every answer has `NEW_TOKENS` tokens, whatever the model says, so that a taciturn model is not called fast:
    `answer_seconds` for one prompt at a time, `tokens_per_second` for all `PROMPTS` together, `BATCHES` times.
    """
    prompts = prompts[:PROMPTS]
    alone: dict[str, list[float]] = {name: [] for name in models}
    together: dict[str, list[float]] = {name: [] for name in models}
    for model in models.values():
        _seconds(model, prompts[:1])  # the first pass pays for what later ones find ready
    for number, prompt in enumerate(prompts):
        for name in _in_turn(models, number):
            alone[name].append(_seconds(models[name], [prompt]))
    for number in range(BATCHES):
        for name in _in_turn(models, number):
            together[name].append(len(prompts) * NEW_TOKENS / _seconds(models[name], prompts))
    return [Score(name, SERVING, _measures(model, alone[name], together[name])) for name, model in models.items()]


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


def _in_turn(models: Mapping[str, LanguageModel], number: int) -> list[str]:
    names = list(models)
    return names if number % 2 == 0 else names[::-1]


def _seconds(model: LanguageModel, prompts: Sequence[Sequence[int]]) -> float:
    started = time.perf_counter()
    with model.autocasting(), evaluating(model.network):
        continue_prompts(model.network, prompts, max_new_tokens=NEW_TOKENS, end_ids=[])
    return time.perf_counter() - started
