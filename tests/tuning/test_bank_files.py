"""Bottleneck adapters on disk: whole, strict, on their own base only; runs that stand on earlier ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from tenfold.errors import ArtifactError
from tenfold.recipe.adapters import AdapterFusion
from tenfold.tuning.adapter_bank import bank_of, detach_bank
from tenfold.tuning.bank_files import write_bank
from tenfold.tuning.bottleneck import BottleneckTuner, FusionTuner
from tenfold.tuning.composition import Fuse, Stack
from tenfold.tuning.identity import Identity, hash_config, hash_weights, write_identity
from tests.engine.stages import make_stage
from tests.tuning.adapters import PFEIFFER, bank_with, resting_on
from tests.tuning.steps import build, difference, logits, train


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
    tuner = BottleneckTuner(resting_on(PFEIFFER, trained))
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


def test_a_stage_is_another_one_when_the_adapters_below_were_trained_anew(trained: Path) -> None:
    stage = replace(make_stage(), windows=SimpleNamespace(content="rows"))
    stages = [
        replace(stage, tuner=BottleneckTuner(resting_on(PFEIFFER, trained))),
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
    BottleneckTuner(resting_on(PFEIFFER, trained)).attach(network)
    detach_bank(network)
    write_identity(replace(own, base_name="another", base_weights_sha256="0" * 64), trained / "adapter")
    with pytest.raises(ArtifactError, match="trained on 'another', whose weights or configuration"):
        BottleneckTuner(resting_on(PFEIFFER, trained)).attach(network)


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
        lambda: BottleneckTuner(resting_on(PFEIFFER, trained)).attach(build()),
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
    tuner = BottleneckTuner(resting_on(PFEIFFER, trained))
    tuner.save(tuner.attach(network), tmp_path / "stacked")
    with pytest.raises(ArtifactError, match="not one adapter but a composition of legal, default"):
        FusionTuner(AdapterFusion(adapters={"a": str(tmp_path / "stacked"), "b": None})).attach(build())


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
