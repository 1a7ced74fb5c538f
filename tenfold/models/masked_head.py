"""The layer that tells an encoder's masked words: opened from its checkpoint, or made where that holds none.

Shape letters: S masked positions, H hidden, E width of the input embeddings, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.activations import ACT2FN

from tenfold.kernels.linear_cross_entropy import linear_cross_entropy
from tenfold.kernels.output_layer import Cap, logits_by_piece
from tenfold.models.sources import weight_files


@dataclass(frozen=True)
class Layout:
    """Under which names an architecture keeps the parts of its head."""

    dense: str
    norm: str
    biases: tuple[str, ...]
    """The vocabulary's bias, which has two names where the decoder's is tied to it."""
    activation: str | None = None
    """The configuration's own when unset."""


LAYOUTS = (
    Layout(
        dense="cls.predictions.transform.dense",
        norm="cls.predictions.transform.LayerNorm",
        biases=("cls.predictions.bias", "cls.predictions.decoder.bias"),
    ),
    Layout("lm_head.dense", "lm_head.layer_norm", ("lm_head.bias", "lm_head.decoder.bias"), "gelu"),
    Layout("vocab_transform", "vocab_layer_norm", ("vocab_projector.bias",)),
)
"""BERT's; RoBERTa's, XLM-R's and MPNet's; DistilBERT's."""


class MaskedHead(nn.Module):
    """A layer, its activation and norm, and the product with the input embeddings, which are the encoder's own.

    All of it is in fp32 but the product, which is in the embeddings' dtype. Source: Devlin et al. 2018 (arXiv
    1810.04805), section 3.1 and appendix A.2; tied to the input, Press & Wolf 2017 (arXiv 1608.05859).
    """

    def __init__(self, config: PreTrainedConfig, embeddings: Tensor, *, activation: str | None = None) -> None:
        super().__init__()
        width, hidden = embeddings.shape[1], config.hidden_size
        self.dense = nn.Linear(hidden, width, dtype=torch.float32)
        own = getattr(config, "hidden_act", None) or getattr(config, "activation", None) or "gelu"
        self.activation = ACT2FN[activation or own]
        self.norm = nn.LayerNorm(width, eps=getattr(config, "layer_norm_eps", 1e-12), dtype=torch.float32)
        self.bias = nn.Parameter(torch.zeros(embeddings.shape[0], dtype=torch.float32))
        self.is_opened = False
        """Whether its weights came with the encoder."""
        nn.init.normal_(self.dense.weight, std=getattr(config, "initializer_range", 0.02))
        nn.init.zeros_(self.dense.bias)

    def loss_sum(self, states: Tensor, targets: Tensor, embeddings: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        """Return the summed cross entropy, in fp32, of `states` [S, H] for `targets` [S] by `embeddings` [V, E]."""
        told = self._told(states, embeddings)
        return linear_cross_entropy(told, embeddings, targets, bias=self.bias, label_smoothing=label_smoothing)

    @torch.no_grad()
    def judged(self, states: Tensor, targets: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Return each target's negative log likelihood, and whether it is the likeliest token, both [S] in fp32."""
        losses, hits = (torch.empty(len(states), dtype=torch.float32, device=states.device) for _ in range(2))
        told = self._told(states, embeddings)
        for rows, logits in logits_by_piece(told, embeddings, self.bias, Cap()):
            losses[rows] = nn.functional.cross_entropy(logits, targets[rows], reduction="none")
            hits[rows] = (logits.argmax(-1) == targets[rows]).float()
        return losses, hits

    def _told(self, states: Tensor, embeddings: Tensor) -> Tensor:
        with torch.autocast(states.device.type, enabled=False):
            told: Tensor = self.norm(self.activation(self.dense(states.float())))
        return told.to(embeddings.dtype)


def open_masked_head(base: PreTrainedModel) -> MaskedHead:
    """Return the head in the folder that `base` was opened from; a new one, by torch's generator, if it holds none.

    `base` may be an outline without weights. A head whose decoder is not tied to the input embeddings is passed over.
    """
    folder, config = Path(base.name_or_path), base.config
    embeddings = base.get_input_embeddings().weight
    assert isinstance(embeddings, Tensor), "an encoder embeds its tokens"
    layout = _layout(folder) if getattr(config, "tie_word_embeddings", True) else None
    head = MaskedHead(config, embeddings, activation=None if layout is None else layout.activation)
    tensors = {} if layout is None else _read(layout, folder)
    if {name: tensor.shape for name, tensor in tensors.items()} == {
        name: tensor.shape for name, tensor in head.state_dict().items()
    }:
        head.load_state_dict(tensors)
        head.is_opened = True
    return head


def holds_masked_head(folder: Path) -> bool:
    """Return whether the files in `folder` hold such a head in a layout that is known here."""
    return _layout(folder) is not None


def _layout(folder: Path) -> Layout | None:
    names = _files(folder)
    return next((layout for layout in LAYOUTS if f"{layout.dense}.weight" in names), None)


def _files(folder: Path) -> Mapping[str, Path]:
    """Return in which file each weight lies; damaged files, which opening the encoder tells of, hold none."""
    files: dict[str, Path] = {}
    for path in weight_files(folder) if folder.is_dir() else ():
        try:
            with safe_open(path, "pt") as weights:
                files |= dict.fromkeys(weights.keys(), path)
        except (OSError, SafetensorError):
            continue
    return files


def _read(layout: Layout, folder: Path) -> dict[str, Tensor]:
    files = _files(folder)
    wanted = {
        "dense.weight": (f"{layout.dense}.weight",),
        "dense.bias": (f"{layout.dense}.bias",),
        "norm.weight": (f"{layout.norm}.weight", f"{layout.norm}.gamma"),
        "norm.bias": (f"{layout.norm}.bias", f"{layout.norm}.beta"),
        "bias": layout.biases,
    }
    found = {ours: name for ours, names in wanted.items() for name in names[::-1] if name in files}
    return {ours: _tensor(files[name], name) for ours, name in found.items()}


def _tensor(path: Path, name: str) -> Tensor:
    with safe_open(path, "pt") as weights:
        tensor: Tensor = weights.get_tensor(name)
    return tensor.float()
