"""What changes while a stage trains: all that a checkpoint holds, and how it is put back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from tenfold.data.windows import ALL_AT_ONCE, WindowSource
from tenfold.engine.checkpoint import Checkpoint, Position, random_state
from tenfold.engine.optim import allot_state, make_optimizer, optimizer_tensors
from tenfold.engine.parts import read_parts, sizes_in
from tenfold.engine.ranks import ALONE, Ranks, all_random
from tenfold.engine.stage import Stage, StageResult
from tenfold.models.sharding import own_part
from tenfold.models.trunk import Trunk


@dataclass
class Training:
    """What changes while a stage trains; everything in it goes into a checkpoint."""

    parameters: Mapping[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    windows: WindowSource
    position: Position
    best: Mapping[str, Tensor] | None

    @classmethod
    def begin(cls, model: Trunk, stage: Stage, ranks: Ranks = ALONE) -> Training:
        """Return the state before the first update."""
        optimizer = make_optimizer(stage, model)
        windows = stage.windows if ranks.count == 1 else stage.windows.over_ranks(ranks.count)
        if stage.optim.in_backward:
            assert ranks.count == 1, "several processes are refused before anything is loaded"
            windows = windows.with_micro_batch_tokens(ALL_AT_ONCE)
            allot_state(optimizer)
        return cls(stage.trainable(model), optimizer, windows, Position(), None)

    def checkpoint(self, model: Trunk, stage: Stage, ranks: Ranks) -> Checkpoint:
        """Return the state to save."""
        names: dict[Tensor, str] = {parameter: name for name, parameter in self.parameters.items()}
        return Checkpoint(
            position=self.position,
            trainable=self.parameters,
            optimizer=optimizer_tensors(self.optimizer, names),
            random=all_random(ranks.each(random_state(model.device))),
            tuner=stage.tuner.state(model.network),
            best=self.best,
        )

    def restore_parts(self, folder: Path) -> None:
        """Put back weights, optimizer state and the best weights from the parts in `folder`, of each what is here."""
        sizes = sizes_in(folder)
        found = {f"trainable|{name}": parameter.detach() for name, parameter in self.parameters.items()}
        for key, (size, dtype) in sizes.items():
            kind, _, rest = key.partition("|")
            name, _, state = rest.rpartition("|")
            if kind == "optimizer":
                parameter = self.parameters[name]
                is_alike = size == parameter.shape
                empty = (
                    torch.empty_like(parameter, dtype=dtype)
                    if is_alike
                    else torch.empty(size, dtype=dtype, device=parameter.device)
                )
                found[key] = self.optimizer.state[parameter][state] = empty.detach()
        if any(key.startswith("best|") for key in sizes):
            self.best = {name: torch.empty_like(parameter) for name, parameter in self.parameters.items()}
            found |= {f"best|{name}": value for name, value in self.best.items()}
        read_parts(folder, found)

    def result(self, stage: Stage) -> StageResult:
        """Return what the stage came to."""
        return StageResult(
            name=stage.name,
            updates=self.position.update,
            tokens=self.position.tokens,
            supervised_tokens=self.position.supervised_tokens,
            seconds=self.position.seconds,
            final_loss=self.position.last_loss,
            best_value=self.position.best_value,
            best_update=self.position.best_update,
            selection_seconds=self.position.selection_seconds,
            micro_batch_tokens=self.windows.micro_batch_tokens,
        )


def load_parameters(parameters: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> None:
    """Copy `values` into the parameters of the same names."""
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(own_part(values[name], parameter))
