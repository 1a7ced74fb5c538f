"""Bad tuner settings and damaged adapters: what the user is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from tenfold.errors import ArtifactError, ModelError, RecipeError
from tenfold.recipe import parse_recipe
from tenfold.recipe.tuners import Ia3, Lora, Oft, Peft, Prompt, TunerSettings
from tenfold.tuning.tuner import make_tuner
from tests.tiny_tokenizers import byte_tokenizer
from tests.tuning.steps import build


def test_targets_that_do_not_exist_are_named_with_the_nearest() -> None:
    with pytest.raises(ModelError) as caught:
        make_tuner(Lora(targets=("q_proj", "v_prj", "c_attn"))).attach(build())
    message = str(caught.value)
    assert "tuner.targets: 'v_prj' matches no module of LlamaForCausalLM" in message
    assert "q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, lm_head" in message
    assert "did you mean 'v_proj'?" in message
    assert "'c_attn'" in message and "'q_proj' matches" not in message


def test_transposed_layers_are_listed_too() -> None:
    with pytest.raises(ModelError, match="c_attn, c_proj, c_fc, lm_head"):
        make_tuner(Lora(targets=("q_proj",))).attach(build("gpt2"))


def test_modules_to_train_beside_must_exist() -> None:
    with pytest.raises(ModelError, match=r"tuner\.also_train: 'score' matches no module"):
        make_tuner(Lora(also_train=("score",))).attach(build())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Peft(method="fourier_ft"), r"(?s)PEFT has no method 'fourier_ft'.*did you mean 'FOURIERFT'\?"),
        (Peft(method="loha", options={"rnk": 4}), r"tuner\.options\.rnk: LoHaConfig has no such option"),
        (Peft(method="loha", options={"ran_dropout": 0.1}), r"did you mean 'rank_dropout'\?"),
        (Peft(method="loha", options={"peft_type": "LORA"}), r"tuner\.options\.peft_type"),
        (Peft(method="adalora"), "use `kind: adalora`"),
        (Peft(method="poly"), "POLY needs a task number"),
        (Peft(method="lora", options={"init_lora_weights": "pissa_niter_4"}), "rewrites the base weights"),
    ],
)
def test_methods_that_cannot_be_run_are_refused_at_once(settings: Peft, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        make_tuner(settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Peft(method="lora", options={"r": 0}), "`r` should be a positive integer"),
        (Peft(method="miss", options={"r": 64}), "must be less than or equal to in_features"),
        (Peft(method="vblora", options={"num_vectors": "many"}), "PEFT does not accept this"),
        (Peft(method="fourierft", options={"n_frequency": 10**6}), "n_frequency"),
        (Prompt(init_text="Answer in JSON."), "tokenizer_name_or_path"),
    ],
)
def test_what_peft_refuses_is_told_in_its_words(settings: TunerSettings, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        make_tuner(settings).attach(build())


def test_a_method_that_needs_fp32_says_so() -> None:
    tuner = make_tuner(Peft(method="adaption_prompt", options={"adapter_len": 4, "adapter_layers": 2}))
    with pytest.raises(RecipeError, match=r"set runtime\.precision: fp32"):
        tuner.attach(build(dtype=torch.bfloat16))


@pytest.mark.parametrize(
    ("tuner", "message"),
    [
        ({"kind": "lora", "decomposed": True, "init": "pissa"}, "does not go with init: pissa"),
        ({"kind": "adalora", "initial_rank": 4, "target_rank": 4}, r"target_rank \(4\) must be below"),
        ({"kind": "partial", "modules": ["layers.("]}, "is not a regular expression"),
        ({"kind": "partial", "modules": []}, "at least 1 item"),
        ({"kind": "lora", "targets": []}, "at least 1 item"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused_with_the_recipe(tuner: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_recipe({"tuner": tuner})


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Ia3().targets = ("q_proj",)  # type: ignore[misc]


def test_a_prompt_starts_from_its_text_and_is_saved_without_it(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.save_pretrained(tmp_path / "base")
    base = build(vocab_size=len(tokenizer))
    base.name_or_path = str(tmp_path / "base")
    tuner = make_tuner(Prompt(init_text="Turn on the lamp", num_virtual_tokens=4))
    network = tuner.attach(base)
    (prompt,) = tuner.trainable(network).values()
    expected = tokenizer("Turn on the lamp", add_special_tokens=False).input_ids[:4]
    assert torch.equal(prompt, base.get_input_embeddings().weight[expected])
    tuner.save(network, tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["tokenizer_name_or_path"] is config["prompt_tuning_init_text"] is None


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    tuner = make_tuner(Lora(rank=4))
    tuner.save(tuner.attach(build()), tmp_path)
    return tmp_path


def test_missing_unknown_and_misshapen_tensors_are_errors(adapter: Path) -> None:
    path = adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    names = sorted(tensors)
    tensors["base_model.model.nowhere.lora_A.weight"] = tensors.pop(names[0])
    tensors[names[1]] = torch.zeros(3, 3)
    save_file(tensors, path)
    with pytest.raises(ArtifactError) as caught:
        make_tuner(Lora(rank=4)).load(build(), adapter)
    message = str(caught.value)
    assert f"the adapter lacks {names[0]}" in message
    assert "the model has no place for base_model.model.nowhere.lora_A.weight" in message
    assert f"{names[1]} is [3, 3]" in message


def test_many_faults_are_counted_not_listed(adapter: Path) -> None:
    with pytest.raises(ArtifactError) as caught:
        make_tuner(Lora(rank=4)).load(build(hidden_size=16), adapter)
    assert len(caught.value.problems) == 6
    # per block: q, k, v, gate and up have another width in A, o and down in B
    assert "and 9 more" in str(caught.value)


def test_an_adapter_of_another_architecture_is_an_error(adapter: Path) -> None:
    with pytest.raises(ArtifactError, match=r"the adapter does not fit this model: .*layers\.1"):
        make_tuner(Lora(rank=4)).load(build(num_hidden_layers=1), adapter)


def test_damaged_adapter_files_are_errors(adapter: Path) -> None:
    tuner = make_tuner(Lora(rank=4))
    weights, config = adapter / "adapter_model.safetensors", adapter / "adapter_config.json"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:100])
    with pytest.raises(ArtifactError, match=r"adapter_model\.safetensors: damaged"):
        tuner.load(build(), adapter)
    weights.write_bytes(whole)
    config.write_text(config.read_text()[:50])
    with pytest.raises(ArtifactError, match=r"adapter_config\.json: damaged"):
        tuner.load(build(), adapter)
    config.write_text(json.dumps({"peft_type": "NONE_SUCH"}))
    with pytest.raises(ArtifactError, match=r"adapter_config\.json: damaged"):
        tuner.load(build(), adapter)
    config.unlink()
    with pytest.raises(ArtifactError, match=r"no adapter_config\.json"):
        tuner.load(build(), adapter)


def test_oft_blocks_that_do_not_divide_are_refused() -> None:
    with pytest.raises(RecipeError, match="Invalid `oft_block_size`"):
        make_tuner(Oft(block_size=31)).attach(build())
