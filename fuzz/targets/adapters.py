"""Folders of adapters with one file replaced: PEFT's, our bottlenecks, heads, and which base they belong to."""

from __future__ import annotations

from functools import cache

import peft
import torch
from torch import nn

from fuzz.promise import Target
from fuzz.targets.place import scratch, with_one_replaced
from tenfold.models.heads import HeadSettings, TaskHead, head_key, load_heads, save_heads, saved_head
from tenfold.tuning.adapter_files import CONFIG, WEIGHTS, read_adapter, write_adapter
from tenfold.tuning.bank_files import restore_bank, write_bank
from tenfold.tuning.identity import Identity, read_identity, write_identity
from tests.tiny_models import tiny_model
from tests.tuning.adapters import bank_with


def _files(name: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (scratch() / name).iterdir()}


@cache
def _sound_peft() -> dict[str, bytes]:
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    write_adapter(scratch() / "sound-peft", config, {"layer.lora_A.weight": torch.zeros(2, 4)})
    return _files("sound-peft")


def _peft(content: bytes) -> None:
    folder = scratch() / "peft"
    with_one_replaced(folder, _sound_peft(), content)
    read_adapter(folder)


@cache
def _sound_bank() -> dict[str, bytes]:
    write_bank(bank_with(_network(), "legal", "medical"), scratch() / "sound-bank")
    return _files("sound-bank")


def _network() -> nn.Module:
    return tiny_model("llama", hidden_size=8, num_attention_heads=2, num_key_value_heads=1, num_hidden_layers=1)


def _bank(content: bytes) -> None:
    folder = scratch() / "bank"
    with_one_replaced(folder, _sound_bank(), content)
    restore_bank(_network(), folder)


def _sound_heads() -> nn.ModuleDict:
    return nn.ModuleDict({head_key("main"): TaskHead(HeadSettings(2, "last"), 4)})


def _heads(content: bytes) -> None:
    folder = scratch() / "heads"
    folder.mkdir(exist_ok=True)
    heads = _sound_heads()
    save_heads(heads, folder)
    (folder / "heads.safetensors").write_bytes(content)
    saved_head(folder, "main")
    load_heads(heads, folder)


@cache
def _sound_identity() -> dict[str, bytes]:
    folder = scratch() / "sound-identity"
    folder.mkdir()
    write_identity(Identity("base", *("a" * 64,) * 4), folder)
    return _files("sound-identity")


def _identity(content: bytes) -> None:
    folder = scratch() / "identity"
    with_one_replaced(folder, _sound_identity(), content)
    read_identity(folder)


TARGETS = (
    Target("adapter_peft", f"a PEFT adapter: `{CONFIG}`, `{WEIGHTS}`", _peft),
    Target("adapter_bank", "bottleneck adapters: `adapters.json`, `adapters.safetensors`", _bank, max_bytes=8192),
    Target("heads", "`heads.safetensors`", _heads),
    Target("identity", "`identity.json`", _identity),
)
