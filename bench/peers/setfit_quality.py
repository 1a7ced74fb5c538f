"""SetFit for a while on a few rows of each class: python setfit_quality.py JOB_FOLDER RESULT.json."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from datasets import Dataset
from setfit import SetFitModel, Trainer, TrainingArguments

from bench.peers.watch import train_for


def main(folder: Path, result: Path) -> None:
    job = json.loads((folder / "job.json").read_text())
    rows = Dataset.from_list(job["train"])

    def make(max_steps, callbacks):
        torch.manual_seed(job["seed"])
        model = SetFitModel.from_pretrained(job["model"], labels=job["classes"], device="cpu")
        model.model_body.max_seq_length = job["max_length"]
        arguments = TrainingArguments(
            output_dir=str(folder / "setfit"),
            max_steps=max_steps,
            seed=job["seed"],
            save_strategy="no",
            report_to="none",
            show_progress_bar=False,
        )
        trainer = Trainer(model=model, args=arguments, train_dataset=rows)
        for callback in callbacks:
            trainer.add_callback(callback)
        return trainer

    trainer, spent = train_for(job["seconds"], make)
    predictions = list(trainer.model.predict([row["text"] for row in job["test"]]))
    versions = {name: version(name) for name in ("setfit", "sentence-transformers", "transformers", "torch")}
    settings = {
        "learning_rate": trainer.args.body_learning_rate,
        "batch_size": trainer.args.batch_size,
        "loss": trainer.args.loss.__name__,
        "sampling": trainer.args.sampling_strategy,
    }
    told = {"predictions": [str(each) for each in predictions], **spent}
    result.write_text(json.dumps({**told, "settings": settings, "versions": versions}, default=str))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
