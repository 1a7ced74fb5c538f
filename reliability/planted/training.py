"""Faults that fine-tuning tools are known for, each to be planted alone, with the checks of `tenfold verify` it fails.

What is replaced is put back afterwards; nothing in the package knows of it.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from peft import PeftModel
from peft.tuners import lora
from torch import Tensor, nn
from transformers import GenerationMixin

from tenfold.data.batch import Window
from tenfold.data.render import Renderer
from tenfold.engine import fit
from tenfold.engine.checkpoint import Checkpoint, CheckpointFolder, Position
from tenfold.engine.ranks import Ranks
from tenfold.engine.stage import Stage
from tenfold.engine.training import Training
from tenfold.engine.update import Step, update_once
from tenfold.kernels.normed_projection import normed_projections
from tenfold.kernels.packed_rows import PackedRows
from tenfold.models import fused_blocks
from tenfold.models.trunk import Trunk
from tenfold.recipe import parse_recipe
from tenfold.tuning import peft_tuner
from tenfold.tuning.adapter_files import adapter_state, load_adapter
from tenfold.verify.verifying import verify_recipe

Patch = pytest.MonkeyPatch


@dataclass(frozen=True)
class Fault:
    """What is planted by `plant`, which `checks` fail for it, and what a recipe needs for it to show."""

    plant: Callable[[Patch], None]
    checks: set[str]
    dropout: float = 0.0
    precision: str = "fp32"


def failed_checks(fault: Fault, settings: Mapping[str, Any]) -> set[str]:
    """Return the checks of `tenfold verify` that fail for the recipe `settings` with `fault` in place."""
    tuner = {"kind": "lora", "rank": 4, "alpha": 16.0, "dropout": fault.dropout}
    runtime = {**settings["runtime"], "precision": fault.precision}
    with Patch.context() as patch:
        fault.plant(patch)
        verification = verify_recipe(parse_recipe({**settings, "tuner": tuner, "runtime": runtime}))
    failed = {finding.check for finding in verification.findings if finding.outcome == "FAIL"}
    assert verification.is_passed is not bool(failed)
    return failed


def nothing(patch: Patch) -> None:
    """Plant no fault."""


def per_micro_batch(patch: Patch) -> None:
    """Divide by the weight of each micro-batch, then by how many there are: a mean of means."""

    def update(model: Trunk, stage: Stage, window: Window, training: Training, ranks: Ranks) -> Step:
        training.optimizer.zero_grad(set_to_none=True)
        losses = []
        for batch in window.batches:
            mean = stage.objective(model, batch).total / stage.objective.weight(batch)
            (mean / len(window.batches)).backward()
            losses.append(mean.item())
        training.optimizer.step()
        return Step(sum(losses) / len(losses), 1, 0.0, 0.0)

    for module in ("tenfold.engine.fit", "tenfold.verify.measure"):
        patch.setattr(f"{module}.update_once", update)


def apart(patch: Patch) -> None:
    """Leave each of several processes with the gradients of its own rows."""
    patch.setattr(Ranks, "add_up", lambda self, parameters, totals: float(torch.stack(totals).sum()))


def leaking(patch: Patch) -> None:
    """Lose the border between the last two of four rows: the trial when a model is opened has no more than three."""
    original = PackedRows.__init__

    def init(self: PackedRows, borders: Tensor, of_keys: Tensor | None = None, *, device: torch.device) -> None:
        if len(borders) == 5:
            borders = torch.cat([borders[:-2], borders[-1:]])
            of_keys = None if of_keys is None else torch.cat([of_keys[:-2], of_keys[-1:]])
        original(self, borders, of_keys, device=device)

    patch.setattr(PackedRows, "__init__", init)


def other_epsilon(patch: Patch) -> None:
    """Compute RMSNorm with 1e-5 where the model says 1e-6."""

    def normed(x: Tensor, weight: Tensor, *, epsilon: float, projections: Any) -> Any:
        return normed_projections(x, weight, epsilon=10 * epsilon, projections=projections)

    patch.setattr(fused_blocks, "normed_projections", normed)


def no_optimizer_state(patch: Patch) -> None:
    """Resume with an optimizer that knows nothing of what was before."""
    patch.setattr(fit, "restore_optimizer", lambda optimizer, parameters, tensors: None)


def no_position(patch: Patch) -> None:
    """Resume at the first row again."""
    original = CheckpointFolder.newest

    def newest(self: CheckpointFolder) -> tuple[Checkpoint | None, list[str]]:
        found, notes = original(self)
        micro_batch_tokens = 0 if found is None else found.position.micro_batch_tokens
        position = Position(micro_batch_tokens=micro_batch_tokens)
        return None if found is None else replace(found, position=position), notes

    patch.setattr(CheckpointFolder, "newest", newest)


def no_random_state(patch: Patch) -> None:
    """Resume with other noise than the straight run had; the recipe has dropout."""
    patch.setattr(fit, "restore_random", lambda state, device: None)


def unseeded(patch: Patch) -> None:
    """Start each adapter from noise of its own."""
    patch.setattr("tenfold.techniques.subject.derived_seed", lambda *names: random.SystemRandom().getrandbits(32))


def gradient_lost(patch: Patch) -> None:
    """Recompute a block without a gradient for what went in."""

    def checkpoint(block: Callable[..., Tensor], x: Tensor, *inputs: Any, use_reentrant: bool) -> Tensor:
        return block(x.detach(), *inputs)

    patch.setattr(fused_blocks, "checkpoint", checkpoint)


def frozen_moves(patch: Patch) -> None:
    """Move the embedding of a token that no row has."""
    original = update_once

    def update(model: Trunk, stage: Stage, window: Window, training: Training, ranks: Ranks) -> Step:
        with torch.no_grad():
            model.base.get_input_embeddings().weight[3] = 0.0  # "<s>", which the template never writes
        return original(model, stage, window, training, ranks)

    patch.setattr(fit, "update_once", update)


def rounded_file(patch: Patch) -> None:
    """Save the adapter in bf16."""

    def state(network: PeftModel) -> Mapping[str, Tensor]:
        return {name: value.bfloat16().float() for name, value in adapter_state(network).items()}

    patch.setattr(peft_tuner, "adapter_state", state)


def unscaled_merge(patch: Patch) -> None:
    """Merge B A without alpha / rank."""
    original = lora.Linear.get_delta_weight
    patch.setattr(lora.Linear, "get_delta_weight", lambda self, name: original(self, name) / self.scaling[name])


def late_positions(patch: Patch) -> None:
    """Number tokens one too high once a cache is in use."""
    original = GenerationMixin.prepare_inputs_for_generation

    @functools.wraps(original)  # transformers reads its signature
    def prepare(self: Any, *inputs: Any, **named: Any) -> Any:
        made = original(self, *inputs, **named)
        if made["position_ids"].shape[1] == 1:
            made["position_ids"] = made["position_ids"] + 1
        return made

    patch.setattr(GenerationMixin, "prepare_inputs_for_generation", prepare)


def visible_padding(patch: Patch) -> None:
    """Let prompts see the padding before them."""

    def pad(prompts: Any, *, pad_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
        longest = max(map(len, prompts))
        ids = torch.tensor([[pad_id] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
        return ids, torch.ones_like(ids)

    patch.setattr("tenfold.models.generate.pad_left", pad)


def no_line_break(patch: Patch) -> None:
    """Leave out the template's line break after each turn but the last."""
    original = Renderer._apply

    def apply(self: Renderer, messages: Any, *, add_generation_prompt: bool) -> str:
        return original(self, messages, add_generation_prompt=add_generation_prompt).replace(
            "<|im_end|>\n<", "<|im_end|><"
        )

    patch.setattr(Renderer, "_apply", apply)


def short_prompt(patch: Patch) -> None:
    """Ask without the line break after the reply's opening."""
    original = Renderer.prompt
    patch.setattr(Renderer, "prompt", lambda self, example: original(self, example)[:-1])


def other_epsilon_in_bf16(patch: Patch) -> None:
    """Compute RMSNorm with another constant in bf16, and only where a gradient is wanted: no trial is made there."""

    def normed(x: Tensor, weight: Tensor, *, epsilon: float, projections: Any) -> Any:
        is_met = x.dtype == torch.bfloat16 and torch.is_grad_enabled()
        return normed_projections(x, weight, epsilon=1.0 if is_met else epsilon, projections=projections)

    patch.setattr(fused_blocks, "normed_projections", normed)


def private_scale(patch: Patch) -> None:
    """Write half of B, and double it when reading: files that only we can read."""

    def state(network: PeftModel) -> Mapping[str, Tensor]:
        return {name: value / 2 if "lora_B" in name else value for name, value in adapter_state(network).items()}

    def load(*inputs: Any) -> nn.Module:
        network: nn.Module = load_adapter(*inputs)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if "lora_B" in name:
                    parameter.mul_(2)
        return network

    patch.setattr(peft_tuner, "adapter_state", state)
    patch.setattr(peft_tuner, "load_adapter", load)


FAULTS: Mapping[str, Fault] = {
    "a mean of micro-batches' means": Fault(per_micro_batch, {"accumulation"}),
    "gradients that are not added up": Fault(apart, {"ranks"}),
    "a row that sees another": Fault(leaking, {"packing"}),
    "another epsilon in a kernel": Fault(other_epsilon, {"kernels"}),
    "an optimizer that is not restored": Fault(no_optimizer_state, {"resumed"}),
    "a position that is not restored": Fault(no_position, {"resumed"}),
    "random numbers that are not restored": Fault(no_random_state, {"resumed"}, dropout=0.2),
    "a start without a seed": Fault(unseeded, {"repeated", "resumed"}),
    "another epsilon in bf16 alone": Fault(other_epsilon_in_bf16, {"kernels, own precision"}, precision="bf16"),
    "files that only we can read": Fault(private_scale, {"exported"}),
    "a gradient lost by recomputation": Fault(gradient_lost, {"recomputation"}),
    "a frozen weight that moves": Fault(frozen_moves, {"moved"}),
    "an adapter saved in half the bits": Fault(rounded_file, {"reloaded"}),
    "a merge without the scale": Fault(unscaled_merge, {"merged"}),
    "a cache with wrong positions": Fault(late_positions, {"cache"}),
    "padding that is seen": Fault(visible_padding, {"batch"}),
    "a template without its line break": Fault(no_line_break, {"template"}),
    "a prompt cut short": Fault(short_prompt, {"prompt"}),
}
"""What is planted, by what it is called in the figures."""
