"""QLoRA: the guard against bitsandbytes' repacking, and merging into the very weights that were trained on."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn

from tenfold.errors import ModelError, RecipeError
from tenfold.models.quantized import Nf4, dequantize, is_4bit, keep_trainable
from tenfold.recipe.adapters import Bottleneck
from tenfold.recipe.tuners import Lora, Qlora
from tenfold.tuning.tuner import make_tuner
from tests.tuning.steps import build, difference, logits, loss, train

needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"
)


def quantized(*, dtype: torch.dtype = torch.float32, double: bool = True) -> nn.Module:
    """Return the tiny model with every linear layer but the output layer in NF4, as transformers loads it."""
    from bitsandbytes.nn import Linear4bit, Params4bit

    # blocks of 64 weights and rows of 32: the sizes at which bitsandbytes repacks
    model = build(dtype=dtype, hidden_size=64, intermediate_size=128, head_dim=16)
    for name, layer in list(model.named_modules()):
        if isinstance(layer, nn.Linear) and name != "lm_head":
            new = Linear4bit(layer.in_features, layer.out_features, bias=False, compute_dtype=dtype, quant_type="nf4")
            new.weight = Params4bit(
                layer.weight.data, requires_grad=False, quant_type="nf4", compress_statistics=double, module=new
            )
            model.set_submodule(name, new.to("cpu"))
    model.is_loaded_in_4bit = True
    return model.eval()


@needs_bitsandbytes
def test_gradients_reach_the_first_layer_after_an_evaluation() -> None:
    network = quantized()
    assert keep_trainable(network) == 14
    plain = quantized()
    keep_trainable(plain)
    reference = copy.deepcopy(dequantize(plain.model.layers[0].mlp.up_proj).weight)

    tuner = make_tuner(Qlora(rank=4))
    logits(network)  # the first pass without gradients, in evaluation mode, is what repacks
    network = tuner.attach(network)
    logits(network)
    loss(network.train()).backward()
    first = {
        name: value.grad for name, value in network.named_parameters() if ".layers.0." in name and "lora_B" in name
    }
    assert len(first) == 7
    assert all(value is not None and value.abs().max() > 0 for value in first.values())
    layer = network.get_base_model().model.layers[0].mlp.up_proj.get_base_layer()
    assert torch.equal(dequantize(layer).weight, reference)


@needs_bitsandbytes
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "settings",
    [Qlora(rank=4), Qlora(rank=4, init="pissa"), Qlora(rank=4, decomposed=True), Qlora(targets=("q_proj",))],
    ids=["lora", "pissa", "dora", "one-target"],
)
def test_merged_is_what_was_trained(settings: Qlora, dtype: torch.dtype, tmp_path: Path) -> None:
    tuner = make_tuner(settings)
    assert (tuner.name, tuner.quantization) == ("qlora", Nf4(doubled=True))
    base = quantized(dtype=dtype)
    keep_trainable(base)
    before = logits(base)
    network = tuner.attach(base)
    # fp32 sums in another order; bf16 keeps 8 bits, each merged weight is rounded to them
    limit = (1e-5 if dtype == torch.float32 else 0.05) * before.abs().max().item()
    assert difference(logits(network), before) <= limit
    losses = train(tuner, network, steps=4, rate=5e-3)
    assert losses[-1] < losses[0]
    trained = logits(network)
    assert difference(trained, before) > 0.1

    tuner.save(network, tmp_path / "adapter")
    second = quantized(dtype=dtype)
    keep_trainable(second)
    assert difference(logits(tuner.load(second, tmp_path / "adapter")), trained) <= limit

    merged = tuner.merge(network)
    assert not any(is_4bit(module) for module in merged.modules())
    assert {value.dtype for value in merged.parameters()} == {dtype}
    assert difference(logits(merged), trained) <= limit
    merged.save_pretrained(tmp_path / "merged")
    plain = type(merged).from_pretrained(tmp_path / "merged", dtype=dtype, attn_implementation="sdpa")
    assert difference(logits(plain), trained) <= limit


@needs_bitsandbytes
def test_merging_keeps_the_quantised_weights_not_the_originals() -> None:
    base = quantized()
    keep_trainable(base)
    expected = dequantize(base.model.layers[1].mlp.down_proj).weight
    tuner = make_tuner(Qlora(rank=4))
    merged = tuner.merge(tuner.attach(base))  # untrained: the update is zero
    weight = merged.model.layers[1].mlp.down_proj.weight
    assert torch.equal(weight, expected)
    original = build(hidden_size=64, intermediate_size=128, head_dim=16).model.layers[1].mlp.down_proj.weight
    assert difference(weight, original) > 0.01


@needs_bitsandbytes
@pytest.mark.parametrize("style", ["houlsby", "parallel"])
def test_bottleneck_adapters_train_on_a_4_bit_base(style: str, tmp_path: Path) -> None:
    tuner = make_tuner(Bottleneck(style=style, reduction=4, quantized_base=True))  # type: ignore[arg-type]
    assert tuner.quantization == Nf4(doubled=True)
    base = quantized(dtype=torch.bfloat16)
    keep_trainable(base)
    before = logits(base)
    network = tuner.attach(base)
    assert torch.equal(logits(network), before)
    assert {value.dtype for value in tuner.trainable(network).values()} == {torch.float32}
    losses = train(tuner, network, steps=4, rate=5e-3)
    assert losses[-1] < losses[0]
    tuner.save(network, tmp_path)
    second = quantized(dtype=torch.bfloat16)
    keep_trainable(second)
    assert torch.equal(logits(tuner.load(second, tmp_path)), logits(network))


@needs_bitsandbytes
def test_a_base_that_was_repacked_is_refused() -> None:
    network = quantized()
    layer = network.model.layers[0].mlp.up_proj
    if not layer.support_avx512bf16_for_cpu:
        pytest.skip("this processor has no avx512_bf16: bitsandbytes repacks nothing here")
    logits(network)
    with pytest.raises(ModelError, match="repacked for inference"):
        make_tuner(Qlora(rank=4)).attach(network)


def test_without_bitsandbytes_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "bitsandbytes" else find(name, *rest)
    )
    with pytest.raises(RecipeError, match=r'pip install "tenfold\[qlora\]"'):
        make_tuner(Qlora())
    assert make_tuner(Lora()).quantization is None
