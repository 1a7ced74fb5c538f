"""Unsloth on a prepared job: its own model, adapters and checkpointing under TRL's SFTTrainer, as its notebooks do.

Run by Unsloth's own interpreter, on a GPU: python unsloth_sft.py JOB_FOLDER RESULT.json
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

from unsloth import FastLanguageModel  # isort: skip  (it wants to be first)
import torch
from trl import SFTConfig, SFTTrainer

from bench.gpu_memory import gpu_memory
from bench.peers.trl_sft import dataset_of
from bench.peers.watch import Watch, terms_of

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def main(job_folder: Path, result: Path) -> None:
    job = json.loads((job_folder / "job.json").read_text())
    tuner, settings = job["tuner"], dict(job["peers"]["unsloth"])
    dtype = getattr(torch, settings.pop("dtype", "bfloat16"))
    model, tokenizer = FastLanguageModel.from_pretrained(
        job["model"],
        max_seq_length=job["max_length"],
        dtype=dtype,
        load_in_4bit=tuner["kind"] == "qlora",
        full_finetuning=tuner["kind"] == "full",
    )
    if tuner["kind"] != "full":
        model = FastLanguageModel.get_peft_model(
            model,
            r=tuner["rank"],
            lora_alpha=tuner["alpha"],
            target_modules=LINEAR,
            use_gradient_checkpointing="unsloth" if job["checkpointing"] else False,
        )
    watch = Watch()
    trainer = SFTTrainer(
        model=model,
        processing_class=tokenizer,
        args=SFTConfig(
            output_dir=str(job_folder / "unsloth"),
            **terms_of(job),
            completion_only_loss=True,
            train_sampling_strategy="sequential",
            shuffle_dataset=False,
            max_length=None,
            **settings,
        ),
        train_dataset=dataset_of(job["windows"]),
        callbacks=[watch],
    )
    trainer.train()
    names = ("unsloth", "trl", "torch", "transformers", "peft")
    facts = {"ends": watch.ends, "cpu_ends": watch.cpu_ends, "losses": watch.losses, "tokens": watch.tokens}
    versions = {name: version(name) for name in names}
    settings["dtype"] = str(dtype)
    result.write_text(json.dumps({**facts, **gpu_memory(), "versions": versions, "settings": settings}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
