"""What does the model answer? Greedy answers to many prompts at once, or one answer as a stream of text.

Measured on one core (SmolLM2-135M, bf16, 100 prompts of 36 tokens, 40 new tokens each), seconds for all:
batches of 1: 266, of 8: 42, of 16: 28, of 32: 22, of 64: 19, of 100: 17. Hence a budget that lets 100 such
rows in.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from torch import nn

from tenfold.evaluation.likelihood import Tokenizer
from tenfold.models.generate import (
    Answer,
    Sampling,
    continue_prompts,
    end_token_ids,
    evaluating,
    is_cut,
    longest_gap,
    stream_tokens,
)

BATCH_TOKENS = 8192
"""Tokens in the cache of one batch: about 190 MB of keys and values for SmolLM2-135M in bf16."""


def greedy_answers(
    network: nn.Module,
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[int]],
    *,
    stop_ids: Collection[int],
    max_new_tokens: int,
    batch_tokens: int = BATCH_TOKENS,
) -> list[Answer]:
    """Return the greedy answer to each prompt, in order, without special tokens and outer white space.

    An answer ends at one of `stop_ids` (a renderer's, for its prompts), or where the network or the tokenizer
    says. Prompts of like length share a batch; a batch holds as many as `batch_tokens` allows, and always one.
    """
    end_ids = end_token_ids(network, tokenizer, stop_ids)
    answers = [Answer("", is_cut=False)] * len(prompts)
    with evaluating(network):
        for batch in batches_by_length(
            [len(prompt) for prompt in prompts], max_new_tokens, batch_tokens, longest_gap=longest_gap(network)
        ):
            rows = continue_prompts(
                network, [prompts[index] for index in batch], max_new_tokens=max_new_tokens, end_ids=end_ids
            )
            for index, row in zip(batch, rows, strict=True):
                answers[index] = Answer(
                    _decode(tokenizer, row).strip(),
                    is_cut=is_cut(network, prompts[index], row, max_new_tokens=max_new_tokens),
                )
    return answers


def batches_by_length(
    lengths: Sequence[int], max_new_tokens: int, batch_tokens: int, *, longest_gap: int | None = None
) -> list[list[int]]:
    """Return the prompts' indices, longest first, in batches of rows * (longest + new) <= `batch_tokens`.

    With `longest_gap`, no prompt of a batch is shorter than its longest one by more than that.

    Longest first, so that a batch too large for the memory shows at the start and not at the end.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    batches: list[list[int]] = []
    for index in order:
        longest = lengths[batches[-1][0]] if batches else 0
        fits = bool(batches) and (len(batches[-1]) + 1) * (longest + max_new_tokens) <= batch_tokens
        if fits and (longest_gap is None or longest - lengths[index] <= longest_gap):
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def stream(
    network: nn.Module,
    tokenizer: Tokenizer,
    prompt_ids: Sequence[int],
    *,
    stop_ids: Collection[int],
    max_new_tokens: int,
    sampling: Sampling | None = None,
) -> Iterator[str]:
    """Yield the answer piece by piece as it is made; the pieces together are the answer.

    Greedy without `sampling`; ends as `generate` does. A letter whose bytes are spread over several tokens comes
    once it is whole.
    """
    end_ids = end_token_ids(network, tokenizer, stop_ids)
    sampling = sampling or Sampling()
    tokens: list[int] = []
    told = ""
    with evaluating(network):
        for token in stream_tokens(
            network, prompt_ids, max_new_tokens=max_new_tokens, end_ids=end_ids, sampling=sampling
        ):
            tokens.append(token)
            text = _decode(tokenizer, tokens).lstrip()
            if len(text) > len(told) and not text.endswith(
                "\ufffd"
            ):  # the decoder's sign for bytes that are not yet a letter
                yield text[len(told) :]
                told = text
    rest = _decode(tokenizer, tokens).lstrip()[len(told) :]
    if rest:
        yield rest


def _decode(tokenizer: Tokenizer, tokens: Sequence[int]) -> str:
    # cleaning up would rewrite "don 't" and spaces before punctuation that the model did write
    return tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
