"""What is put on a model to answer with labels instead of words: one small layer a task, on the last hidden states."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tenfold.data.batch import Batch
from tenfold.errors import ArtifactError, Problem

Pooling = Literal["first", "last", "mean", "weighted_mean", "none"]
"""Which of a row's states answer for it: its first token's, its last one's, their mean, their mean in which the state
at place i weighs i (so that a decoder's early states, which have seen little, weigh little); or each for itself."""

FILE = "heads.safetensors"


@dataclass(frozen=True)
class HeadSettings:
    """A head's shape: `num_outputs` values from one pooled state (from each token's state with pooling `none`).

    One that tells masked words has as many as the encoder has embeddings, whatever `num_outputs` says.
    """

    num_outputs: int
    pooling: Pooling
    dropout: float = 0.0
    shared_with: str | None = None
    """The task whose head this is, where it is not one of its own."""
    tells: Literal["labels", "masked_words"] = "labels"


class TaskHead(nn.Module):
    """A linear layer in fp32 on pooled hidden states.

    Source: Devlin et al. 2018 (arXiv 1810.04805), section 4.1 and 4.2; Radford et al. 2018, section 3.2, for the last
    token of a decoder.
    """

    def __init__(self, settings: HeadSettings, hidden_size: int) -> None:
        super().__init__()
        self.settings = settings
        self.dropout = nn.Dropout(settings.dropout)
        self.linear = nn.Linear(hidden_size, settings.num_outputs, dtype=torch.float32)
        nn.init.normal_(self.linear.weight, std=0.02)
        nn.init.zeros_(self.linear.bias)

    def forward(self, states: Tensor, batch: Batch) -> Tensor:
        """Return logits in fp32 for `states` [T, H] of `batch`: [N, C], or [T, C] with pooling `none`."""
        pooled = states if self.settings.pooling == "none" else pool(states, batch, self.settings.pooling)
        with torch.autocast(states.device.type, enabled=False):
            logits: Tensor = self.linear(self.dropout(pooled.float()))
        return logits


def pool(states: Tensor, batch: Batch, pooling: Pooling) -> Tensor:
    """Return one state for each row, [N, H], from `states` [T, H] of the batch's tokens; means are in fp32.

    Source: Reimers & Gurevych 2019 (arXiv 1908.10084), section 3, for first and mean; for the weighted mean Muennighoff
    2022 (arXiv 2202.08904), equation 2.
    """
    borders = batch.cu_seqlens.to(states.device, torch.int64)
    if pooling == "first":
        return states[borders[:-1]]
    if pooling == "last":
        return states[borders[1:] - 1]
    assert pooling in ("mean", "weighted_mean"), "pooling `none` leaves every token its state"
    rows = [row.float() for row in states.split(batch.lengths)]
    if pooling == "mean":
        return torch.stack([row.mean(0) for row in rows])
    return torch.stack([_rising(len(row), states.device) @ row for row in rows])


def _rising(length: int, device: torch.device) -> Tensor:
    """Return weights that rise as 1, 2, 3 … and sum to 1, [L]."""
    places = torch.arange(1, length + 1, device=device, dtype=torch.float32)
    return places / places.sum()


def head_key(task: str) -> str:
    """Return the name of a task's head among heads."""
    return f"for_{task}"  # a ModuleDict takes no name that it has a method of


def save_heads(heads: nn.ModuleDict, folder: Path) -> None:
    """Write the heads, if there are any, beside the weights in `folder`."""
    if heads:
        tensors = {name: tensor.detach().to("cpu").contiguous() for name, tensor in heads.state_dict().items()}
        save_file(tensors, folder / FILE)


def saved_head(folder: Path, task: str) -> tuple[Tensor, Tensor]:
    """Return the weight [C, H] and the bias [C] of the head that `save_heads` wrote for `task`.

    Raises:
        ArtifactError: the file is missing or damaged, or holds no such head.
    """
    path = folder / FILE
    try:
        tensors = load_file(path)
        return tuple(tensors[f"{head_key(task)}.linear.{part}"] for part in ("weight", "bias"))  # type: ignore[return-value]
    except (OSError, SafetensorError, KeyError) as error:
        raise _misfit(path, error) from error


def load_heads(heads: nn.ModuleDict, folder: Path) -> None:
    """Fill the heads with what `save_heads` wrote.

    Raises:
        ArtifactError: the file is missing or damaged, or holds heads for other tasks or labels.
    """
    if not heads:
        return
    path = folder / FILE
    try:
        heads.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise _misfit(path, error) from error


def _misfit(path: Path, error: Exception) -> ArtifactError:
    found = f"these heads do not fit: {(str(error).strip().splitlines() or [''])[0][:200]}"
    return ArtifactError(Problem(str(path), found, remedy="run the recipe again"))
