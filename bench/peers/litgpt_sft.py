"""LitGPT's finetune_lora on a prepared job, in the precision that it takes by itself where bf16 can be had.

Run by LitGPT's own interpreter: python litgpt_sft.py JOB_FOLDER RESULT.json
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from lightning.fabric.loggers.logger import Logger
from litgpt.args import EvalArgs, TrainArgs
from litgpt.data import DataModule
from litgpt.data.base import get_sft_collate_fn
from litgpt.finetune import lora
from litgpt.prompts import Default
from torch.utils.data import DataLoader

from bench.notes import Notes, rows_of

MODEL = "SmolLM2-135M-Instruct"
"""The name by which LitGPT knows the model's shape."""

SETTINGS = {"precision": "bf16-true"}
FOLLOWED = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


class Noting(Logger):
    """Notes each update when its loss is told."""

    name, version = "notes", 0

    def __init__(self, notes: Notes) -> None:
        self.notes = notes

    def log_metrics(self, metrics, step=None) -> None:
        """Note the update; what else is told is passed over."""
        if "loss" in metrics:
            self.notes.note(metrics["loss"], metrics["tokens"])

    def log_hyperparams(self, *named, **more) -> None:
        """Pass over them."""


class Rows(DataModule):
    """The job's rows, tokenised already, in its order."""

    prompt_style = Default()

    def __init__(self, job: dict) -> None:
        super().__init__()
        self.batch_size = job["batch_size"]
        self.rows = [
            {
                "input_ids": torch.tensor(ids),
                "labels": torch.tensor(labels),
                "token_counts": {"raw": len(ids), "raw_plus_prompt_template": len(ids)},
            }
            for ids, labels in rows_of(job)
        ]

    def connect(self, tokenizer=None, batch_size=1, max_seq_length=None, **more) -> None:
        """Take nothing: the rows are ready."""

    def train_dataloader(self) -> DataLoader:
        """Return all batches."""
        return DataLoader(self.rows, batch_size=self.batch_size, collate_fn=get_sft_collate_fn())

    def val_dataloader(self) -> DataLoader:
        """Return one row: LitGPT measures a loss before it begins."""
        return DataLoader(self.rows[:1], batch_size=1, collate_fn=get_sft_collate_fn())


def main(job_folder: Path, result: Path) -> None:
    job = json.loads((job_folder / "job.json").read_text())
    notes, tuner, updates = Notes(), job["tuner"], len(job["windows"])
    lora.choose_logger = lambda *named, **more: Noting(notes)
    # a constant rate, as the others have it: LitGPT's falls along a cosine
    lora.get_lr_scheduler = lambda optimizer, **more: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    model = converted(Path(job["model"]), job_folder / "litgpt" / MODEL)
    adapter = {"lora_r": tuner["rank"], "lora_alpha": tuner["alpha"], "lora_dropout": 0.0}
    adapter |= {f"lora_{part}": True for part in ("query", "key", "value", "projection", "mlp")}
    # LitGPT reads the command line again when it saves
    sys.argv[1:] = [str(model), *(f"--{name}={json.dumps(value)}" for name, value in adapter.items())]
    lora.setup(
        checkpoint_dir=model,
        out_dir=job_folder / "litgpt/out",
        **adapter,
        data=Rows(job),
        train=TrainArgs(
            save_interval=None,
            log_interval=1,
            global_batch_size=job["batch_size"],
            micro_batch_size=job["batch_size"],
            lr_warmup_steps=0,
            epochs=2,
            max_steps=updates,
            max_seq_length=job["max_length"],
        ),
        eval=EvalArgs(interval=10**9, max_new_tokens=1, max_iters=1, final_validation=False),
        optimizer={
            "class_path": "torch.optim.AdamW",
            "init_args": {"lr": job["learning_rate"], "weight_decay": 0.0, "fused": True},
        },
        **SETTINGS,
    )
    notes.write(result, settings=dict(SETTINGS), packages=("litgpt", "lightning"))


def converted(model: Path, folder: Path) -> Path:
    """Return `folder` with the model as LitGPT reads it, made by its own command where it is not there yet."""
    if not (folder / "lit_model.pth").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in FOLLOWED:
            if (model / name).is_file():
                shutil.copy(model / name, folder / name)
        command = [str(Path(sys.executable).with_name("litgpt")), "convert_to_litgpt", str(folder)]
        subprocess.run([*command, "--model_name", MODEL, "--dtype", "bfloat16"], check=True)
    return folder


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
