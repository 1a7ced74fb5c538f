"""Fused blocks: read off the loaded modules, right to the gradient, and left alone where a model differs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tenfold.data.batch import pack
from tenfold.models.attention import register_attention
from tenfold.models.compact import whole
from tenfold.models.fused_blocks import ASKED_ROUNDING, TOKEN_ROUNDING, blocks_fit, filled, read_blocks
from tenfold.models.language_model import LanguageModel, find_route
from tenfold.recipe.adapters import Bottleneck
from tenfold.recipe.tuners import Full, Lora, Partial, Peft, TunerSettings
from tenfold.tuning.acting import Acting, acting_in
from tenfold.tuning.tuner import make_tuner
from tests.models.test_language_model import batch
from tests.tiny_models import tiny_model

CPU = torch.device("cpu")
FUSED = ("llama", "qwen2", "qwen3")


def _opened(family: str, **overrides: object) -> LanguageModel:
    register_attention()
    causal = tiny_model(family, attention="tenfold", **overrides)
    return LanguageModel(causal, None, device=CPU, route=find_route(causal, CPU))  # type: ignore[arg-type]


def _tuned(family: str, settings: TunerSettings, **overrides: object) -> tuple[LanguageModel, dict[str, nn.Parameter]]:
    model = _opened(family, **overrides)
    tuner = make_tuner(settings)
    torch.manual_seed(0)
    model.wrap(tuner.attach(model.base), packs=tuner.packs, autocast=None)
    trainable = dict(tuner.trainable(model.network))
    with torch.no_grad():
        for parameter in trainable.values():  # B starts at zero, which would hide A's gradient
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model, trainable


def _loss_and_gradients(model: LanguageModel, parameters: dict[str, nn.Parameter], *, fuses: bool) -> list[Tensor]:
    model.route = replace(model.route, fuses=fuses)
    loss = model.loss_sum(batch())
    return [loss.detach(), *torch.autograd.grad(loss, list(parameters.values()))]


def _assert_fusing_changes_nothing(model: LanguageModel, parameters: dict[str, nn.Parameter]) -> None:
    assert model.route.fuses and read_blocks(model.base) is not None
    fused, plain = (_loss_and_gradients(model, parameters, fuses=fuses) for fuses in (True, False))
    for mine, theirs in zip(fused, plain, strict=True):
        torch.testing.assert_close(mine, theirs, atol=2e-4, rtol=1e-3)  # fp32 sums in another order, two blocks deep


@pytest.mark.parametrize("family", FUSED)
@pytest.mark.parametrize(
    "settings",
    [
        Lora(rank=4),
        Lora(rank=4, targets=("q_proj", "down_proj")),
        Lora(rank=4, init="pissa"),
        Lora(rank=4, rank_stabilized=True),
        Full(),
    ],
    ids=["lora", "some layers", "two adapters", "rank-stabilised", "full"],
)
def test_loss_and_gradients_are_the_models_own(family: str, settings: TunerSettings) -> None:
    _assert_fusing_changes_nothing(*_tuned(family, settings))


def test_biases_and_a_head_size_of_its_own_are_read() -> None:
    overrides = {"attention_bias": True, "mlp_bias": True, "head_dim": 6, "num_key_value_heads": 1}
    _assert_fusing_changes_nothing(*_tuned("llama", Lora(rank=2), **overrides))


def test_recomputing_activations_changes_nothing() -> None:
    model, parameters = _tuned("llama", Lora(rank=2))
    kept = _loss_and_gradients(model, parameters, fuses=True)
    model.recompute_activations()
    model.network.train()
    blocks = read_blocks(model.base)
    assert blocks is not None and blocks.recomputes
    for first, second in zip(kept, _loss_and_gradients(model, parameters, fuses=True), strict=True):
        assert torch.equal(first, second)


def test_in_bf16_the_blocks_are_found_right_too() -> None:
    register_attention()
    causal = tiny_model("llama", attention="tenfold").bfloat16()
    assert find_route(causal, CPU).fuses


def test_much_less_is_kept_for_the_backward_pass() -> None:
    model, _ = _tuned("llama", Lora(rank=2))
    kept = {}
    for fuses in (True, False):
        model.route = replace(model.route, fuses=fuses)
        storages: dict[int, int] = {}

        def note(tensor: Tensor, storages: dict[int, int] = storages) -> Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        rows = [(number, list(range(3 + number, 67 + number)), [False] * 63 + [True]) for number in range(2)]
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss = model.loss_sum(pack(rows))
        own = {parameter.untyped_storage().data_ptr() for parameter in model.network.parameters()}
        kept[fuses] = sum(size for place, size in storages.items() if place not in own)
        del loss
    assert kept[True] < 0.6 * kept[False]


@pytest.mark.parametrize("family", ["gemma", "gemma2", "gemma3_text", "gpt2", "phi", "mistral"])
def test_other_shapes_are_left_to_the_model(family: str) -> None:
    assert not _opened(family).route.fuses


@pytest.mark.parametrize(
    "change",
    [
        lambda causal: setattr(causal.base_model.layers[1].mlp, "act_fn", nn.GELU()),
        lambda causal: causal.base_model.layers[1].register_forward_hook(lambda module, given, answer: 1.1 * answer),
        lambda causal: setattr(causal.base_model.layers[0].self_attn, "scaling", "wide"),
        lambda causal: setattr(causal.base_model.layers[0], "more", nn.Linear(2, 2)),
        lambda causal: setattr(causal.config, "attention_dropout", 0.1),
    ],
    ids=["another gate", "a hook", "an unknown scaling", "a further module", "dropout"],
)
def test_a_block_that_computes_something_else_is_left_to_the_model(change: object) -> None:
    model = _opened("llama")
    assert blocks_fit(model.base, whole(batch()))
    change(model.base)  # type: ignore[operator]
    assert not blocks_fit(model.base, whole(batch()))


@pytest.mark.parametrize(
    "settings",
    [
        Lora(rank=2, dropout=0.3),
        Lora(rank=2, decomposed=True),
        Peft(method="ia3"),
        Partial(modules=("layers.1.mlp",)),
    ],
    ids=["dropout", "dora", "ia3", "partial in bf16"],
)
def test_a_tuner_that_does_more_than_a_projection_is_left_to_the_model(settings: TunerSettings) -> None:
    register_attention()
    causal = tiny_model("llama", attention="tenfold").bfloat16()
    model = LanguageModel(causal, None, device=CPU, route=find_route(causal, CPU))  # type: ignore[arg-type]
    assert model.route.fuses
    tuner = make_tuner(settings)
    network = tuner.attach(model.base).train()
    model.wrap(network, packs=tuner.packs, autocast=None)
    assert read_blocks(model.base) is None
    assert torch.isfinite(model.loss_sum(batch()))


def test_while_no_adapter_acts_a_model_computes_in_bf16_as_it_did_without_any() -> None:
    register_attention()
    causal = tiny_model("llama", attention="tenfold").bfloat16()
    model = LanguageModel(causal, None, device=CPU, route=find_route(causal, CPU))  # type: ignore[arg-type]
    before = model.loss_sum(batch())
    tuner = make_tuner(Bottleneck())
    model.wrap(tuner.attach(model.base), packs=tuner.packs, autocast=None)
    assert read_blocks(model.base) is None, "an adapter acts"
    with acting_in(model.network, Acting(None)):
        assert torch.equal(model.loss_sum(batch()), before)
    assert read_blocks(model.base) is None, "it acts again"


def test_fillers_round_up_and_answer_nothing() -> None:
    assert filled(torch.tensor([5, 6, 7]), 4).tolist() == [5, 6, 7, 0]
    assert filled(torch.tensor([5, 6, 7, 8]), 4).tolist() == [5, 6, 7, 8]
    model = _opened("llama")
    blocks = read_blocks(model.base)
    assert blocks is not None
    compact = whole(batch())
    places, x = blocks.begin(compact)
    assert len(x) == len(places.cos) == TOKEN_ROUNDING
    assert len(blocks(compact)) == len(compact.supervised) < ASKED_ROUNDING
