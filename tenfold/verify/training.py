"""A few updates by the engine's own loop, straight or interrupted, and the bits that they end with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tenfold.engine.checkpoint import CheckpointFolder, hash_tensors
from tenfold.engine.fit import fit
from tenfold.engine.log import Log, Value
from tenfold.engine.runtime import derived_seed
from tenfold.engine.stage import Stage
from tenfold.errors import Interrupted
from tenfold.models.trunk import Trunk


@dataclass(frozen=True)
class Trained:
    """What training came to. Hashes are by name, of every weight of network, heads and loss."""

    before: Mapping[str, str]
    after: Mapping[str, str]
    losses: Mapping[int, float]
    """By update."""


class _Losses:
    """A listener that keeps the loss of each update."""

    def __init__(self) -> None:
        self.losses: dict[int, float] = {}

    def hear(self, event: Mapping[str, Value]) -> None:
        """Keep the loss of an update."""
        if event["event"] == "update":
            self.losses[int(str(event["update"]))] = float(str(event["loss"]))


def train(model: Trunk, stage: Stage, *, seed: int, folder: Path, stop_after: int | None = None) -> Trained:
    """Train `stage` on `model` as a run does, with checkpoints in `folder`; stop after so many updates if asked."""
    heard = _Losses()
    before = weight_hashes(model, stage)
    torch.manual_seed(derived_seed(seed, stage.name))
    with suppress(Interrupted):
        fit(
            model,
            stage,
            log=Log(None, (heard,)),
            checkpoints=CheckpointFolder(folder, keep=1),
            checkpoint_every=stage.total_updates + 1,  # none is needed but that of the interruption
            stop_asked=_counter(heard, stop_after),
        )
    return Trained(before, weight_hashes(model, stage), heard.losses)


def _counter(heard: _Losses, stop_after: int | None) -> Callable[[], bool]:
    return lambda: stop_after is not None and len(heard.losses) >= stop_after


def weights(model: Trunk, stage: Stage) -> dict[str, Tensor]:
    """Return every weight and buffer that would be saved, of network, heads and loss; a tied one under each name."""
    own = {} if stage.learned is None else stage.learned.parameters
    return {
        **model.network.state_dict(keep_vars=True),
        **{f"heads.{name}": value for name, value in model.heads.state_dict(keep_vars=True).items()},
        **{f"objective.{name}": value for name, value in own.items()},
    }


def weight_hashes(model: Trunk, stage: Stage) -> dict[str, str]:
    """Return the hash of each of `weights`."""
    return {
        name: hash_tensors({"": value}) for name, value in weights(model, stage).items() if isinstance(value, Tensor)
    }
