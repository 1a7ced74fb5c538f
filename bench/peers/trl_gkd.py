"""TRL's GKDTrainer, off policy with a live teacher, on a prepared job: python trl_gkd.py JOB_FOLDER RESULT.json.

Run by TRL's own interpreter. `lmbda=0` takes every row as it is and `beta=0` is the forward KL divergence over the
whole vocabulary, from teacher to student: what Tenfold learns too. Rows are padded: its loss passes on no positions.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

import torch
from datasets import Dataset
from transformers import AutoTokenizer
from trl.experimental.gkd import GKDConfig, GKDTrainer

from bench.peers.watch import Watch, terms_of

SETTINGS = {
    "bf16": True,
    # both are on by default, and cost time to save memory
    "gradient_checkpointing": False,
    "dataloader_pin_memory": False,
}
DTYPE = "float32"
"""Of the student: full fine-tuning in bf16 alone rounds most updates away. The teacher learns nothing and is bf16."""


class Collate:
    """Pads the rows of an update, and counts their tokens."""

    def __init__(self, pad_id: int) -> None:
        self.pad_id = pad_id
        self.tokens: list[int] = []

    def __call__(self, rows: list[dict]) -> dict[str, torch.Tensor]:
        """Return the rows padded to the longest of them."""
        ids = [torch.tensor(row["input_ids"]) for row in rows]
        labels = [torch.where(torch.tensor(row["supervised"]), each, -100) for row, each in zip(rows, ids, strict=True)]
        self.tokens.append(sum(self.tokens[-1:]) + sum(map(len, ids)))
        pad = torch.nn.utils.rnn.pad_sequence
        return {
            "input_ids": pad(ids, batch_first=True, padding_value=self.pad_id),
            "attention_mask": pad([torch.ones_like(each) for each in ids], batch_first=True),
            "labels": pad(labels, batch_first=True, padding_value=-100),
        }


class WatchLoss(Watch):
    """GKD counts no tokens."""

    def on_log(self, args, state, control, logs=None, **more):
        """Note the loss."""
        if "loss" in logs:
            self.losses.append(float(logs["loss"]))


def main(job_folder: Path, result: Path) -> None:
    job = json.loads((job_folder / "job.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(job["teacher"])
    watch, collate = WatchLoss(), Collate(tokenizer.pad_token_id)
    trainer = GKDTrainer(
        model=job["student"],
        teacher_model=job["teacher"],
        args=GKDConfig(
            output_dir=str(job_folder / "gkd"),
            lmbda=0.0,
            beta=0.0,
            teacher_model_init_kwargs={"dtype": "bfloat16"},
            **terms_of(job),
            train_sampling_strategy="sequential",
            shuffle_dataset=False,
            max_length=None,  # the job was cut already
            model_init_kwargs={"dtype": DTYPE},
            optim="adamw_torch_fused",
            **SETTINGS,
        ),
        data_collator=collate,
        train_dataset=Dataset.from_list([row for window in job["windows"] for row in window]),
        processing_class=tokenizer,
        callbacks=[watch],
    )
    start = time.perf_counter(), time.process_time()
    trainer.train()
    trainer.model.save_pretrained(job_folder / "trl-student")
    facts = {
        "start": start,
        "ends": watch.ends,
        "cpu_ends": watch.cpu_ends,
        "losses": watch.losses,
        "tokens": collate.tokens[: len(job["windows"])],
        "versions": {name: version(name) for name in ("trl", "torch", "transformers")},
        "settings": {**SETTINGS, "lmbda": 0.0, "beta": 0.0, "dtype": DTYPE, "teacher's dtype": "bfloat16"},
    }
    result.write_text(json.dumps(facts))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
