"""Several adapters on one base: swapped, removed, left out, taken off; the base stays what it was to the bit."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from tenfold.errors import ArtifactError, ModelError
from tenfold.recipe.adapters import AdapterFusion, Bottleneck
from tenfold.tuning.adapter_bank import bank_of, detach_bank
from tenfold.tuning.bank_files import write_bank
from tenfold.tuning.bottleneck import BottleneckTuner, FusionTuner
from tenfold.tuning.composition import Fuse, Stack
from tests.tuning.adapters import PFEIFFER, STYLES, bank_with, resting_on
from tests.tuning.steps import IDS, build, difference, logits, snapshot


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


def test_names_and_blocks_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    network = build()
    bank = bank_with(network, "one", "two")
    bank.activate("one")
    write_bank(bank, tmp_path)
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
        FusionTuner(AdapterFusion(adapters={"one": str(tmp_path), "two": None})).attach(network)
    for blocks, found in (((7,), "there is no block 7"), ((0, 1), "no block is left")):
        with pytest.raises(ModelError, match=rf"tuner\.drop_layers: {found}"):
            BottleneckTuner(Bottleneck(drop_layers=blocks)).attach(build())
    bank.add("low", Bottleneck(drop_layers=(1,)))
    bank.add("high", Bottleneck(drop_layers=(0,)))
    with pytest.raises(ModelError, match="low and high have no place in common"):
        bank.add_fusion(Fuse("low", "high"))
    with pytest.raises(ArtifactError, match=r"no adapters\.json"):
        BottleneckTuner(resting_on(PFEIFFER, tmp_path / "nowhere")).attach(build())
