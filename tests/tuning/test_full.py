"""Tuning the base weights themselves: patterns, ties, fp32 beside bf16, and what a damaged folder says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tenfold.errors import ArtifactError, ModelError
from tenfold.recipe.tuners import Full, Partial
from tenfold.tuning.tuner import make_tuner
from tests.tuning.steps import build, difference, logits, train


def test_a_tied_weight_stays_one_weight(tmp_path: Path) -> None:
    tuner = make_tuner(Full())
    network = tuner.attach(build(tie_word_embeddings=True, dtype=torch.bfloat16))
    assert network.get_output_embeddings().weight is network.get_input_embeddings().weight
    assert "lm_head.weight" not in tuner.trainable(network)
    train(tuner, network, steps=3, rate=1e-3)
    assert network.get_output_embeddings().weight is network.get_input_embeddings().weight
    trained = logits(network)
    tuner.save(network, tmp_path)
    loaded = tuner.load(build(tie_word_embeddings=True), tmp_path)
    assert loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight
    assert torch.equal(logits(loaded), trained)


def test_a_pattern_finds_a_tied_weight_by_either_name() -> None:
    for pattern in ("lm_head", "embed_tokens"):
        tuner = make_tuner(Partial(modules=(pattern,)))
        network = tuner.attach(build(tie_word_embeddings=True))
        assert list(tuner.trainable(network)) == ["model.embed_tokens.weight"]


def test_partial_trains_exactly_what_matches() -> None:
    tuner = make_tuner(Partial(modules=(r"layers\.1\.mlp", r"^model\.norm")))
    names = list(tuner.trainable(tuner.attach(build())))
    assert names == [
        "model.layers.1.mlp.gate_proj.weight",
        "model.layers.1.mlp.up_proj.weight",
        "model.layers.1.mlp.down_proj.weight",
        "model.norm.weight",
    ]


def test_partial_runs_under_autocast_too() -> None:
    network = make_tuner(Partial(modules=(r"layers\.1\.",))).attach(build(dtype=torch.bfloat16))
    exact = logits(network)
    with torch.autocast("cpu", torch.bfloat16):
        assert (logits(network) - exact).norm() <= 0.05 * exact.norm()  # bf16 keeps 8 bits


@pytest.mark.parametrize("settings", [Full(), Partial(modules=(r"layers\.1\.",))])
def test_a_plain_load_gets_the_trained_weights_to_the_bit(settings: Full | Partial, tmp_path: Path) -> None:
    tuner = make_tuner(settings)
    network = tuner.attach(build(dtype=torch.bfloat16))
    train(tuner, network, steps=3, rate=2e-5)
    tuner.save(network, tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path).state_dict()
    assert plain.keys() == network.state_dict().keys()
    assert all(torch.equal(value.float(), plain[name]) for name, value in network.state_dict().items())
    # in bf16 most of what these steps taught would be lost
    trained = torch.cat([value.flatten() for value in tuner.trainable(network).values()])
    start = torch.cat(
        [
            value.flatten()
            for name, value in build(dtype=torch.bfloat16).named_parameters()
            if name in tuner.trainable(network)
        ]
    ).float()
    rounded = trained.bfloat16().float()
    assert (rounded - trained).norm() > 0.5 * (trained - start).norm()


def test_a_pattern_that_matches_nothing_names_what_there_is() -> None:
    with pytest.raises(ModelError) as caught:
        make_tuner(Partial(modules=("layers", "self_atn"))).attach(build())
    message = str(caught.value)
    assert "tuner.modules: 'self_atn' matches no parameter" in message
    assert "model.embed_tokens.weight" in message
    assert "did you mean 'self_attn'?" in message
    assert len(caught.value.problems) == 1


def test_a_missing_or_unknown_weight_is_an_error(tmp_path: Path) -> None:
    tuner = make_tuner(Full())
    tuner.save(tuner.attach(build()), tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["model.extra.weight"] = weights.pop("model.norm.weight")
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ArtifactError) as caught:
        tuner.load(build(), tmp_path)
    assert "1 missing keys, such as model.norm.weight" in str(caught.value)
    assert "1 unexpected keys, such as model.extra.weight" in str(caught.value)


def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    tuner = make_tuner(Full())
    tuner.save(tuner.attach(build()), tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ArtifactError, match="cannot be read"):
        tuner.load(build(), tmp_path)


def test_weights_of_another_shape_are_an_error(tmp_path: Path) -> None:
    tuner = make_tuner(Full())
    tuner.save(tuner.attach(build(hidden_size=16)), tmp_path)
    with pytest.raises(ArtifactError, match="does not fit this model"):
        tuner.load(build(), tmp_path)


def test_saved_dtype_is_what_the_config_says(tmp_path: Path) -> None:
    tuner = make_tuner(Partial(modules=(r"layers\.1\.",)))
    tuner.save(tuner.attach(build(dtype=torch.bfloat16)), tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "float32"
    kinds = {name: value.dtype for name, value in load_file(tmp_path / "model.safetensors").items()}
    assert kinds["model.layers.1.mlp.up_proj.weight"] == torch.float32
    assert kinds["model.layers.0.mlp.up_proj.weight"] == torch.bfloat16


def test_merging_changes_nothing() -> None:
    tuner = make_tuner(Full())
    network = tuner.attach(build())
    before = logits(network)
    assert difference(logits(tuner.merge(network)), before) == 0.0
