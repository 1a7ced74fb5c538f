"""LLaMA-Factory on a prepared job, in bf16 under autocast: `pure_bf16` it refuses on a CPU.

Run by LLaMA-Factory's own interpreter: python llamafactory_sft.py JOB_FOLDER RESULT.json
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from datasets import Dataset, DatasetDict
from llamafactory.train.tuner import run_exp
from transformers import TrainerCallback

from bench.notes import Notes, rows_of
from bench.peers.watch import terms_of

SETTINGS = {
    "bf16": True,
    "flash_attn": "sdpa",
    # on by default, and costs time to save memory
    "disable_gradient_checkpointing": True,
}


class Noting(TrainerCallback):
    """Notes each update when its loss is told, at its end."""

    def __init__(self, notes: Notes) -> None:
        self.notes = notes

    def on_log(self, args, state, control, logs=None, **more):
        """Note the update."""
        if "loss" in logs:
            self.notes.note(logs["loss"], state.num_input_tokens_seen)


def main(job_folder: Path, result: Path) -> None:
    job = json.loads((job_folder / "job.json").read_text())
    notes, tuner = Notes(), job["tuner"]
    tokenised = job_folder / "llamafactory-rows"
    shutil.rmtree(tokenised, ignore_errors=True)
    write_rows(job, tokenised)
    run_exp(
        {
            "stage": "sft",
            "do_train": True,
            "model_name_or_path": job["model"],
            "finetuning_type": "lora",
            "lora_rank": tuner["rank"],
            "lora_alpha": tuner["alpha"],
            "lora_target": "all",
            "dataset": "rows",
            "tokenized_path": str(tokenised),
            "template": "chatml",  # asked for, not used: the rows are tokens already
            "disable_shuffling": True,
            "include_num_input_tokens_seen": "non_padding",
            "output_dir": str(job_folder / "llamafactory"),
            "overwrite_output_dir": True,
            **terms_of(job),
            **SETTINGS,
        },
        callbacks=[Noting(notes)],
    )
    notes.write(result, settings=dict(SETTINGS), packages=("llamafactory", "transformers", "peft"))


def write_rows(job: dict, folder: Path) -> None:
    """Save the rows as LLaMA-Factory saves its own tokens."""
    ids, labels = zip(*rows_of(job), strict=True)
    columns = {"input_ids": ids, "attention_mask": [[1] * len(row) for row in ids], "labels": labels}
    DatasetDict({"train": Dataset.from_dict(columns)}).save_to_disk(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
