"""TRL's preparation of rows, from a file to an epoch of batches: python trl_prepare.py JOB_FOLDER RESULT.json.

Run with TRL's own interpreter. What is timed is what SFTTrainer calls: `datasets.load_dataset`, its `_prepare_dataset`
(chat template, tokens, mask, packing), then all batches of its data loader. Its model has one layer of 8 numbers, so
that the memory is the rows'.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from datasets import Dataset, load_dataset
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
from trl import SFTConfig, SFTTrainer

from bench.peak import OwnMemory

SETTINGS = {"packing": True, "packing_strategy": "bfd", "completion_only_loss": True}


def main(job_folder: Path, result: Path) -> None:
    job = json.loads((job_folder / "job.json").read_text())
    with tempfile.TemporaryDirectory(dir=job_folder) as scratch:
        trainer = open_trainer(job, scratch)
        with OwnMemory() as memory:
            clocks = [now()]
            rows = load_dataset("json", data_files=job["trl_rows"], split="train", cache_dir=scratch)
            trainer.train_dataset = trainer._prepare_dataset(
                rows, trainer.processing_class, trainer.args, True, None, "train"
            )
            clocks.append(now())
            tokens = supervised = 0
            for batch in trainer.get_train_dataloader():
                tokens += int(batch["input_ids"].numel())
                supervised += int((batch["labels"] != -100).sum())
            clocks.append(now())
    versions = {name: version(name) for name in ("trl", "datasets", "tokenizers", "transformers", "torch")}
    facts = {"clocks": clocks, "tokens": tokens, "supervised": supervised, "own_bytes": memory.peak_bytes}
    result.write_text(json.dumps({**facts, "settings": SETTINGS, "versions": versions}))


def open_trainer(job: dict, scratch: str) -> SFTTrainer:
    """Return a trainer that has met one row."""
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    arguments = SFTConfig(
        output_dir=scratch,
        max_length=job["max_length"],
        per_device_train_batch_size=job["batch_size"],
        use_cpu=True,
        dataloader_pin_memory=False,
        report_to="none",
        disable_tqdm=True,
        **SETTINGS,
    )
    turns = ({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"})
    one = Dataset.from_list([{"prompt": [turns[0]], "completion": [turns[1]]}])
    model = LlamaForCausalLM(config)
    return SFTTrainer(model=model, args=arguments, train_dataset=one, processing_class=tokenizer)


def now() -> tuple[float, float]:
    """Return the time of the wall and of the processor."""
    return time.perf_counter(), time.process_time()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
