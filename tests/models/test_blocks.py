"""A model's blocks: found in every family, taken out into a smaller model, and listened to."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from tenfold.data.batch import IGNORED, pack
from tenfold.errors import ModelError
from tenfold.models.attention import register_attention
from tenfold.models.blocks import evenly_spaced, find_blocks, take_blocks
from tenfold.models.language_model import LanguageModel, find_route
from tenfold.models.outputs import outputs
from tenfold.models.trunk import Route
from tests.tiny_models import FAMILIES, VOCABULARY, tiny_model

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("count", "of", "expected"),
    [(1, 5, (0,)), (2, 30, (0, 29)), (4, 4, (0, 1, 2, 3)), (3, 6, (0, 3, 5)), (4, 30, (0, 10, 19, 29))],
)
def test_layers_are_spread_evenly_with_first_and_last(count: int, of: int, expected: tuple[int, ...]) -> None:
    assert evenly_spaced(count, of) == expected


@pytest.mark.parametrize("count", range(2, 31))
def test_every_number_of_layers_is_of_different_ones(count: int) -> None:
    found = evenly_spaced(count, 30)
    assert len(set(found)) == count and (found[0], found[-1]) == (0, 29)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_of_some_blocks_computes_what_those_blocks_compute(family: str) -> None:
    model = tiny_model(family, num_hidden_layers=3, **LAYER_TYPES.get(family, {}))
    smaller = take_blocks(model, (0, 2))
    assert smaller.config.num_hidden_layers == 2
    ids = torch.randint(3, VOCABULARY, (1, 9), generator=torch.Generator().manual_seed(0))
    found = smaller(input_ids=ids).logits
    _, blocks = find_blocks(model)
    blocks[1].forward = lambda hidden_states, *_, **__: hidden_states  # passed over: what goes in comes out
    torch.testing.assert_close(found, model(input_ids=ids).logits, rtol=1e-5, atol=1e-5)


LAYER_TYPES: dict[str, dict[str, object]] = {
    "gemma2": {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
}


def test_a_model_whose_blocks_cannot_be_told_is_refused() -> None:
    model = tiny_model("llama")
    model.config.num_hidden_layers = 7
    with pytest.raises(ModelError, match="cannot tell which of its lists are its 7 blocks: none"):
        find_blocks(model)


def listen(states: list[torch.Tensor], module: object, inputs: object, output: torch.Tensor) -> None:
    states.append(output)


ROWS = [
    (0, [5, 6, 7, 8, 9, 10], [False, False, True, True, False, True]),
    (1, [5, 6, 11, 12], [False, False, True, True]),
    (2, [5, 6, 7], [False, False, False]),
]


@pytest.mark.parametrize("route", ["found", "whole", "padded"])
@pytest.mark.parametrize("is_recomputed", [False, True])
def test_states_after_a_block_are_those_of_each_row_alone(route: str, is_recomputed: bool) -> None:
    register_attention()
    causal = tiny_model("llama", attention="tenfold", num_hidden_layers=3)
    routes = {"found": find_route(causal, CPU), "whole": Route(packs=True, splits_head=True), "padded": Route(False)}
    model = LanguageModel(causal, None, device=CPU, route=routes[route])
    if is_recomputed:
        model.recompute_activations()
        model.train()
    batch = pack(ROWS)
    found = outputs(model, batch, blocks=(2, 0))
    plain = tiny_model("llama", num_hidden_layers=3)
    expected: list[list[torch.Tensor]] = [[], []]
    for ids, targets in zip(batch.input_ids.split(batch.lengths), batch.targets.split(batch.lengths), strict=True):
        states: list[torch.Tensor] = []
        _, blocks = find_blocks(plain)
        handles = [blocks[place].register_forward_hook(partial(listen, states)) for place in (0, 2)]
        plain(input_ids=ids[None])
        for handle in handles:
            handle.remove()
        for place, state in enumerate(reversed(states)):
            expected[place].append(state[0][targets != IGNORED])
    for mine, theirs in zip(found.blocks, expected, strict=True):
        # another attention kernel: a few units in the last place
        torch.testing.assert_close(mine, torch.cat(theirs), rtol=1e-4, atol=1e-5)
    found.blocks[1].sum().backward()
    gradient = causal.get_input_embeddings().weight.grad
    assert gradient is not None and gradient.abs().sum() > 0, "a loss on inner states trains what is below them"
