"""transformers' Trainer for a while on rows with classes: python trainer_quality.py JOB_FOLDER RESULT.json."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

from bench.peers.watch import train_for

SETTINGS = {"bf16": True}
"""Beside its defaults; bf16 was the faster on this processor."""


class Rows(torch.utils.data.Dataset):
    """Rows as tokens; padded by the trainer, batch by batch."""

    def __init__(self, tokenizer, rows: list[dict], classes: list[str], max_length: int) -> None:
        texts = [row["text"] for row in rows]
        self.encoded = tokenizer(texts, truncation=True, max_length=max_length)
        self.labels = [classes.index(row["label"]) for row in rows]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict:
        return {**{name: values[index] for name, values in self.encoded.items()}, "labels": self.labels[index]}


def main(folder: Path, result: Path) -> None:
    job = json.loads((folder / "job.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    classes = job["classes"]
    train, test = (Rows(tokenizer, job[side], classes, job["max_length"]) for side in ("train", "test"))

    def make(max_steps, callbacks):
        torch.manual_seed(job["seed"])
        model = AutoModelForSequenceClassification.from_pretrained(job["model"], num_labels=len(classes))
        arguments = TrainingArguments(
            output_dir=str(folder / "trainer"),
            max_steps=max_steps,
            seed=job["seed"],
            use_cpu=True,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
            **SETTINGS,
            **({} if job["learning_rate"] is None else {"learning_rate": job["learning_rate"]}),
        )
        return Trainer(
            model=model, args=arguments, train_dataset=train, processing_class=tokenizer, callbacks=callbacks
        )

    trainer, spent = train_for(job["seconds"], make)
    places = trainer.predict(test).predictions.argmax(-1)
    versions = {name: version(name) for name in ("transformers", "torch", "accelerate")}
    predictions = [classes[place] for place in places]
    settings = {
        **SETTINGS,
        "learning_rate": trainer.args.learning_rate,
        "batch_size": trainer.args.per_device_train_batch_size,
        "schedule": str(trainer.args.lr_scheduler_type.value),
    }
    result.write_text(json.dumps({"predictions": predictions, **spent, "settings": settings, "versions": versions}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
