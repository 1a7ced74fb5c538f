"""Bottleneck adapters: their formulas, that the base stays what it was, several on one base, stacks, fusion, drop."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from tenfold.errors import ArtifactError, ModelError, RecipeError
from tenfold.models.generate import continue_greedily
from tenfold.models.language_model import Route
from tenfold.recipe import parse_recipe
from tenfold.recipe.adapters import AdapterFusion, Bottleneck
from tenfold.tuning.adapter_bank import AdapterBank, bank_of, detach_bank, open_bank
from tenfold.tuning.bank_files import write_bank
from tenfold.tuning.bottleneck import BottleneckTuner, FusionTuner
from tenfold.tuning.composition import Fuse, Stack
from tenfold.tuning.identity import Identity, hash_config, hash_weights, write_identity
from tests.engine.stages import FixedWindows, make_model, make_stage
from tests.tuning.steps import IDS, build, difference, logits, loss, snapshot, train

STYLES = ("houlsby", "pfeiffer", "parallel")
WINDOWS = {"batch_size": 1, "micro_batch_tokens": 1, "seed": 0}
PFEIFFER = Bottleneck(style="pfeiffer", reduction=4)


def bank_with(network: nn.Module, *names: str, settings: Bottleneck = PFEIFFER) -> AdapterBank:
    """Return the network's bank with adapters of these names, their weights random and each other's."""
    bank = open_bank(network)
    for number, name in enumerate(names):
        bank.add(name, settings)
        generator = torch.Generator().manual_seed(number)
        with torch.no_grad():
            for parameter in bank.parameters_of(name):
                parameter.normal_(std=0.3, generator=generator)
    return bank


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


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("style", STYLES)
def test_detaching_restores_the_base_to_the_bit(family: str, style: str) -> None:
    network = build(family)
    before, parameters, hooks = logits(network), snapshot(network), hook_count(network)
    types = {name: type(module) for name, module in network.named_modules()}
    bank = bank_with(network, "one", settings=Bottleneck(style=style, reduction=4))  # type: ignore[arg-type]
    bank.activate("one")
    assert difference(logits(network), before) > 0.01
    assert hook_count(network) > hooks
    detach_bank(network)
    assert torch.equal(logits(network), before)
    assert bank_of(network) is None
    assert hook_count(network) == hooks
    assert {name: type(module) for name, module in network.named_modules()} == types
    assert all(torch.equal(value, parameters[name]) for name, value in network.named_parameters())


def hook_count(network: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules())


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


def test_adapters_swap_without_reloading() -> None:
    network = build()
    base = logits(network)
    bank = bank_with(network, "one", "two")
    answers = {}
    for name in ("one", "two"):
        bank.activate(name)
        answers[name] = logits(network)
    assert difference(answers["one"], answers["two"]) > 0.01
    for name in ("one", "two", "one"):
        bank.activate(name)
        assert torch.equal(logits(network), answers[name])
    bank.activate(None)
    assert torch.equal(logits(network), base)


def test_an_adapter_that_comes_later_is_in_the_networks_mode() -> None:
    network = build()
    bank = bank_with(network, "one", settings=Bottleneck(reduction=4, dropout=0.5))
    bank.activate("one")
    bare = [network(input_ids=IDS).logits for _ in range(2)]
    assert torch.equal(*bare)
    network.train()
    bank_with(network, "two", settings=Bottleneck(reduction=4, dropout=0.5))
    bank.activate("two")
    bare = [network(input_ids=IDS).logits for _ in range(2)]
    assert not torch.equal(*bare)


def test_a_copy_of_the_network_has_adapters_of_its_own() -> None:
    network = build()
    bank = bank_with(network, "one", "two")
    bank.activate("one")
    answers = logits(network)
    twin = copy.deepcopy(network)
    second = bank_of(twin)
    assert second is not None and second is not bank
    second.activate("two")
    assert torch.equal(logits(network), answers)
    bank.activate("two")
    assert torch.equal(logits(twin), logits(network))
    detach_bank(twin)
    assert torch.equal(logits(twin), logits(build()))
    assert torch.equal(logits(network), logits(network)) and bank_of(network) is bank


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


def test_dropped_layers_have_no_adapter_and_blocks_can_be_left_out_later() -> None:
    network = build(num_hidden_layers=3)
    bank = bank_with(network, "one", settings=Bottleneck(style="houlsby", reduction=4, drop_layers=(0,)))
    assert {key.split("/")[2] for key in bank.bottlenecks} == {"1", "2"}
    bank.activate("one")
    full = logits(network)
    bank.activate("one", without=(1,))
    dropped = logits(network)
    assert difference(dropped, full) > 1e-3

    alone = build(num_hidden_layers=3)
    other = bank_with(alone, "one", settings=Bottleneck(style="houlsby", reduction=4, drop_layers=(0, 1)))
    for key, layer in other.bottlenecks.items():
        layer.load_state_dict(bank.bottlenecks[key].state_dict())
    other.activate("one")
    assert torch.equal(logits(alone), dropped)
    with pytest.raises(ModelError, match="there is no block 3"):
        bank.activate("one", without=(3,))


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
    answers = continue_greedily(network, prompts, max_new_tokens=6, end_ids=())
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = list(prompt)
        for _ in range(6):
            with torch.no_grad():
                ids.append(int(network(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
        assert answer == ids[len(prompt) :]


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """The artifact of one adapter, as a run leaves it: `adapter/` in a folder of its own."""
    network = build()
    tuner = BottleneckTuner(PFEIFFER)
    tuner.attach(network)
    train(tuner, network, steps=3, rate=1e-2)
    tuner.save(network, tmp_path / "legal" / "adapter")
    return tmp_path / "legal"


def test_a_stack_is_saved_whole(trained: Path, tmp_path: Path) -> None:
    network = build()
    tuner = BottleneckTuner(replace_on(PFEIFFER, trained))
    tuner.attach(network)
    assert bank_of(network).active == Stack("legal", "default")  # type: ignore[union-attr]
    assert all("default/" in name for name in tuner.trainable(network))
    losses = train(tuner, network, steps=3, rate=1e-2)
    assert losses[-1] < losses[0]
    tuner.save(network, tmp_path / "saved")
    (trained / "adapter" / "adapters.safetensors").unlink()
    again = build()
    assert torch.equal(logits(tuner.load(again, tmp_path / "saved")), logits(network))
    # and each can still be had alone
    bank = bank_of(again)
    assert bank is not None
    bank.activate("legal")
    assert difference(logits(again), logits(network)) > 1e-4


def replace_on(settings: Bottleneck, *folders: Path) -> Bottleneck:
    return settings.model_copy(update={"on": tuple(map(str, folders))})


def test_adapters_of_earlier_runs_are_fused(trained: Path, tmp_path: Path) -> None:
    other = build()
    bank_with(other, "anything").activate("anything")
    BottleneckTuner(PFEIFFER).save(other, tmp_path / "medical")
    alone = logits(BottleneckTuner(PFEIFFER).load(build(), trained / "adapter"))

    tuner = FusionTuner(AdapterFusion(adapters={"law": str(trained), "medicine": str(tmp_path / "medical")}))
    network = tuner.attach(build())
    bank = bank_of(network)
    assert bank is not None and bank.active == Fuse("law", "medicine")
    bank.activate("law")
    assert torch.equal(logits(network), alone)
    bank.activate("medicine")
    assert torch.equal(logits(network), logits(other))
    tuner.attach(network)  # again: nothing is read or added twice
    assert list(bank.settings) == ["law", "medicine"]
    assert all("fusions" in name for name in tuner.trainable(network))


def test_removing_an_adapter_removes_its_fusions() -> None:
    network = build()
    bank = bank_with(network, "one", "two")
    bank.add_fusion(Fuse("one", "two"))
    bank.activate("one")
    with pytest.raises(ModelError, match="'one' is active"):
        bank.remove("one")
    bank.remove("two")
    assert list(bank.settings) == ["one"] and not bank.fused and not bank.fusions
    assert all(key.startswith("one/") for key in bank.bottlenecks)


def test_a_stage_is_another_one_when_the_adapters_below_were_trained_anew(trained: Path) -> None:
    stage = replace(make_stage(), windows=SimpleNamespace(prepared=SimpleNamespace(fingerprint=""), **WINDOWS))
    stages = [
        replace(stage, tuner=BottleneckTuner(replace_on(PFEIFFER, trained))),
        replace(stage, tuner=FusionTuner(AdapterFusion(adapters={"one": str(trained), "two": None}))),
    ]
    before = [json.dumps({"tuner": each.content["tuner"]}) for each in stages]
    path = trained / "adapter" / "adapters.safetensors"
    save_file({name: value + 1 for name, value in load_file(path).items()}, path)
    after = [json.dumps({"tuner": each.content["tuner"]}) for each in stages]
    assert all(old != new for old, new in zip(before, after, strict=True))


def test_an_adapter_of_another_base_is_refused(trained: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    build().save_pretrained(base)
    network = build()
    network.name_or_path = str(base)
    own = Identity("tiny", hash_weights(base), hash_config(base), "-", "-")
    write_identity(own, trained / "adapter")
    BottleneckTuner(replace_on(PFEIFFER, trained)).attach(network)
    detach_bank(network)
    write_identity(replace(own, base_name="another", base_weights_sha256="0" * 64), trained / "adapter")
    with pytest.raises(ArtifactError, match="trained on 'another', whose weights or configuration"):
        BottleneckTuner(replace_on(PFEIFFER, trained)).attach(network)


def test_damaged_adapter_files_are_errors(trained: Path) -> None:
    folder = trained / "adapter"
    tuner = BottleneckTuner(PFEIFFER)
    tensors, config = folder / "adapters.safetensors", folder / "adapters.json"
    whole, text = tensors.read_bytes(), config.read_text()
    tensors.write_bytes(whole[:100])
    with pytest.raises(ArtifactError, match=r"adapters\.safetensors: damaged"):
        tuner.load(build(), folder)
    tensors.write_bytes(whole)
    for damaged in (
        text[:50],
        text.replace('"pfeiffer"', '"none"'),
        text.replace('"active": "default"', '"active": 3'),
    ):
        config.write_text(damaged)
        with pytest.raises(ArtifactError, match=r"adapters\.json: damaged"):
            tuner.load(build(), folder)
    config.write_text(text.replace('"format": 1', '"format": 2'))
    with pytest.raises(ArtifactError, match="format 2"):
        tuner.load(build(), folder)
    config.unlink()
    with pytest.raises(ArtifactError, match=r"no adapters\.json"):
        tuner.load(build(), folder)


def test_missing_unknown_and_misshapen_tensors_are_errors(trained: Path) -> None:
    path = trained / "adapter" / "adapters.safetensors"
    tensors = load_file(path)
    first, second = sorted(tensors)[:2]
    tensors["bottlenecks.nowhere.weight"] = tensors.pop(first)
    tensors[second] = torch.zeros(3, 3)
    save_file(tensors, path)
    for load in (
        lambda: BottleneckTuner(PFEIFFER).load(build(), trained / "adapter"),
        lambda: BottleneckTuner(replace_on(PFEIFFER, trained)).attach(build()),
    ):
        with pytest.raises(ArtifactError) as caught:
            load()
        assert first.rpartition("/")[2] in str(caught.value)
        assert "is [3, 3]" in str(caught.value)


def test_a_model_of_another_shape_is_an_error(trained: Path) -> None:
    tuner = BottleneckTuner(PFEIFFER)
    with pytest.raises(ArtifactError, match=r"down\.weight is \[8, 32\]"):
        tuner.load(build(hidden_size=64, num_attention_heads=8, num_key_value_heads=4), trained / "adapter")
    with pytest.raises(ArtifactError, match="the model has no place for"):
        tuner.load(build(num_hidden_layers=1), trained / "adapter")


def test_a_composition_is_no_single_adapter(trained: Path, tmp_path: Path) -> None:
    network = build()
    tuner = BottleneckTuner(replace_on(PFEIFFER, trained))
    tuner.save(tuner.attach(network), tmp_path / "stacked")
    with pytest.raises(ArtifactError, match="not one adapter but a composition of legal, default"):
        FusionTuner(AdapterFusion(adapters={"a": str(tmp_path / "stacked"), "b": None})).attach(build())


def test_names_and_blocks_that_do_not_fit_are_refused(trained: Path, tmp_path: Path) -> None:
    network = build()
    bank = bank_with(network, "one", "two")
    bank_with(network, "beside", settings=Bottleneck(style="parallel", reduction=4))
    with pytest.raises(ModelError, match=r"(?s)no adapter 'tow'.*one, two, beside.*did you mean 'two'"):
        bank.activate("tow")
    with pytest.raises(ModelError, match="no fusion of one and two"):
        bank.activate(Fuse("one", "two"))
    with pytest.raises(ModelError, match="'beside' is a parallel adapter"):
        bank.activate(Stack("one", "beside"))
    with pytest.raises(ModelError, match="there is an adapter 'one' already"):
        bank.add("one", PFEIFFER)
    with pytest.raises(ModelError, match="'one/two' is no name"):
        bank.add("one/two", PFEIFFER)
    with pytest.raises(ModelError, match="no adapter 'three'"):
        FusionTuner(AdapterFusion(adapters={"one": None, "three": None})).attach(network)
    with pytest.raises(ModelError, match="there is an adapter 'one' already"):
        FusionTuner(AdapterFusion(adapters={"one": str(trained), "two": None})).attach(network)
    for blocks, found in (((7,), "there is no block 7"), ((0, 1), "no block is left")):
        with pytest.raises(ModelError, match=rf"tuner\.drop_layers: {found}"):
            BottleneckTuner(Bottleneck(drop_layers=blocks)).attach(build())
    bank.add("low", Bottleneck(drop_layers=(1,)))
    bank.add("high", Bottleneck(drop_layers=(0,)))
    with pytest.raises(ModelError, match="low and high have no place in common"):
        bank.add_fusion(Fuse("low", "high"))
    with pytest.raises(ArtifactError, match=r"no adapters\.json"):
        BottleneckTuner(replace_on(PFEIFFER, tmp_path / "nowhere")).attach(build())


@pytest.mark.parametrize(
    ("tuner", "message"),
    [
        ({"kind": "bottleneck", "style": "parallel", "on": ["runs/a"]}, "style: parallel does not stack"),
        ({"kind": "bottleneck", "style": "pfeifer"}, "did you mean 'pfeiffer'"),
        ({"kind": "bottleneck", "drop_layers": [-1]}, "greater than or equal to 0"),
        ({"kind": "bottleneck", "on": ["runs/a", "old/a"]}, "two adapters would be called 'a'"),
        ({"kind": "adapter_fusion", "adapters": {"one": "runs/a"}}, "at least 2 items"),
        ({"kind": "adapter_fusion", "adapters": {"one": "runs/a", "t.wo": "runs/b"}}, "'t.wo' is not a name"),
    ],
)
def test_settings_that_do_not_fit_are_refused_with_the_recipe(tuner: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_recipe({"tuner": tuner})


def test_what_is_saved_names_every_part(tmp_path: Path) -> None:
    network = build()
    bank = bank_with(network, "one", "two")
    bank.add_fusion(Fuse("one", "two"))
    bank.activate(Stack("one", Fuse("one", "two")), without=(0,))
    write_bank(bank, tmp_path)
    loaded = BottleneckTuner(PFEIFFER).load(build(), tmp_path)
    second = bank_of(loaded)
    assert second is not None
    assert (second.active, second.left_out) == (bank.active, frozenset({0}))
    assert torch.equal(logits(loaded), logits(network))
    names = set(load_file(tmp_path / "adapters.safetensors"))
    assert "bottlenecks.one/layers/0/feed_forward.down.weight" in names
    assert "fusions.one+two/layers/1/feed_forward.value.weight" in names
    assert json.loads((tmp_path / "adapters.json").read_text())["active"] == {
        "stack": ["one", {"fuse": ["one", "two"]}]
    }
