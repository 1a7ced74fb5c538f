"""TRL's SFTTrainer for a while on rows to answer in words: python trl_quality.py JOB_FOLDER RESULT.json."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoTokenizer
from trl import SFTConfig, SFTTrainer

from bench.peers.watch import train_for

SETTINGS = {
    # its documentation's rate for LoRA, ten times the one of full tuning, and what it names a good adapter
    "learning_rate": 2e-4,
    # found fastest here, as in trl_sft.py
    "bf16": True,
    "padding_free": True,
    "gradient_checkpointing": False,
    "dataloader_pin_memory": False,
}
LORA = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear"}
BATCH = 16
"""Rows that are answered at once."""


def main(folder: Path, result: Path) -> None:
    job = json.loads((folder / "job.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    turns = [row["messages"] for row in job["train"]]
    rows = Dataset.from_list([{"prompt": each[:-1], "completion": each[-1:]} for each in turns])

    def make(max_steps, callbacks):
        arguments = SFTConfig(
            output_dir=str(folder / "trl"),
            max_steps=max_steps,
            seed=job["seed"],
            max_length=None,  # no row is longer than what a decoder may read
            model_init_kwargs={"dtype": "bfloat16"},
            use_cpu=True,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            **(SETTINGS if job["learning_rate"] is None else {**SETTINGS, "learning_rate": job["learning_rate"]}),
        )
        return SFTTrainer(
            model=job["model"],
            args=arguments,
            train_dataset=rows,
            processing_class=tokenizer,
            peft_config=LoraConfig(**LORA),
            callbacks=callbacks,
        )

    trainer, spent = train_for(job["seconds"], make)
    predictions = _answers(trainer.model, tokenizer, job)
    versions = {name: version(name) for name in ("trl", "transformers", "peft", "torch")}
    settings = {
        **SETTINGS,
        **LORA,
        "learning_rate": trainer.args.learning_rate,
        "batch_size": trainer.args.per_device_train_batch_size,
    }
    result.write_text(json.dumps({"predictions": predictions, **spent, "settings": settings, "versions": versions}))


@torch.no_grad()
def _answers(model, tokenizer, job: dict) -> list[str]:
    """Return the likeliest words after each test row's prompt."""
    model.eval()
    tokenizer.padding_side = "left"
    answers: list[str] = []
    for start in range(0, len(job["test"]), BATCH):
        prompts = [row["messages"] for row in job["test"][start : start + BATCH]]
        asked = tokenizer.apply_chat_template(
            prompts, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )
        with torch.autocast("cpu", torch.bfloat16):
            written = model.generate(**asked, max_new_tokens=job["max_new_tokens"], do_sample=False)
        answers += tokenizer.batch_decode(written[:, asked["input_ids"].shape[1] :], skip_special_tokens=True)
    return answers


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
