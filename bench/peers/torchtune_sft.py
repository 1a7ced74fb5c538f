"""torchtune's LoRA recipe for one device on a prepared job, in bf16, with its chunked cross-entropy in one piece.

Run by torchtune's own interpreter: python torchtune_sft.py JOB_FOLDER RESULT.json
"""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
import torchtune
from omegaconf import OmegaConf
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Dataset

from bench.notes import Notes, rows_of

SETTINGS = {
    "dtype": "bf16",
    "loss": "CEWithChunkedOutputLoss",
    # its 8 pieces by default copy the output layer for each row of each piece: 2.6 times the time here
    "num_output_chunks": 1,
    "enable_activation_checkpointing": False,
    "enable_activation_offloading": False,
    "compile": False,
}
HERE = "bench.peers.torchtune_sft"


class Rows(Dataset):
    """The job's rows, tokenised already; counts the tokens that were asked for."""

    def __init__(self, job: dict) -> None:
        self.rows = rows_of(job)
        self.num_tokens = 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> dict[str, list[int]]:
        ids, labels = self.rows[place]
        self.num_tokens += len(ids)
        return {"tokens": ids, "labels": labels}


class Noting:
    """Notes each update when its loss is told."""

    def __init__(self) -> None:
        self.notes = Notes()

    def log_config(self, config: object) -> None:
        """Pass over it."""

    def log_dict(self, payload: dict, step: int) -> None:
        """Note the update."""
        self.notes.note(payload["loss"], rows(None).num_tokens)

    def close(self) -> None:
        """Do nothing: all is in memory."""


def rows(tokenizer: object) -> Rows:
    """Return the job's rows, the same each time."""
    global _rows
    if _rows is None:
        _rows = Rows(json.loads((Path(sys.argv[1]) / "job.json").read_text()))
    return _rows


_rows: Rows | None = None


def tokenizer() -> SimpleNamespace:
    """Return what the recipe asks of a tokenizer: what to pad with."""
    return SimpleNamespace(pad_id=0)


def constant(optimizer: torch.optim.Optimizer, num_training_steps: int, last_epoch: int) -> LambdaLR:
    """Return a rate that stays as it is."""
    return LambdaLR(optimizer, lambda step: 1.0)


def main(job_folder: Path, result: Path) -> None:
    job = json.loads((job_folder / "job.json").read_text())
    recipe_config = OmegaConf.create(config_of(job, job_folder / "torchtune"))
    # torchtune's recipes are files to run, no package to import
    file = Path(torchtune.__file__).parents[1] / "recipes/lora_finetune_single_device.py"
    recipe = runpy.run_path(str(file))["LoRAFinetuneRecipeSingleDevice"](cfg=recipe_config)
    recipe.setup(cfg=recipe_config)
    recipe.train()
    recipe._metric_logger.notes.write(result, settings=dict(SETTINGS), packages=("torchtune", "torchao"))


def config_of(job: dict, out: Path) -> dict[str, object]:
    """Return the recipe's configuration, as its YAML file has it."""
    model, tuner = Path(job["model"]), job["tuner"]
    shape = json.loads((model / "config.json").read_text())
    component = "_component_"
    return {
        "output_dir": str(out),
        "model": {
            component: "torchtune.models.llama3_2.lora_llama3_2",
            "lora_attn_modules": ["q_proj", "k_proj", "v_proj", "output_proj"],
            "apply_lora_to_mlp": True,
            "vocab_size": shape["vocab_size"],
            "num_layers": shape["num_hidden_layers"],
            "num_heads": shape["num_attention_heads"],
            "num_kv_heads": shape["num_key_value_heads"],
            "embed_dim": shape["hidden_size"],
            "intermediate_dim": shape["intermediate_size"],
            "max_seq_len": shape["max_position_embeddings"],
            "norm_eps": shape["rms_norm_eps"],
            "rope_base": int(shape["rope_parameters"]["rope_theta"]),
            "scale_factor": 1,
            "lora_rank": tuner["rank"],
            "lora_alpha": tuner["alpha"],
            "lora_dropout": 0.0,
        },
        "tokenizer": {component: f"{HERE}.tokenizer"},
        "checkpointer": {
            component: "torchtune.training.FullModelHFCheckpointer",
            "checkpoint_dir": str(model),
            "checkpoint_files": ["model.safetensors"],
            "recipe_checkpoint": None,
            "output_dir": str(out),
            "model_type": "LLAMA3_2",
        },
        "resume_from_checkpoint": False,
        "save_adapter_weights_only": True,
        "dataset": {component: f"{HERE}.rows"},
        "seed": 0,
        "shuffle": False,
        "batch_size": job["batch_size"],
        "optimizer": {component: "torch.optim.AdamW", "fused": True, "weight_decay": 0.0, "lr": job["learning_rate"]},
        "lr_scheduler": {component: f"{HERE}.constant"},
        "loss": {
            component: f"torchtune.modules.loss.{SETTINGS['loss']}",
            "num_output_chunks": SETTINGS["num_output_chunks"],
        },
        "epochs": 1,
        "max_steps_per_epoch": None,
        "gradient_accumulation_steps": 1,
        "clip_grad_norm": 1.0,
        "metric_logger": {component: f"{HERE}.Noting"},
        "log_every_n_steps": 1,
        "log_peak_memory_stats": False,
        "device": "cpu",
        **{key: value for key, value in SETTINGS.items() if key not in ("loss", "num_output_chunks")},
    }


if __name__ == "__main__":
    # by its name: torchtune looks its parts up, and would import this file a second time
    from bench.peers import torchtune_sft

    torchtune_sft.main(Path(sys.argv[1]), Path(sys.argv[2]))
