"""A model read in parts is the model: the same weights, tables and settings as when it is loaded whole."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from transformers import PreTrainedModel

from tenfold.models import load_parts as module
from tenfold.models.load import load_network
from tenfold.models.load_parts import load_parts
from tenfold.models.open import open_sharded
from tenfold.models.sharding import whole
from tests.tiny_models import tiny_model
from tests.tiny_tokenizers import byte_tokenizer

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def mesh() -> Iterator[DeviceMesh]:
    """One rank, which has all rows: how several share them is tested where they train."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def saved(folder: Path, kind: str) -> PreTrainedModel:
    network = tiny_model(kind, seed=3, vocab_size=len(byte_tokenizer()))
    network.generation_config.repetition_penalty = 1.5
    network.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return network


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "mistral"])
def test_what_is_read_in_parts_is_what_is_loaded_whole(kind: str, tmp_path: Path, mesh: DeviceMesh) -> None:
    saved(tmp_path, kind)
    shards = load_parts(tmp_path, mesh, dtype=torch.float32, compute_dtype=None, device=CPU)
    loaded = load_network(tmp_path, dtype=torch.float32, device=CPU)
    assert isinstance(loaded, PreTrainedModel)
    assert shards is not None
    network = shards.network
    assert isinstance(network, PreTrainedModel)
    assert not network.training
    assert network.config.to_dict() == loaded.config.to_dict()
    assert network.generation_config.to_dict() == loaded.generation_config.to_dict()
    _require_equal(network, loaded)
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    with torch.no_grad():
        assert torch.equal(shards.gathered(lambda: network(ids).logits), loaded(ids).logits)


def _require_equal(network: nn.Module, other: nn.Module) -> None:
    for kind in ("named_parameters", "named_buffers"):
        mine, theirs = dict(getattr(network, kind)()), dict(getattr(other, kind)())
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(whole(value), theirs[name]) for name, value in mine.items())


def test_smaller_types_are_rounded_as_they_are_when_loaded_whole(tmp_path: Path, mesh: DeviceMesh) -> None:
    saved(tmp_path, "llama")
    shards = load_parts(tmp_path, mesh, dtype=torch.bfloat16, compute_dtype=None, device=CPU)
    assert shards is not None
    _require_equal(shards.network, load_network(tmp_path, dtype=torch.bfloat16, device=CPU))


@pytest.mark.parametrize("why", ["a tensor that the model does not know", "a table that nobody can make again"])
def test_what_cannot_be_read_in_parts_is_loaded_whole(why: str, tmp_path: Path, mesh: DeviceMesh) -> None:
    network = saved(tmp_path, "gemma2" if "table" in why else "llama")
    if "tensor" in why:
        named = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(2)}
        network.save_pretrained(tmp_path, state_dict={**network.state_dict(), **named})
    assert load_parts(tmp_path, mesh, dtype=torch.float32, compute_dtype=None, device=CPU) is None
    model = open_sharded(tmp_path, byte_tokenizer(), mesh, dtype=torch.float32, compute_dtype=None, device=CPU)
    _require_equal(model.base, load_network(tmp_path, dtype=torch.float32, device=CPU))


def test_a_damaged_file_is_left_to_who_tells_of_it(tmp_path: Path, mesh: DeviceMesh) -> None:
    saved(tmp_path, "llama")
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    assert load_parts(tmp_path, mesh, dtype=torch.float32, compute_dtype=None, device=CPU) is None


def test_a_module_with_tables_of_its_own_making_is_loaded_whole() -> None:
    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("table", torch.ones(3), persistent=False)

    assert module._modules_of_buffers(nn.Sequential(Table())) is None
    assert module._modules_of_buffers(nn.Sequential(nn.Linear(2, 2))) == {}
