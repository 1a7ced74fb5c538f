"""When each of a transformers trainer's updates ended, and how many fit into so many seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import TrainerCallback

PROBED = 12
"""Updates of a training that only tells how long one takes; the first one does not count."""


def terms_of(job: dict) -> dict[str, Any]:
    """Return the arguments of a transformers trainer that a prepared job decides, or that a measurement needs."""
    return {
        "max_steps": len(job["windows"]),
        "per_device_train_batch_size": job["batch_size"],
        "learning_rate": job["learning_rate"],
        "lr_scheduler_type": "constant",
        "weight_decay": 0.0,
        "max_grad_norm": job.get("max_gradient_norm", 1.0),  # 0: no clipping
        "use_cpu": job.get("device", "cpu") == "cpu",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


class Watch(TrainerCallback):
    """Notes when each update ended, its loss, and the tokens that TRL counts."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.cpu_ends: list[float] = []
        self.losses: list[float] = []
        self.tokens: list[int] = []

    def on_step_end(self, args, state, control, **more):
        """Note the time, when the device is done too."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())
        self.cpu_ends.append(time.process_time())

    def on_log(self, args, state, control, logs=None, **more):
        """Note the loss."""
        if "loss" in logs:
            self.losses.append(float(logs["loss"]))
            self.tokens.append(int(logs.get("num_tokens", 0)))

    @property
    def seconds_per_update(self) -> float:
        """What an update after the first took of the processor."""
        return (self.cpu_ends[-1] - self.cpu_ends[0]) / (len(self.cpu_ends) - 1)


def train_for(seconds: float, make: Callable[[int, list[TrainerCallback]], Any]) -> tuple[Any, dict[str, float]]:
    """Train for about `seconds` of the processor, as many updates as a short training before says; return the trainer.

    `make(max_steps, callbacks)` returns a trainer that has not begun.
    """
    watch = Watch()
    make(PROBED, [watch]).train()
    updates = max(1, int(seconds / watch.seconds_per_update))
    trainer = make(updates, [])
    started = time.process_time()
    trainer.train()
    return trainer, {"updates": updates, "train_seconds": time.process_time() - started}
