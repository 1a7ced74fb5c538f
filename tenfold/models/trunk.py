"""How a batch goes through a network of whatever family, and the state that it gives each token.

Rows packed end to end make training fast, but are not taken to be right: `find_packing` tries them on the loaded
model itself, and where the answers differ rows are padded, so an architecture that does not fit costs speed, never
correctness.

Shape letters: T tokens in a batch, N rows, L longest row, H hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import ModelOutput

from tenfold.data.batch import IGNORED, Batch, moved, pack
from tenfold.models.heads import HeadSettings, TaskHead, head_key
from tenfold.models.masked_head import MaskedHead, open_masked_head
from tenfold.models.sharding import Shards

Result = TypeVar("Result")

MISFITS = (TypeError, ValueError, NotImplementedError, AttributeError, RuntimeError, IndexError)
"""What a model may raise that a short cut does not fit."""


@dataclass(frozen=True)
class Route:
    """Which short cuts hold for this model; with all off it is the model's own forward on padded rows."""

    packs: bool
    splits_head: bool = False
    compacts: bool = False
    """Needs `packs`."""
    fuses: bool = False
    """Needs `packs` and `splits_head`."""
    first_position: int = 0
    """The number of a row's first position: RoBERTa's models begin to count after their padding token."""


class Reader(Protocol):
    """What answers a task from a trunk's states in place of a head, without a gradient."""

    def __call__(self, model: Trunk, batch: Batch) -> Tensor:
        """Return logits as a head would, [N, C] in fp32 on the CPU."""
        ...


class Trunk:
    """A network with its tokenizer and the heads that were put on it: the one door through which batches pass.

    `base` is the transformers model itself; `network` is what is called: the same, or a tuner's wrapper around it.
    """

    def __init__(
        self, base: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, device: torch.device, route: Route
    ) -> None:
        self.base = base
        self.network: nn.Module = base
        self.tokenizer = tokenizer
        self.device = device
        self.route = route
        self._own_route = route
        self.autocast: torch.dtype | None = None
        self.heads = nn.ModuleDict()
        self._owners: dict[str, str] = {}
        self.readers: dict[str, Reader] = {}
        """What answers for a task in place of a head, by task."""
        self.shards: Shards | None = None
        """The base's weights, where each of several ranks holds a part of them."""

    def gathered(self, work: Callable[[], Result]) -> Result:
        """Return what `work` gives, which computes with the model; where weights are sharded every rank calls it."""
        return work() if self.shards is None else self.shards.gathered(work)

    def wrap(self, network: nn.Module, *, packs: bool, autocast: torch.dtype | None) -> None:
        """Call `network` (a tuner's wrapper around `base`) from now on; `packs=False` if it prepends tokens."""
        self.network = network
        self.autocast = autocast
        self.route = self.gathered(lambda: self.route_through(network)) if packs else Route(packs=False)

    def route_through(self, network: nn.Module) -> Route:
        """Return which short cuts still hold in `network`, a wrapper around the base."""
        return self._own_route

    def rebase(self, base: nn.Module) -> None:
        """Go on with `base`: the model with what was trained merged into it, plain again."""
        assert isinstance(base, PreTrainedModel), "what is merged is a plain model"
        self.base = base
        self.network = base
        self.route = self._own_route

    def train(self) -> None:
        """Let network and heads behave as in training: with dropout."""
        self.network.train()
        self.heads.train()

    def eval(self) -> None:
        """Let network and heads behave as in use."""
        self.network.eval()
        self.heads.eval()

    def recompute_activations(self) -> None:
        """Recompute each block's activations in the backward pass from here on, instead of keeping them."""
        self.base.activation_checkpointing_enable()

    def autocasting(self) -> AbstractContextManager[object]:
        """Return the context in which this model computes: autocast when fp32 weights train in bf16."""
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(self.device.type, self.autocast)

    def add_head(self, task: str, settings: HeadSettings) -> None:
        """Put a new head for `task` on the last hidden states, its weights drawn from torch's generator.

        One that is shared with another task adds nothing: that task's head answers, whenever it is put on.
        """
        if settings.shared_with is not None:
            self._owners[task] = settings.shared_with
            return
        if settings.tells == "masked_words":
            self.heads[head_key(task)] = open_masked_head(self.base).to(self.device)
            return
        self.heads[head_key(task)] = TaskHead(settings, self.base.config.get_text_config().hidden_size).to(self.device)

    def train_opened_heads(self, is_trained: bool) -> None:
        """Let the heads that came with the checkpoint train like the network from here on, or not."""
        for head in self._opened_heads():
            head.requires_grad_(is_trained)

    def opened_head_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of heads that came with the checkpoint, those that train."""
        heads = self._opened_heads()
        return [parameter for head in heads for parameter in head.parameters() if parameter.requires_grad]

    def _opened_heads(self) -> list[MaskedHead]:
        return [head for head in self.heads.values() if isinstance(head, MaskedHead) and head.is_opened]

    def masked_head(self, task: str) -> MaskedHead:
        """Return the head that tells masked words of `task`."""
        head = self._head(task)
        assert isinstance(head, MaskedHead), "a task of masked words"
        return head

    def _head(self, task: str) -> nn.Module:
        return self.heads[head_key(self._owners.get(task, task))]

    @property
    def embeddings(self) -> Tensor:
        """The embeddings of the tokens that the network reads, [V, E]."""
        weight = self.base.get_input_embeddings().weight
        assert isinstance(weight, Tensor), "tokens are embedded by a matrix"
        return weight

    def at_targets(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the last hidden states at the positions that have a target, [S, H], and the targets, [S]."""
        told = (batch.targets != IGNORED).nonzero()[:, 0]
        targets = moved(batch.targets[told], self.device)
        return self.hidden(batch)[moved(told, self.device)], targets

    def judged(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return each masked token's negative log likelihood, and whether it is the likeliest one, [S] without grad."""
        states, targets = self.at_targets(batch)
        with self.autocasting():
            return self.masked_head(batch.task).judged(states, targets, self.embeddings)

    def head_parameters(self) -> dict[str, nn.Parameter]:
        """Return the parameters of all heads that train, by name."""
        named = self.heads.named_parameters(prefix="heads")
        return {name: parameter for name, parameter in named if parameter.requires_grad}

    def logits(self, batch: Batch) -> Tensor:
        """Return what the head of the batch's task answers, in fp32: [N, C], or [T, C] for a head on every token."""
        if batch.task in self.readers:
            return self.readers[batch.task](self, batch)
        answers: Tensor = self._head(batch.task)(self.hidden(batch), batch)
        return answers

    def hidden(self, batch: Batch) -> Tensor:
        """Return each token's last hidden state, [T, H], in batch order."""
        batch = batch.to(self.device)
        with self.autocasting():
            if not self.route.packs:
                return self._padded_states(batch)[-1]
            states: Tensor = self._packed_output(batch).last_hidden_state
            return states[0]

    def layers(self, batch: Batch) -> tuple[Tensor, ...]:
        """Return each token's states before the first block and after every block, [T, H] each, in batch order.

        They are counted as transformers' `hidden_states` are: the last ones are those that `hidden` returns.
        """
        batch = batch.to(self.device)
        with self.autocasting():
            if not self.route.packs:
                return self._padded_states(batch)
            states: tuple[Tensor, ...] = self._packed_output(batch, output_hidden_states=True).hidden_states
            return tuple(each[0] for each in states)

    @property
    def num_layers(self) -> int:
        """How many states `layers` returns: one more than there are blocks."""
        count: int = self.base.config.get_text_config().num_hidden_layers
        return count + 1

    @property
    def call_options(self) -> dict[str, object]:
        """What else the base's forward is given."""
        return {}

    def _packed_output(self, batch: Batch, **options: bool) -> ModelOutput:
        longest = max(batch.lengths)
        output: ModelOutput = self.base.base_model(
            input_ids=batch.input_ids[None],
            position_ids=batch.positions[None] + self.route.first_position,
            cu_seq_lens_q=batch.cu_seqlens,
            cu_seq_lens_k=batch.cu_seqlens,
            max_length_q=longest,
            max_length_k=longest,
            **self.call_options,
            **options,
        )
        return output

    def _padded_states(self, batch: Batch) -> tuple[Tensor, ...]:
        input_ids_NL, mask_NL = padded(batch)
        output = self.network(
            input_ids=input_ids_NL, attention_mask=mask_NL, output_hidden_states=True, **self.call_options
        )
        # prompt methods answer for their virtual tokens too, which come first
        return tuple(states[:, -input_ids_NL.shape[1] :][mask_NL.bool()] for states in output.hidden_states)


def padded(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the batch's rows one a line, padded on the right with zeros, and which places are tokens, both [N, L]."""
    rows = batch.input_ids.split(batch.lengths)
    input_ids_NL = nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
    mask_NL = nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    return input_ids_NL, mask_NL


@torch.no_grad()
def find_packing(base: PreTrainedModel, device: torch.device) -> Route:
    """Return whether rows may be packed for this encoder, and where its positions begin, found by trying.

    Packing must not leak: changing the first of two packed rows must leave the second one's states as they were, and
    those must agree with the row run alone, by the model's own forward.
    """
    first, other, second = probe_rows(base.config.get_text_config().vocab_size)
    alone = base(input_ids=torch.tensor([second], device=device)).last_hidden_state[0]
    padding = getattr(base.config, "pad_token_id", None)
    for first_position in dict.fromkeys((0, 0 if padding is None else padding + 1)):
        route = Route(packs=True, first_position=first_position)
        model = Trunk(base, None, device=device, route=route)
        try:
            leaked, kept = (model.hidden(probe(begin, second))[len(begin) :] for begin in (first, other))
        except MISFITS:
            continue
        if close(leaked, kept, 1e-5) and close(leaked, alone, tolerance(alone.dtype)):
            return route
    return Route(packs=False)


def probe_rows(vocabulary: int) -> tuple[list[int], list[int], list[int]]:
    """Return three rows of random tokens, the first two of one length, to try a model on; always the same ones."""
    generator = torch.Generator().manual_seed(0)
    first, other, second = (
        torch.randint(0, vocabulary, (length,), generator=generator).tolist() for length in (7, 7, 9)
    )
    return first, other, second


def probe(first: Sequence[int], second: Sequence[int]) -> Batch:
    """Return two rows packed, the second one in the loss."""
    return pack([(0, list(first), [False] * len(first)), (1, list(second), [True] * len(second))])


def tolerance(dtype: torch.dtype) -> float:
    """Return how far two right ways of computing may differ, as a share of the answers' size."""
    # bf16 keeps 8 bits: thirty layers of differently ordered sums drift by a percent or two, a wrong head by far more
    return 1e-4 if dtype == torch.float32 else 0.05


def close(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    """Return whether `found` differs from `expected` by at most `tolerance` of its size."""
    difference = (found.float() - expected.float()).norm()
    return bool(difference <= tolerance * expected.float().norm())
