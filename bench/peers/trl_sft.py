"""TRL's SFTTrainer on a prepared job, with the settings that its documentation and our trials found fastest here.

Run by TRL's own interpreter: python trl_sft.py JOB_FOLDER RESULT.json
"""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path

from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from bench.gpu_memory import gpu_memory
from bench.peers.watch import Watch, terms_of

SETTINGS = {
    "bf16": True,
    # several rows in one line without padding; transformers keeps rows apart by their positions, on a CPU too
    "padding_free": True,
    # both are on by default, and cost time to save memory
    "gradient_checkpointing": False,
    "dataloader_pin_memory": False,
}
DTYPE = {"lora": "bfloat16", "full": "float32"}
"""LoRA over a bf16 base was the faster; full fine-tuning in bf16 alone rounds most updates away."""


def main(job_folder: Path, result: Path) -> None:
    job = json.loads((job_folder / "job.json").read_text())
    overrides = json.loads(os.environ.get("TENFOLD_BENCH_TRL_SETTINGS", "{}"))
    dtype = overrides.pop("dtype", DTYPE.get(job["tuner"]["kind"], "bfloat16"))
    settings = {**SETTINGS, **overrides}
    watch = Watch()
    trainer = SFTTrainer(
        model=job["model"],
        args=SFTConfig(
            output_dir=str(job_folder / "trl"),
            **terms_of(job),
            completion_only_loss=True,
            train_sampling_strategy="sequential",
            shuffle_dataset=False,
            max_length=None,  # the job was cut already
            model_init_kwargs={"dtype": dtype, **_quantized(job["tuner"])},
            **settings,
        ),
        train_dataset=dataset_of(job["windows"]),
        peft_config=_peft_config(job["tuner"]),
        callbacks=[watch],
    )
    if job["start"]:
        _start_from(trainer.model, Path(job["start"]))
    trainer.train()
    versions = {name: version(name) for name in ("trl", "torch", "transformers", "peft")}
    result.write_text(
        json.dumps(
            {
                "ends": watch.ends,
                "cpu_ends": watch.cpu_ends,
                "losses": watch.losses,
                "tokens": watch.tokens,
                "versions": versions,
                "settings": {**settings, "dtype": dtype, "optim": str(trainer.args.optim.value)},
                **gpu_memory(),
            }
        )
    )


def dataset_of(windows: list[list[dict[str, list[int]]]]) -> Dataset:
    """Return the rows of a job, tokenised already, in its order."""
    rows = [row for window in windows for row in window]
    return Dataset.from_dict(
        {
            "input_ids": [row["input_ids"] for row in rows],
            "completion_mask": [row["supervised"] for row in rows],
        }
    )


def _peft_config(tuner: dict[str, object]) -> object:
    if tuner["kind"] == "full":
        return None
    from peft import LoraConfig

    return LoraConfig(r=tuner["rank"], lora_alpha=tuner["alpha"], target_modules="all-linear")


def _quantized(tuner: dict[str, object]) -> dict[str, object]:
    if tuner["kind"] != "qlora":
        return {}
    from transformers import BitsAndBytesConfig

    four_bits = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype="bfloat16",
    )
    return {"quantization_config": four_bits}


def _start_from(model: object, folder: Path) -> None:
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    report = set_peft_model_state_dict(model, load_file(folder / "adapter_model.safetensors"))
    assert not report.unexpected_keys, report.unexpected_keys


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
