"""How a causal language model writes: transformers' own `generate`, with every setting said outright.

Shape letters: B prompts in a batch, P longest prompt, N new tokens.
"""

from __future__ import annotations

import queue
import threading
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from tenfold.models.context import room_for


@dataclass(frozen=True)
class Answer:
    """What a model said; `is_cut` where it had more to say than it was given tokens for."""

    text: str
    is_cut: bool


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn; greedy when `temperature` is 0."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put every module in eval mode inside the block; each goes back to the mode it had."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def end_token_ids(network: nn.Module, tokenizer: Any, stop_ids: Collection[int]) -> tuple[int, ...]:
    """Return the ids that end a response: of the generation config and the tokenizer, and `stop_ids`."""
    configured = _causal(network).generation_config.eos_token_id
    ids = {configured} if isinstance(configured, int) else set(configured or ())
    ids |= set(stop_ids)
    if tokenizer.eos_token_id is not None:
        ids.add(tokenizer.eos_token_id)
    return tuple(sorted(ids))


def longest_gap(network: nn.Module) -> int | None:
    """Return how many tokens of padding a prompt may have before it, or `None` if any number is right.

    PEFT's prompt methods put their virtual tokens before the padding and drop the position ids that would make up
    for it, so their prompts may share a batch with prompts of equal length only.
    """
    return 0 if "prompt_encoder" in dict(network.named_children()) else None


def pad_left(prompts: Sequence[Sequence[int]], *, pad_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return `input_ids` and `attention_mask`, both `[B, P]`, with the padding before the prompts."""
    longest = max(map(len, prompts))
    gaps = [longest - len(prompt) for prompt in prompts]
    input_ids = [[pad_id] * gap + list(prompt) for gap, prompt in zip(gaps, prompts, strict=True)]
    mask = [[0] * gap + [1] * (longest - gap) for gap in gaps]
    return torch.tensor(input_ids, device=device), torch.tensor(mask, device=device)


def continue_prompts(
    network: nn.Module,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    end_ids: Sequence[int],
    sampling: Sampling | None = None,
) -> list[list[int]]:
    """Return the new tokens of each prompt, up to and without the one that ends the response.

    Greedily, or drawn by `sampling`, whose seed decides everything and disturbs no other random state.

    A prompt near the model's limit shortens its own answer and nobody else's: prompts are continued together
    where they leave the same room.

    Raises:
        DataError: a prompt leaves no room for an answer.
    """
    causal = _causal(network)
    rooms = [room_for(causal, prompt_tokens=len(prompt), new_tokens=max_new_tokens) for prompt in prompts]
    answers: list[list[int]] = [[] for _ in prompts]
    sampling = sampling or Sampling()
    for room in sorted(set(rooms)):  # the longest prompts first
        group = [index for index, its_room in enumerate(rooms) if its_room == room]
        # a seeded draw must not disturb the random state of whoever samples in the middle of training
        with torch.random.fork_rng(enabled=sampling.temperature > 0):
            if sampling.temperature > 0:
                torch.manual_seed(sampling.seed)
            rows = _continue_together(network, [prompts[index] for index in group], room, end_ids, sampling)
        for index, row in zip(group, rows, strict=True):
            answers[index] = row
    return answers


# Not inference_mode: a tensor made there may never take part in a backward pass, and models keep some from
# one call to the next (rotary tables grown on demand, caches of merged weights), so training after an
# evaluation fails.
@torch.no_grad()
def _continue_together(
    network: nn.Module,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    end_ids: Sequence[int],
    sampling: Sampling,
) -> list[list[int]]:
    """Return the new tokens of each prompt, all of which leave room for `max_new_tokens`."""
    pad_id = end_ids[0] if end_ids else 0
    input_ids, mask = pad_left(prompts, pad_id=pad_id, device=_device(network))
    config = generation_settings(max_new_tokens, end_ids, pad_id, sampling)
    with _quiet():
        tokens = _causal(network).generate(input_ids=input_ids, attention_mask=mask, generation_config=config)
    return [until_end(row, end_ids) for row in tokens[:, input_ids.shape[1] :].tolist()]


def is_cut(network: nn.Module, prompt: Sequence[int], answer: Sequence[int], *, max_new_tokens: int) -> bool:
    """Return whether `answer`, as `continue_prompts` gave it, stopped for want of room and not at an end."""
    return len(answer) == room_for(_causal(network), prompt_tokens=len(prompt), new_tokens=max_new_tokens)


def until_end(tokens: Sequence[int], end_ids: Sequence[int]) -> list[int]:
    """Return the tokens before the first one that ends the response."""
    ends = [place for place, token in enumerate(tokens) if token in end_ids]
    return list(tokens[: ends[0]] if ends else tokens)


def stream_tokens(
    network: nn.Module,
    prompt: Sequence[int],
    *,
    max_new_tokens: int,
    end_ids: Sequence[int],
    sampling: Sampling,
) -> Iterator[int]:
    """Yield the new tokens one by one as they are made, without the one that ends the response.

    `generate` runs in a thread of its own, since it hands out tokens by calling; leaving the iterator stops
    it. Prompt methods of PEFT change what `generate` is fed, so a loop of our own would be wrong for them.
    """
    max_new_tokens = room_for(_causal(network), prompt_tokens=len(prompt), new_tokens=max_new_tokens)
    made = _Made()
    pad_id = end_ids[0] if end_ids else 0
    input_ids, mask = pad_left([prompt], pad_id=pad_id, device=_device(network))

    def work() -> None:
        try:
            # a seeded draw must not disturb the random state of whoever chats in the middle of other work
            with torch.random.fork_rng(), torch.no_grad(), _quiet():
                torch.manual_seed(sampling.seed)
                _causal(network).generate(
                    input_ids=input_ids,
                    attention_mask=mask,
                    generation_config=generation_settings(max_new_tokens, end_ids, pad_id, sampling),
                    streamer=made,
                    stopping_criteria=StoppingCriteriaList([made.stop]),
                )
        except BaseException as error:
            made.tokens.put(error)  # raised again where the tokens are read
        else:
            made.tokens.put(None)

    thread = threading.Thread(target=work, name="generate", daemon=True)
    try:
        thread.start()
        while (token := made.tokens.get()) is not None:
            if isinstance(token, BaseException):
                raise token
            if token not in end_ids:
                yield token
    finally:
        made.stop.wanted.set()
        thread.join()


class _Stop(StoppingCriteria):  # type: ignore[misc]  # transformers' types are not followed
    """Ends `generate` after the token at hand once `wanted` is set."""

    def __init__(self) -> None:
        self.wanted = threading.Event()

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: object) -> Tensor:
        """Return for each row whether it is done, [B]."""
        return torch.full((len(input_ids),), self.wanted.is_set(), device=input_ids.device)


class _Made:
    """What `generate` asks of a streamer: it is given the prompt first, then each new token."""

    def __init__(self) -> None:
        self.tokens: queue.SimpleQueue[int | BaseException | None] = queue.SimpleQueue()  # no Ctrl-C leaves it locked
        self.stop = _Stop()
        self._prompt_is_due = True

    def put(self, value: Tensor) -> None:
        """Take the prompt (once, kept back) or new tokens."""
        if self._prompt_is_due:
            self._prompt_is_due = False
            return
        for token in value.flatten().tolist():
            self.tokens.put(token)

    def end(self) -> None:
        """Nothing: the thread says itself when it is done."""


def generation_settings(
    max_new_tokens: int, end_ids: Sequence[int], pad_id: int, sampling: Sampling
) -> GenerationConfig:
    """Return settings that leave nothing to the model's own: what is unset there is filled from its file.

    Many models ship a temperature or a repetition penalty; measured with those, a fine-tuned model that must
    repeat its prompt's words would be punished for being right.
    """
    samples = sampling.temperature > 0
    return GenerationConfig(
        max_new_tokens=max_new_tokens,
        min_new_tokens=0,
        do_sample=samples,
        temperature=sampling.temperature if samples else 1.0,
        top_p=sampling.top_p if samples else 1.0,
        top_k=0 if samples else 50,  # 50 is transformers' neutral value when greedy, 0 when sampling
        typical_p=1.0,
        num_beams=1,
        num_return_sequences=1,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        use_cache=True,
        return_dict_in_generate=False,
        pad_token_id=pad_id,
        eos_token_id=list(end_ids) or None,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence PEFT's note that it drops position ids; `longest_gap` sees to it that none are needed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Position ids are not supported")
        yield


def _causal(network: nn.Module) -> Any:
    """Return the network as what it is beside a module: transformers' model, or PEFT's wrapper of it."""
    return network


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device
