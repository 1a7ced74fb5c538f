"""LoRA and its relatives: the fused layer, PEFT's names on disk, other families, PiSSA, OLoRA, LoRA+, tied heads."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import peft
import pytest
import torch
from peft.tuners import lora
from torch import nn

from tenfold.errors import RecipeError
from tenfold.models.load import load_network
from tenfold.recipe.tuners import Lora
from tenfold.tuning.fused_lora import FusedLinear
from tenfold.tuning.tuner import make_tuner
from tests.tiny_sources import save_ctc
from tests.tuning.steps import IDS, build, difference, logits, loss, train

RENAMED = ".*is_gradient_checkpointing"


def layers(network: nn.Module) -> list[lora.LoraLayer]:
    return [module for module in network.modules() if isinstance(module, lora.LoraLayer)]


def plain_peft(settings: dict[str, object], *, dtype: torch.dtype = torch.float32) -> peft.PeftModel:
    """Return what PEFT itself makes of the options, its own layers and all."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=RENAMED)
        return peft.get_peft_model(
            build(dtype=dtype), peft.LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", **settings)
        )


@pytest.mark.parametrize("family", ["gpt2", "gemma", "phi", "qwen3", "mistral"])
def test_all_linear_layers_of_a_family_train_and_merge(family: str, tmp_path: Path) -> None:
    tuner = make_tuner(Lora(rank=2))
    base = build(family)
    before = logits(base)
    network = tuner.attach(base)
    assert torch.equal(logits(network), before)
    # every weight matrix of the two blocks, and neither embeddings nor the output layer
    expected = sum(value.dim() == 2 for value in build(family).base_model.state_dict().values())
    embeddings = 2 if family == "gpt2" else 1
    assert len(layers(network)) == expected - embeddings

    losses = train(tuner, network, steps=4, rate=5e-3)
    assert losses[-1] < losses[0]
    trained = logits(network)
    tuner.save(network, tmp_path)
    assert difference(logits(tuner.load(build(family), tmp_path)), trained) <= 1e-6
    assert difference(logits(tuner.merge(network)), trained) <= 1e-5


def test_a_model_that_embeds_no_tokens_merges(tmp_path: Path) -> None:
    network = load_network(save_ctc(tmp_path), dtype=torch.float32, device=torch.device("cpu"))
    wave = torch.randn(1, 4000, generator=torch.Generator().manual_seed(0))
    tuner = make_tuner(Lora(rank=2))
    tuned = tuner.attach(network)
    for parameter in tuner.trainable(tuned).values():
        nn.init.normal_(parameter, std=0.2)
    with torch.no_grad():
        expected = tuned.eval()(wave).logits
        merged = tuner.merge(tuned)
        # one fp32 matrix in place of two products
        torch.testing.assert_close(merged(wave).logits, expected, rtol=1e-4, atol=1e-4)


def test_gpt2_keeps_pefts_own_layer_for_its_transposed_weights() -> None:
    network = make_tuner(Lora(rank=2)).attach(build("gpt2"))
    assert {type(layer) for layer in layers(network)} == {lora.Linear}
    assert all(layer.fan_in_fan_out for layer in layers(network))


def test_transposed_and_plain_layers_of_one_model_each_go_their_way(tmp_path: Path) -> None:
    tuner = make_tuner(Lora(rank=2, targets=("c_attn", "lm_head")))
    network = tuner.attach(build("gpt2", tie_word_embeddings=False))
    kinds = {(type(layer), layer.fan_in_fan_out) for layer in layers(network)}
    assert kinds == {(lora.Linear, True), (FusedLinear, False)}
    train(tuner, network, steps=3, rate=5e-3)
    trained = logits(network)
    assert difference(logits(tuner.merge(network)), trained) <= 1e-5


def test_fused_layer_agrees_with_peft_in_value_and_gradient() -> None:
    ours, theirs = make_tuner(Lora(rank=4, alpha=8.0)).attach(build()), plain_peft({"r": 4, "lora_alpha": 8})
    assert {type(layer) for layer in layers(ours)} == {FusedLinear}
    assert {type(layer) for layer in layers(theirs)} == {lora.Linear}
    state = updated(ours)
    assert list(state) == list(theirs.state_dict())
    theirs.load_state_dict(state)
    found, expected = gradients(ours), gradients(theirs)
    assert found.keys() == expected.keys() and len(found) == 28
    for name, gradient in found.items():
        # the same fp32 products, summed in another order
        assert (gradient - expected[name]).norm() <= 1e-5 * expected[name].norm(), name
    assert difference(logits(ours), logits(theirs)) <= 1e-5


def test_fused_layer_over_bf16_is_as_near_to_fp32_as_peft() -> None:
    ours = make_tuner(Lora(rank=4, alpha=8.0)).attach(build(dtype=torch.bfloat16))
    theirs = plain_peft({"r": 4, "lora_alpha": 8}, dtype=torch.bfloat16)
    truth = plain_peft({"r": 4, "lora_alpha": 8})
    state = updated(ours)
    for model in (theirs, truth):
        model.load_state_dict(state)
    exact, fused, cast = (
        torch.cat([gradient.flatten() for gradient in gradients(model).values()]) for model in (truth, ours, theirs)
    )
    # PEFT keeps x A^T in fp32, we in bf16 as the base's own products: at most half as much error again
    assert (fused - exact).norm() <= 1.5 * (cast - exact).norm()
    assert (fused - exact).norm() <= 0.1 * exact.norm()


def updated(network: nn.Module) -> dict[str, torch.Tensor]:
    """Give every B something to say and return the network's state."""
    generator = torch.Generator().manual_seed(5)
    for layer in layers(network):
        layer.lora_B["default"].weight.data.normal_(std=0.05, generator=generator)
    return network.state_dict()


def gradients(network: nn.Module) -> dict[str, torch.Tensor]:
    loss(network.train()).backward()
    return {name: value.grad for name, value in network.named_parameters() if value.grad is not None}


@pytest.mark.parametrize(
    "change",
    [
        lambda network: network.disable_adapter_layers(),
        lambda network: network.merge_adapter(),
        lambda network: [layer.lora_dropout.update({"default": nn.Dropout(0.5)}) for layer in layers(network)],
    ],
    ids=["disabled", "merged", "dropout"],
)
def test_fused_layer_leaves_the_rest_to_peft(
    change: Callable[[peft.PeftModel], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = make_tuner(Lora(rank=4)).attach(build()).train()
    updated(network)
    change(network)
    torch.manual_seed(1)
    found = network(input_ids=IDS).logits
    monkeypatch.setattr(FusedLinear, "forward", lora.Linear.forward)
    torch.manual_seed(1)
    assert torch.equal(found, network(input_ids=IDS).logits)


def test_fused_layer_runs_under_autocast() -> None:
    network = make_tuner(Lora(rank=4)).attach(build())
    updated(network)
    exact = logits(network)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = logits(network)
    # bf16 keeps 8 bits
    assert 0 < (rounded - exact).norm() <= 0.05 * exact.norm()


def test_plain_peft_opens_the_folder_with_its_own_layers(tmp_path: Path) -> None:
    tuner = make_tuner(Lora(rank=4))
    network = tuner.attach(build())
    train(tuner, network, steps=3, rate=5e-3)
    tuner.save(network, tmp_path)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=RENAMED)
        plain = peft.PeftModel.from_pretrained(build(), tmp_path)
    assert {type(layer) for layer in layers(plain)} == {lora.Linear}
    assert difference(logits(plain), logits(network)) <= 1e-5


def test_saved_config_is_plain_and_always_the_same(tmp_path: Path) -> None:
    for name in ("one", "two"):
        tuner = make_tuner(Lora(rank=4))
        tuner.save(tuner.attach(build()), tmp_path / name)
    text = (tmp_path / "one" / "adapter_config.json").read_text()
    assert text == (tmp_path / "two" / "adapter_config.json").read_text()
    config = json.loads(text)
    assert (config["r"], config["lora_alpha"], config["inference_mode"]) == (4, 8, True)
    assert config["target_modules"] == sorted(config["target_modules"])
    assert "tenfold" not in text.lower() and "Fused" not in text
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


def test_lora_plus_gives_every_b_its_own_rate() -> None:
    tuner = make_tuner(Lora(rank=4, plus_ratio=16.0, targets=("q_proj", "embed_tokens")))
    network = tuner.attach(build())
    slow, fast = tuner.parameter_groups(network, 1e-3)
    assert (slow["lr"], fast["lr"]) == (1e-3, 1.6e-2)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    assert all("_B." in names[id(parameter)] for parameter in fast["params"])
    assert all("_A." in names[id(parameter)] for parameter in slow["params"])
    assert len(fast["params"]) == len(slow["params"]) == 3  # two blocks and the embedding
    assert len(make_tuner(Lora()).parameter_groups(make_tuner(Lora()).attach(build()), 1e-3)) == 1


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_principal_start_learns_as_pefts_own(init: str) -> None:
    """PEFT keeps the residual in the base; the function and the gradients are the same, so the losses are."""
    tuner = make_tuner(Lora(rank=4, init=init))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=RENAMED)
        theirs = peft.get_peft_model(
            build(),
            peft.LoraConfig(
                r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=init
            ),
        )
    ours = tuner.attach(build())
    assert sum(value.numel() for value in tuner.trainable(ours).values()) == sum(
        value.numel() for value in theirs.parameters() if value.requires_grad
    )
    found = train(tuner, ours, steps=6, rate=1e-3)
    expected = train(make_tuner(Lora(rank=4)), theirs, steps=6, rate=1e-3)
    # Adam divides by the gradient's size, so fp32 rounding of single small gradients shows in the fifth digit
    assert found == pytest.approx(expected, rel=1e-4)


def test_pissa_starts_from_the_best_approximation_of_its_rank() -> None:
    base = build(hidden_size=256, num_hidden_layers=1)
    weight = base.model.layers[0].self_attn.q_proj.weight.detach().clone()
    network = make_tuner(Lora(rank=8, init="pissa", alpha=4.0)).attach(base)
    layer = layers(network)[0]
    u, s, vh = torch.linalg.svd(weight)
    best = (weight - (u[:, :8] * s[:8]) @ vh[:8]).norm()
    # a random matrix has no gap in its spectrum, the worst case for the iteration
    assert (weight - layer.get_delta_weight("default")).norm() <= 1.001 * best
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert a.norm(dim=1).tolist() == pytest.approx(b.norm(dim=0).tolist(), rel=1e-4)


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_principal_start_never_touches_the_base_and_saves_twice_the_rank(init: str, tmp_path: Path) -> None:
    base = build(dtype=torch.bfloat16)
    before = {name: value.clone() for name, value in base.state_dict().items()}
    answers = logits(base)
    tuner = make_tuner(Lora(rank=4, init=init))
    network = tuner.attach(base)
    # PEFT's own way rounds the residual to bf16 here, and the untrained model is another one
    assert torch.equal(logits(network), answers)
    train(tuner, network, steps=4, rate=5e-3)
    state = {name.replace(".base_layer.", "."): value for name, value in network.get_base_model().state_dict().items()}
    assert all(torch.equal(state[name], value) for name, value in before.items())
    tuner.save(network, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["init_lora_weights"]) == (8, 16, True)


def test_principal_factors_are_part_of_the_state_to_resume_from() -> None:
    tuner = make_tuner(Lora(rank=4, init="pissa"))
    network = tuner.attach(build())
    state = {name: value.clone() for name, value in tuner.state(network).items()}
    assert len(state) == 28
    for name, parameter in network.named_parameters():
        if name in state:
            parameter.data.zero_()
    tuner.restore(network, state)
    assert all(torch.equal(value, state[name]) for name, value in tuner.state(network).items())
    assert make_tuner(Lora()).state(network) == {}


@pytest.mark.parametrize("option", ["targets", "also_train"])
def test_a_tuned_head_parts_from_the_embedding_it_was_tied_to(option: str, tmp_path: Path) -> None:
    names = {"targets": ("q_proj", "lm_head")} if option == "targets" else {"also_train": ("lm_head",)}
    tuner = make_tuner(Lora(rank=4, **names))
    network = tuner.attach(build(tie_word_embeddings=True))
    train(tuner, network, steps=4, rate=5e-3)
    trained = logits(network)
    embedding = build(tie_word_embeddings=True).get_input_embeddings().weight
    merged = tuner.merge(network)
    assert torch.equal(merged.get_input_embeddings().weight, embedding)
    assert difference(logits(merged), trained) <= 1e-5
    merged.save_pretrained(tmp_path)
    assert difference(logits(type(merged).from_pretrained(tmp_path)), trained) <= 1e-5


def test_principal_start_refuses_an_embedding() -> None:
    with pytest.raises(RecipeError, match=r"pissa cannot start from .*embed_tokens"):
        make_tuner(Lora(rank=4, init="pissa", targets=("embed_tokens",))).attach(build())
