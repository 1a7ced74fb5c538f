"""Bottleneck adapters and fusion as tuners: their papers' formulas, what trains, and the routes they run on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tenfold.errors import RecipeError
from tenfold.models.generate import continue_prompts
from tenfold.models.language_model import Route
from tenfold.recipe import parse_recipe
from tenfold.recipe.adapters import AdapterFusion, Bottleneck
from tenfold.tuning.adapter_bank import AdapterBank, bank_of
from tenfold.tuning.bottleneck import BottleneckTuner, FusionTuner
from tenfold.tuning.composition import Fuse, Stack
from tests.engine.stages import FixedWindows, make_model, make_stage, run_stage
from tests.tuning.adapters import PFEIFFER, STYLES, bank_with
from tests.tuning.steps import IDS, build, difference, logits, loss, snapshot, train


def sublayer(network: nn.Module, path: str) -> tuple[Tensor, Tensor]:
    """Return what the module at `path` takes and what leaves it, the adapters' hooks included."""
    seen: list[Tensor] = []
    handle = network.get_submodule(path).register_forward_hook(
        lambda module, inputs, output: seen.extend((inputs[0], output))
    )
    logits(network)
    handle.remove()
    return seen[0], seen[1]


def weights(bank: AdapterBank, key: str) -> dict[str, Tensor]:
    """Return the tensors of one adapter or fusion at one place by their short names."""
    marked = f".{key}."
    return {name.partition(marked)[2]: value for name, value in bank.state_dict().items() if marked in name}


def written_out(w: dict[str, Tensor], states: Tensor) -> Tensor:
    """Return U(ReLU(D(h))) without a layer of ours."""
    inner = (states @ w["down.weight"].T + w["down.bias"]).clamp(min=0)
    return inner @ w["up.weight"].T + w["up.bias"]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["llama", "gemma3_text", "gpt2", "phi"])
def test_at_the_start_every_answer_is_the_bases_to_the_bit(family: str, dtype: torch.dtype, style: str) -> None:
    network = build(family, dtype=dtype)
    before = logits(network)
    BottleneckTuner(Bottleneck(style=style)).attach(network)  # type: ignore[arg-type]
    assert torch.equal(logits(network), before)


@pytest.mark.parametrize(("style", "site"), [("pfeiffer", "mlp"), ("houlsby", "self_attn.o_proj"), ("parallel", "mlp")])
def test_the_update_is_the_papers_formula(style: str, site: str) -> None:
    network = build()
    settings = Bottleneck(style=style, reduction=4, activation="relu")  # type: ignore[arg-type]
    bank = bank_with(network, "one", settings=settings)
    taken, given = sublayer(network, f"model.layers.0.{site}")
    bank.activate("one")
    _, changed = sublayer(network, f"model.layers.0.{site}")
    w = weights(bank, f"one/layers/0/{'attention' if site != 'mlp' else 'feed_forward'}")
    assert w["down.weight"].shape == (8, 32)
    expected = given + (4 * written_out(w, taken) if style == "parallel" else written_out(w, given))
    torch.testing.assert_close(changed, expected, atol=1e-5, rtol=1e-5)  # fp32 sums in another order


@pytest.mark.parametrize(
    ("activation", "function"),
    [("gelu", functional.gelu), ("silu", functional.silu), ("tanh", torch.tanh), (None, functional.gelu)],
)
def test_activation_and_scale_are_the_recipes(activation: str | None, function: object) -> None:
    network = build()
    settings = Bottleneck(style="houlsby", reduction=4, activation=activation, scale=0.5)  # type: ignore[arg-type]
    bank = bank_with(network, "one", settings=settings)
    _, given = sublayer(network, "model.layers.0.self_attn.o_proj")
    bank.activate("one")
    _, changed = sublayer(network, "model.layers.0.self_attn.o_proj")
    w = weights(bank, "one/layers/0/attention")
    inner = function(given @ w["down.weight"].T + w["down.bias"])  # type: ignore[operator]
    expected = given + 0.5 * (inner @ w["up.weight"].T + w["up.bias"])
    torch.testing.assert_close(changed, expected, atol=1e-5, rtol=1e-5)


def test_two_adapters_trained_in_turn_do_not_touch_each_other() -> None:
    network = build()
    first, second = BottleneckTuner(PFEIFFER, adapter="first"), BottleneckTuner(PFEIFFER, adapter="second")
    first.attach(network)
    train(first, network, steps=3, rate=1e-2)
    after_first, answers = snapshot(network), logits(network)

    second.attach(network)
    assert set(second.trainable(network)) == {name for name, _ in network.named_parameters() if ".second/" in name}
    alone = build()
    assert torch.equal(logits(network), logits(alone)), "the second starts from the base, not from the first"
    train(second, network, steps=3, rate=1e-2)
    assert all(
        torch.equal(value, after_first[name]) for name, value in network.named_parameters() if name in after_first
    )
    assert difference(logits(network), answers) > 1e-3

    # back to the first one: it is where it was, and goes on alone
    first.attach(network)
    assert torch.equal(logits(network), answers)
    assert set(first.trainable(network)) == {name for name, _ in network.named_parameters() if ".first/" in name}


def test_a_stack_is_mad_x() -> None:
    network = build()
    bank = bank_with(network, "language", "task")
    _, residual = sublayer(network, "model.layers.0.mlp")
    bank.activate(Stack("language", "task"))
    _, changed = sublayer(network, "model.layers.0.mlp")
    language = residual + written_out(weights(bank, "language/layers/0/feed_forward"), residual)
    expected = residual + written_out(weights(bank, "task/layers/0/feed_forward"), language)
    torch.testing.assert_close(changed, expected, atol=1e-5, rtol=1e-5)


def test_fusion_is_the_papers_attention() -> None:
    network = build()
    bank = bank_with(network, "one", "two", "three")
    fuse = Fuse("one", "two", "three")
    bank.add_fusion(fuse)
    with torch.no_grad():
        for parameter in bank.parameters_of(fuse.key):
            parameter.normal_(std=0.2, generator=torch.Generator().manual_seed(9))
    _, states = sublayer(network, "model.layers.0.mlp")
    bank.activate(fuse)
    _, changed = sublayer(network, "model.layers.0.mlp")

    place = "layers/0/feed_forward"
    w = weights(bank, f"one+two+three/{place}")
    z = [written_out(weights(bank, f"{name}/{place}"), states) for name in fuse.names]
    expected = torch.empty_like(states)
    for row in range(states.shape[0]):
        for token in range(states.shape[1]):
            h = states[row, token]
            scores = torch.stack([(w["query.weight"] @ h) @ (w["key.weight"] @ each[row, token]) for each in z])
            shares = scores.exp() / scores.exp().sum()
            values = [w["value.weight"] @ each[row, token] for each in z]
            expected[row, token] = h + sum(share * value for share, value in zip(shares, values, strict=True))
    torch.testing.assert_close(changed, expected, atol=1e-4, rtol=1e-4)


def test_fusion_starts_from_the_adapters_themselves_and_trains_alone(tmp_path: Path) -> None:
    network = build()
    bank_with(network, "one", "two")
    before = snapshot(network)
    tuner = FusionTuner(AdapterFusion(adapters={"one": None, "two": None}))
    tuner.attach(network)
    penalty = tuner.penalty(network)
    assert penalty is not None and penalty.item() == 0.0, "the value matrices start as the identity"
    train(tuner, network, steps=4, rate=1e-2)
    assert all(torch.equal(value, before[name]) for name, value in network.named_parameters() if name in before)
    values = [value for name, value in network.named_parameters() if name.endswith("value.weight")]
    assert len(values) == 2
    expected = 0.01 * sum(((value - torch.eye(32)) ** 2).sum().item() for value in values)
    penalty = tuner.penalty(network)
    assert penalty is not None and penalty.item() == pytest.approx(expected, rel=1e-5)
    assert FusionTuner(AdapterFusion(adapters={"one": None, "two": None}, regularization=0)).penalty(network) is None


def test_no_gradient_is_computed_below_the_lowest_adapter() -> None:
    network = build(num_hidden_layers=3)
    BottleneckTuner(Bottleneck(reduction=4, drop_layers=(0, 1))).attach(network)
    states: list[Tensor] = []
    network.model.layers[1].register_forward_hook(lambda module, inputs, output: states.append(output))
    loss(network).backward()
    assert not states[0].requires_grad


@pytest.mark.parametrize("style", STYLES)
def test_recomputed_activations_give_the_same_gradients(style: str) -> None:
    found = []
    for recomputes in (False, True):
        stage = make_stage(Bottleneck(style=style, reduction=4))  # type: ignore[arg-type]
        model = make_model(stage)
        randomise(model.network)
        if recomputes:
            model.recompute_activations()
        model.network.train()
        for batch in FixedWindows().window(0).batches:
            model.loss_sum(batch).backward()
        found.append({name: value.grad for name, value in stage.tuner.trainable(model.network).items()})
    assert all(value is not None and value.abs().max() > 0 for value in found[0].values())
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, msg=name)


def randomise(network: nn.Module) -> None:
    bank = bank_of(network)
    assert bank is not None
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in bank.parameters():
            parameter.normal_(std=0.3, generator=generator)


@pytest.mark.parametrize("style", STYLES)
def test_packed_rows_cost_what_padded_rows_cost(style: str) -> None:
    stage = make_stage(Bottleneck(style=style, reduction=4))  # type: ignore[arg-type]
    totals = []
    for route in (Route(packs=True, splits_head=True), Route(packs=False, splits_head=False)):
        model = make_model(stage, route=route)
        randomise(model.network)
        totals.append([model.loss_sum(batch).item() for batch in FixedWindows().window(0).batches])
    assert totals[0] == pytest.approx(totals[1], rel=1e-5)


@pytest.mark.parametrize("style", STYLES)
def test_answers_with_a_cache_are_those_without_one(style: str) -> None:
    network = build()
    bank = bank_with(network, "one", settings=Bottleneck(style=style, reduction=4))  # type: ignore[arg-type]
    bank.activate("one")
    prompts = [row.tolist()[: 5 + 4 * number] for number, row in enumerate(IDS)]
    answers = continue_prompts(network, prompts, max_new_tokens=6, end_ids=())
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = list(prompt)
        for _ in range(6):
            with torch.no_grad():
                ids.append(int(network(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
        assert answer == ids[len(prompt) :]


@pytest.mark.parametrize(
    ("tuner", "message"),
    [
        ({"kind": "bottleneck", "style": "parallel", "below": ["runs/a"]}, "style: parallel does not stack"),
        ({"kind": "bottleneck", "style": "pfeifer"}, "did you mean 'pfeiffer'"),
        ({"kind": "bottleneck", "drop_layers": [-1]}, "greater than or equal to 0"),
        ({"kind": "bottleneck", "below": ["runs/a", "old/a"]}, "two adapters would be called 'a'"),
        ({"kind": "adapter_fusion", "adapters": {"one": "runs/a"}}, "at least 2 items"),
        ({"kind": "adapter_fusion", "adapters": {"one": "runs/a", "t.wo": "runs/b"}}, "'t.wo' is not a name"),
    ],
)
def test_settings_that_do_not_fit_are_refused_with_the_recipe(tuner: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_recipe({"tuner": tuner})


def test_two_are_trained_in_turn_fused_and_swapped_on_one_loaded_base(tmp_path: Path) -> None:
    tuners = {
        "legal": BottleneckTuner(PFEIFFER, adapter="legal"),
        "medical": BottleneckTuner(PFEIFFER, adapter="medical"),
        "fused": FusionTuner(AdapterFusion(adapters={"legal": None, "medical": None})),
    }
    stages = [
        replace(make_stage(), name=name, tuner=tuner, windows=FixedWindows(seed=10 * number))  # type: ignore[arg-type]
        for number, (name, tuner) in enumerate(tuners.items())
    ]
    model = make_model(stages[0])
    answers = {}
    for stage in stages:
        stage.tuner.attach(model.base)
        before = snapshot(model.network)
        run_stage(model, stage, tmp_path / stage.name)
        moved = {name for name, value in model.network.named_parameters() if not torch.equal(value, before[name])}
        assert moved == set(stage.tuner.trainable(model.network))
        answers[stage.name] = logits(model.network)
    tuners["fused"].save(model.network, tmp_path / "artifact")

    loaded = tuners["fused"].load(build(), tmp_path / "artifact")
    bank = bank_of(loaded)
    assert bank is not None
    for composition, name in (("legal", "legal"), (Fuse("legal", "medical"), "fused"), ("medical", "medical")):
        bank.activate(composition)
        assert difference(logits(loaded), answers[name]) <= 1e-5  # the two bases attend by different kernels
    assert difference(answers["legal"], answers["medical"]) > 1e-3
