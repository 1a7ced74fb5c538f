"""Stages on tiny models for the engine's tests, without a recipe's whole world around them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from tenfold.data.batch import Window, pack
from tenfold.engine.checkpoint import CheckpointFolder
from tenfold.engine.fit import fit
from tenfold.engine.log import Log
from tenfold.engine.stage import Stage, StageResult
from tenfold.models.attention import register_attention
from tenfold.models.language_model import LanguageModel, Route
from tenfold.objectives.causal_lm import CausalLanguageModelling
from tenfold.recipe import OptimSection
from tenfold.recipe.tuners import Full, Lora, TunerSettings
from tenfold.tuning.tuner import make_tuner
from tests.tiny_models import VOCABULARY, tiny_model

CPU = torch.device("cpu")


@dataclass(frozen=True)
class FixedWindows:
    """The same random rows in every window, cut into micro-batches of at most `micro_batch_tokens`."""

    lengths: tuple[int, ...] = (9, 4, 12, 7, 5, 11, 6, 8)
    micro_batch_tokens: int = 1000
    seed: int = 0

    def window(self, update: int) -> Window:
        generator = torch.Generator().manual_seed(self.seed + update % 2)
        rows = [
            (
                number,
                torch.randint(3, VOCABULARY, (length,), generator=generator).tolist(),
                [place > length // 3 for place in range(length)],
            )
            for number, length in enumerate(self.lengths)
        ]
        batches, used = [[rows[0]]], self.lengths[0]
        for row in rows[1:]:
            if used + len(row[1]) > self.micro_batch_tokens:
                batches.append([])
                used = 0
            batches[-1].append(row)
            used += len(row[1])
        return Window(tuple(pack(batch) for batch in batches))

    def with_micro_batch_tokens(self, tokens: int) -> FixedWindows:
        return replace(self, micro_batch_tokens=tokens)

    def origin(self, row: int) -> str:
        return f"rows.jsonl, line {row + 1}"


def make_stage(tuner: TunerSettings | None = None, *, updates: int = 4, rate: float = 1e-2, **changes: object) -> Stage:
    settings = tuner or Lora(rank=4)
    stage = Stage(
        name="main",
        tuner=make_tuner(settings),
        objective=CausalLanguageModelling(),
        windows=FixedWindows(),  # type: ignore[arg-type]
        optim=OptimSection(),
        learning_rate=rate,
        total_updates=updates,
    )
    return replace(stage, **changes)  # type: ignore[arg-type]


def make_model(stage: Stage, *, family: str = "llama", route: Route | None = None) -> LanguageModel:
    """Return a tiny model with the stage's tuner attached, the same one each time."""
    register_attention()
    causal = tiny_model(family, attention="tenfold")
    model = LanguageModel(causal, None, device=CPU, route=route or Route(packs=True, splits_head=True))  # type: ignore[arg-type]
    torch.manual_seed(0)
    model.wrap(stage.tuner.attach(causal, total_updates=stage.total_updates), packs=stage.tuner.packs, autocast=None)
    return model


def run_stage(model: LanguageModel, stage: Stage, folder: Path, **options: object) -> StageResult:
    torch.manual_seed(1)
    return fit(
        model,
        stage,
        log=Log(folder / "log.jsonl"),
        checkpoints=CheckpointFolder(folder / "checkpoints", keep=2),
        **{"checkpoint_every": 2, **options},  # type: ignore[arg-type]
    )


def trained(model: LanguageModel, stage: Stage) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in stage.tuner.trainable(model.network).items()}


__all__ = ["CPU", "FixedWindows", "Full", "Lora", "make_model", "make_stage", "run_stage", "trained"]
