"""A model's folder with one file replaced: what is read of it before its weights are."""

from __future__ import annotations

from functools import cache

import torch
from safetensors.torch import save

from fuzz.promise import Target
from fuzz.targets.place import scratch, with_one_replaced
from tenfold.models.headers import read_headers
from tenfold.models.sources import resolve
from tenfold.recipe import ModelSection
from tenfold.tuning.identity import hash_config

_CONFIG = b'{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 8, "hidden_size": 4}'


@cache
def _sound() -> dict[str, bytes]:
    weights = save({"embed.weight": torch.zeros(8, 4)})
    index = b'{"weight_map": {"embed.weight": "a.safetensors"}}'
    return {"config.json": _CONFIG, "a.safetensors": weights, "model.safetensors.index.json": index}


def _folder(content: bytes) -> None:
    folder = scratch() / "model"
    with_one_replaced(folder, _sound(), content)
    read_headers(resolve(ModelSection(name=str(folder))))
    hash_config(folder)


TARGETS = (Target("model_folder", "a model's `config.json`, index and safetensors headers", _folder),)
