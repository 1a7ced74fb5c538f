"""How probable does the model find given text? Response losses, bits per byte, and the choice among options.

Bits per byte do not depend on the tokenizer, so models with different vocabularies can be compared by them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from tenfold.data.batch import Batch, pack
from tenfold.models.generate import evaluating
from tenfold.models.trunk import Route

PACK_TOKENS = 2048
"""Tokens in one packed batch: fills the machine, and is small for a model that makes all logits at once."""


SAVED = 256
"""Tokens that a context's options must save by standing together, where a batch computes a beginning once; for fewer,
many contexts in one batch are faster (four answers to a short question: four times)."""


class Tokenizer(Protocol):
    """What evaluation asks of a tokenizer (transformers' own has it)."""

    @property
    def bos_token_id(self) -> int | None:
        """The token that starts a text, if there is one."""
        ...

    @property
    def eos_token_id(self) -> int | None:
        """The token that ends a text, if there is one."""
        ...

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Return the text's tokens."""
        ...

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool) -> str:
        """Return the tokens' text."""
        ...


class ScoresTokens(Protocol):
    """What scoring given text asks of a language model."""

    @property
    def network(self) -> nn.Module:
        """What is called; its dropout must be off while it is judged."""
        ...

    @property
    def tokenizer(self) -> Tokenizer:
        """What turns text into its tokens."""
        ...

    @property
    def route(self) -> Route:
        """Which short cuts it takes."""
        ...

    def token_losses(self, batch: Batch) -> Tensor:
        """Return the negative log likelihood of each supervised token, `[S]`, in batch order."""
        ...


class TokenRow(Protocol):
    """One row of tokens with what is in the loss."""

    @property
    def input_ids(self) -> list[int]:
        """The row's tokens."""
        ...

    @property
    def supervised(self) -> list[bool]:
        """Whether each token is in the loss."""
        ...


@dataclass(frozen=True)
class Losses:
    """What the supervised tokens of one row cost: `nats` in sum, over so many tokens and UTF-8 bytes."""

    nats: float
    num_tokens: int
    num_bytes: int

    @property
    def per_token(self) -> float:
        """Nats per token; 0 where there is none."""
        return self.nats / self.num_tokens if self.num_tokens else 0.0

    @property
    def bits_per_byte(self) -> float:
        """Bits per UTF-8 byte; 0 where there is none."""
        return self.nats / math.log(2) / self.num_bytes if self.num_bytes else 0.0


def response_losses(model: ScoresTokens, rows: Sequence[TokenRow], *, pack_tokens: int = PACK_TOKENS) -> list[Losses]:
    """Return the losses of each row's supervised tokens.

    The end-of-turn token is among the tokens and its nats are in the sum; the bytes are those of the text
    alone.
    """
    nats = _sums(model, [(row.input_ids, row.supervised) for row in rows], pack_tokens)
    losses = []
    for row, total in zip(rows, nats, strict=True):
        # a row's first token has nothing before it and is never in the loss, so its bytes are not counted
        # either
        kept = [token for token, is_kept in zip(row.input_ids[1:], row.supervised[1:], strict=True) if is_kept]
        text = model.tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        losses.append(Losses(total, len(kept), len(text.encode())))
    return losses


def text_losses(
    model: ScoresTokens, texts: Sequence[str], *, max_length: int = 1024, pack_tokens: int = PACK_TOKENS
) -> list[Losses]:
    """Return the losses of whole texts, each token given those before it in pieces of `max_length` tokens.

    Every piece starts after the start token (the end token where there is none), so each token of a text
    counts.
    """
    start = _start(model.tokenizer)
    pieces: list[tuple[list[int], list[bool]]] = []
    owners: list[int] = []
    lengths = []
    for owner, text in enumerate(texts):
        tokens = model.tokenizer.encode(text, add_special_tokens=False)
        lengths.append(len(tokens))
        room = max_length - len(start)
        for place in range(0, len(tokens), room):
            piece = tokens[place : place + room]
            pieces.append((start + piece, [False] * len(start) + [True] * len(piece)))
            owners.append(owner)
    totals = [0.0] * len(texts)
    for owner, nats in zip(owners, _sums(model, pieces, pack_tokens), strict=True):
        totals[owner] += nats
    return [
        Losses(total, length, len(text.encode())) for total, length, text in zip(totals, lengths, texts, strict=True)
    ]


@dataclass(frozen=True)
class Choice:
    """A context, and the texts of which one follows it."""

    context: str
    options: tuple[str, ...]


def choose_options(model: ScoresTokens, choices: Sequence[Choice], *, pack_tokens: int = PACK_TOKENS) -> list[int]:
    """Return for each choice the option with the highest log likelihood per byte; ties go to the higher sum.

    Source: Brown et al. 2020 (arXiv 2005.14165), section 2.4, which divides by tokens; bytes do not depend on
    the tokenizer (as "byte-length normalised" in EleutherAI's lm-evaluation-harness).
    """
    rows = [[_continuation(model.tokenizer, choice.context, option) for option in choice.options] for choice in choices]
    shared = [_shared(of_choice) if model.route.compacts else 0 for of_choice in rows]
    is_alone = [tokens * (len(of_choice) - 1) >= SAVED for tokens, of_choice in zip(shared, rows, strict=True)]
    together = [row for of_choice, alone in zip(rows, is_alone, strict=True) if not alone for row in of_choice]
    found = iter(_sums(model, together, pack_tokens))
    nats = [
        _sums(model, of_choice, pack_tokens, shared=tokens) if alone else list(itertools.islice(found, len(of_choice)))
        for of_choice, tokens, alone in zip(rows, shared, is_alone, strict=True)
    ]
    return [_likeliest(choice, losses) for choice, losses in zip(choices, nats, strict=True)]


def _shared(rows: Sequence[tuple[list[int], list[bool]]]) -> int:
    """Return how many tokens all rows begin with alike before any token in the loss."""
    columns = zip(*(tokens for tokens, _ in rows), strict=False)
    alike = sum(1 for _ in itertools.takewhile(lambda column: len(set(column)) == 1, columns))
    return min([alike, *(supervised.index(True) for _, supervised in rows if any(supervised))])


def _likeliest(choice: Choice, nats: Sequence[float]) -> int:
    scores = [(-loss / len(option.encode()), -loss) for option, loss in zip(choice.options, nats, strict=True)]
    return max(range(len(scores)), key=lambda place: scores[place])


def _continuation(tokenizer: Tokenizer, context: str, option: str) -> tuple[list[int], list[bool]]:
    """Return the tokens of context + option, with the option's in the loss.

    Both are tokenised together, as a text would be; where a token spans the border it belongs to the option.
    """
    start = _start(tokenizer)
    alone = tokenizer.encode(context, add_special_tokens=False)
    together = tokenizer.encode(context + option, add_special_tokens=False)
    shared = next(
        (place for place, (left, right) in enumerate(zip(alone, together, strict=False)) if left != right),
        min(len(alone), len(together)),
    )
    return start + together, [False] * (len(start) + shared) + [True] * (len(together) - shared)


def _start(tokenizer: Tokenizer) -> list[int]:
    token = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    return [] if token is None else [token]


def _sums(
    model: ScoresTokens, rows: Sequence[tuple[list[int], list[bool]]], pack_tokens: int, *, shared: int = 0
) -> list[float]:
    """Return each row's sum of negative log likelihoods over its supervised tokens, in nats.

    `shared` tokens, with which all rows begin, count once for each batch.
    """
    counts = [sum(supervised[1:]) for _, supervised in rows]
    lengths = [len(tokens) - shared if count else 0 for (tokens, _), count in zip(rows, counts, strict=True)]
    sums = [0.0] * len(rows)
    with evaluating(model.network):
        for group in _groups(lengths, max(pack_tokens - shared, pack_tokens // 4)):
            losses = iter(model.token_losses(pack([(index, *rows[index]) for index in group])).tolist())
            for index in group:
                sums[index] = math.fsum(itertools.islice(losses, counts[index]))
    return sums


def _groups(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Return indices of rows longer than 0, like lengths together, in groups of at most `budget` tokens."""
    # like lengths together, since a model that cannot pack pads each batch to its longest row
    order = sorted((index for index, length in enumerate(lengths) if length), key=lambda index: -lengths[index])
    groups: list[list[int]] = []
    used = budget
    for index in order:
        if used + lengths[index] > budget:
            groups.append([])
            used = 0
        groups[-1].append(index)
        used += lengths[index]
    return groups
