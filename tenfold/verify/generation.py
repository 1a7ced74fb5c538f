"""Are answers the same with and without a cache, and in a batch as alone?

An answer that was made with a cache is put behind its prompt and read in one forward pass without any. If each of its
tokens is the likeliest one there, given those before it, then greedy writing without a cache gives the very answer.
Where two tokens are as likely but for rounding, either will do. In a batch the logits are compared as well: a model
that is sure of its answer may give the same one for a prompt it has half seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tenfold.data.batch import Entry
from tenfold.data.prepare import Item
from tenfold.data.windows import ALL_AT_ONCE
from tenfold.evaluation.generate import batches_by_length
from tenfold.models.encoder_decoder import EncoderDecoder
from tenfold.models.generate import continue_prompts, end_token_ids, longest_gap
from tenfold.models.language_model import LanguageModel
from tenfold.models.speech_encoder import SpeechEncoder
from tenfold.tasks.generation import Generation
from tenfold.verify.finding import Compared, Difference, Skipped
from tenfold.verify.measure import MARGIN, REASON, rounded_once_more
from tenfold.verify.specimen import Specimen

PROMPTS = 4
"""Prompts that are answered."""

NEW_TOKENS = 12
"""Tokens of an answer: a cache with a fault goes wrong at the second one, and soon after where positions drift."""

TEXT_PROMPT = 8
"""Tokens of a prompt where rows are raw text, which asks nothing."""


def cached(specimen: Specimen) -> Compared | Skipped:
    """Compare answers made one by one with a cache with what is likeliest without one."""
    model, kind = specimen.answering, specimen.task.kind
    if not isinstance(model, LanguageModel) or not isinstance(kind, Generation):
        return Skipped("only what a decoder writes is read again without a cache")
    prompts, ends = _prompts(specimen), _ends(model, kind)
    answers = [_written(model, [prompt], ends)[0][0] for prompt in prompts]
    shortfalls = (_shortfall(model, *pair, ends) for pair in zip(prompts, answers, strict=True))
    difference = Difference("logits", max(shortfalls), _logit_tolerance(model, prompts[0]))
    return Compared(f"{len(prompts)} answers with a cache, without", (difference,), REASON)


def batched(specimen: Specimen) -> Compared | Skipped:
    """Compare answers made in a batch, prompts padded before, with those made one by one."""
    model, kind = specimen.answering, specimen.task.kind
    if isinstance(model, EncoderDecoder | SpeechEncoder):
        return _texts(specimen, model)
    if not isinstance(model, LanguageModel) or not isinstance(kind, Generation):
        return Skipped("rows are answered with labels: nothing is written")
    prompts, ends = _prompts(specimen), _ends(model, kind)
    prompts.append(prompts[0][len(prompts[0]) // 2 :])  # so that some padding there is, whatever the rows
    lengths = [len(prompt) for prompt in prompts]
    apart = first_apart = 0.0
    for batch in batches_by_length(lengths, NEW_TOKENS, ALL_AT_ONCE, longest_gap=longest_gap(model.network)):
        together, logits = _written(model, [prompts[number] for number in batch], ends)
        for number, answer, first in zip(batch, together, logits, strict=True):
            (alone,), (first_alone,) = _written(model, [prompts[number]], ends)
            apart = max(apart, _apart(model, prompts[number], answer, alone, ends))
            if first is not None and first_alone is not None:
                first_apart = max(first_apart, float((first - first_alone).abs().max()))
    allowed = _logit_tolerance(model, prompts[0])
    differences = (Difference("logits", apart, allowed), Difference("first token's logits", first_apart, allowed))
    return Compared(f"{len(prompts)} answers in a batch, alone", differences, REASON)


def _written(
    model: LanguageModel, prompts: Sequence[Sequence[int]], ends: Sequence[int]
) -> tuple[list[list[int]], list[Tensor | None]]:
    """Return the answers to `prompts` in one batch, and the logits [V] that each one's first token was chosen by.

    There are none where prompts near the model's limit are continued apart from the others.
    """
    seen: list[Tensor] = []

    def keep(network: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        if not seen:
            seen.append(output.logits[:, -1].float())

    hook = model.base.register_forward_hook(keep)
    try:
        answers = continue_prompts(model.network, prompts, max_new_tokens=NEW_TOKENS, end_ids=ends)
    finally:
        hook.remove()
    return answers, list(seen[0]) if len(seen[0]) == len(prompts) else [None] * len(prompts)


def _ends(model: LanguageModel, kind: Generation) -> tuple[int, ...]:
    return end_token_ids(model.network, model.tokenizer, kind.renderer.stop_ids)


def _apart(
    model: LanguageModel, prompt: Sequence[int], answer: Sequence[int], other: Sequence[int], ends: Sequence[int]
) -> float:
    """Return how far apart the logits are of the first two tokens in which the answers differ; 0 where none do."""
    if answer == other:
        return 0.0
    common = next(place for place in range(NEW_TOKENS) if answer[place : place + 1] != other[place : place + 1])
    logits = _logits(model, [*prompt, *answer[:common]])[-1]
    one, two = (logits[each[common]] if len(each) > common else logits[list(ends)].max() for each in (answer, other))
    return abs(float(one - two))


def _prompts(specimen: Specimen) -> list[list[int]]:
    items = _items(specimen)
    return [item.prompt_ids or item.input_ids[:TEXT_PROMPT] for item in items]


def _items(specimen: Specimen) -> list[Item]:
    task = specimen.task
    return task.kind.items(task.train, max_rows=PROMPTS, seed=specimen.runtime.seed)


def _shortfall(model: LanguageModel, prompt: Sequence[int], answer: Sequence[int], ends: Sequence[int]) -> float:
    """Return by how much a token of `answer` misses the likeliest one's logit; an end counts where it is short."""
    logits = _logits(model, [*prompt, *answer])[len(prompt) - 1 :]
    likeliest = logits.max(-1).values
    chosen = [logits[place, token] for place, token in enumerate(answer)]
    if len(answer) < NEW_TOKENS:
        chosen.append(logits[len(answer), list(ends)].max())
    return max(float(likeliest[place] - logit) for place, logit in enumerate(chosen))


@torch.no_grad()
def _logits(model: LanguageModel, tokens: Sequence[int]) -> Tensor:
    """Return the logits [T, V] of one row, read in one pass without a cache."""
    ids = torch.tensor([list(tokens)], device=model.device)
    with model.autocasting():
        output = model.network(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    logits: Tensor = output.logits[0, -len(tokens) :].float()
    return logits


def _logit_tolerance(model: LanguageModel, tokens: Sequence[int]) -> float:
    """Return how far rounding in fp32 may take a logit."""
    expected = _logits(model, tokens)
    with rounded_once_more(model, torch.float32):
        rounded = _logits(model, tokens)
    return MARGIN[torch.float32] * float((rounded - expected).abs().max())


def _texts(specimen: Specimen, model: EncoderDecoder | SpeechEncoder) -> Compared | Skipped:
    """Compare what is written for sources in one batch with what is written for each alone."""
    entries = [
        Entry(item.row, item.prompt_ids, [False] * len(item.prompt_ids), (), item.source, item.source_length)
        for item in _items(specimen)
    ]
    renderer = specimen.task.kind.renderer
    together = model.answers(renderer.collate(entries), max_new_tokens=NEW_TOKENS)
    alone = [model.answers(renderer.collate([entry]), max_new_tokens=NEW_TOKENS)[0] for entry in entries]
    others = sum(one.text != other.text for one, other in zip(together, alone, strict=True))
    what = f"{len(entries)} answers in a batch, alone"
    return Compared(what, (Difference("texts that differ", others),), "none, in fp32 no two tokens tie")
