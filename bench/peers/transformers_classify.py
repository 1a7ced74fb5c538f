"""transformers' Trainer on a prepared job of rows with classes: python transformers_classify.py JOB_FOLDER RESULT.json.

Run with an interpreter that has transformers and accelerate; nothing of Tenfold is imported. The model is the encoder,
the mean over its tokens and one linear layer, as in the job; batches are padded to their longest row.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModel, Trainer, TrainingArguments

from bench.peers.watch import Watch, terms_of


class Classifier(nn.Module):
    """An encoder, the mean over its tokens, one linear layer."""

    def __init__(self, job: dict, head: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.encoder = AutoModel.from_pretrained(job["model"], dtype=torch.float32, add_pooling_layer=False)
        self.head = nn.Linear(head["weight"].shape[1], head["weight"].shape[0])
        self.head.load_state_dict(head)

    def forward(self, input_ids, attention_mask, labels):
        """Return loss and logits, as Trainer takes them."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        kept = attention_mask[..., None].to(states.dtype)
        logits = self.head((states * kept).sum(1) / kept.sum(1))
        return {"loss": nn.functional.cross_entropy(logits.float(), labels), "logits": logits}


class InOrder(Trainer):
    """Takes the rows in the job's order."""

    def _get_train_sampler(self, train_dataset=None):
        return torch.utils.data.SequentialSampler(train_dataset or self.train_dataset)


def collate(rows: list[dict]) -> dict[str, torch.Tensor]:
    """Return the rows padded to the longest of them."""
    ids = [torch.tensor(row["input_ids"]) for row in rows]
    return {
        "input_ids": nn.utils.rnn.pad_sequence(ids, batch_first=True),
        "attention_mask": nn.utils.rnn.pad_sequence([torch.ones_like(each) for each in ids], batch_first=True),
        "labels": torch.tensor([row["label"] for row in rows]),
    }


def main(job_folder: Path, result: Path) -> None:
    job = json.loads((job_folder / "job.json").read_text())
    watch = Watch()
    rows = [row for window in job["windows"] for row in window]
    arguments = TrainingArguments(
        output_dir=str(job_folder / "trainer"),
        **terms_of(job),
        bf16=True,
        optim="adamw_torch_fused",
        dataloader_pin_memory=False,
        remove_unused_columns=False,
    )
    model = Classifier(job, load_file(job_folder / "head.safetensors"))
    InOrder(model=model, args=arguments, train_dataset=rows, data_collator=collate, callbacks=[watch]).train()
    total, tokens = 0, []
    for window in job["windows"]:
        total += sum(len(row["input_ids"]) for row in window)
        tokens.append(total)
    versions = {name: version(name) for name in ("torch", "transformers", "accelerate")}
    settings = {"bf16": True, "optim": "adamw_torch_fused", "padding": "longest", "threads": torch.get_num_threads()}
    facts = {"ends": watch.ends, "cpu_ends": watch.cpu_ends, "losses": watch.losses, "tokens": tokens}
    result.write_text(json.dumps({**facts, "versions": versions, "settings": settings}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
