"""How a plain model and its tokenizer are written: Hugging Face layout, safetensors, no progress bar."""

from __future__ import annotations

import json
from pathlib import Path

from torch import nn
from transformers import PreTrainedModel

from tenfold.models.quiet import quiet_loading


def save_model(network: nn.Module, folder: Path) -> None:
    """Write `network`, a transformers model, into `folder`."""
    assert isinstance(network, PreTrainedModel), "only a plain transformers model has this layout"
    with quiet_loading():
        network.save_pretrained(folder)


def is_saved_in_fp32(folder: Path) -> bool:
    """Return whether the model in `folder` says of itself that its weights are in fp32."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return bool(config.get("dtype") == "float32")
