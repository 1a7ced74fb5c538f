"""What is killed: a run of every technique on tiny models, with all that writes to the disk on its way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.tiny_models import tiny_bert, tiny_model
from tests.tiny_tokenizers import byte_tokenizer, framed_tokenizer

Settings = dict[str, Any]

COLOURS = ("red", "green", "blue", "grey")
LORA: Settings = {"kind": "lora", "rank": 4, "dropout": 0.2}  # dropout, so that random state matters
BOTTLENECK: Settings = {"kind": "bottleneck", "reduction": 4, "dropout": 0.2}
LABELLED: Settings = {"train": "../labelled.jsonl", "test_share": 0.25}
TWO_TASKS: Settings = {"test_share": 0.2, "tasks": {"lamps": "../lamps.jsonl", "words": "../words.jsonl"}}


@dataclass(frozen=True)
class Workload:
    """One recipe that is run to be killed; `sections` are those in which it differs from `BASIS`."""

    technique: str
    sections: Mapping[str, Any]


BASIS: Settings = {
    "model": {"name": "../llama"},
    "tuner": LORA,
    "data": {"train": "../lamps.jsonl", "test_share": 0.2, "validation_share": 0.1},
    "optim": {"batch_size": 8, "max_updates": 6, "learning_rate": 1e-2},
    "evaluation": {"max_rows": 4, "max_new_tokens": 4, "retention": False, "every": 3},
    "runtime": {"precision": "fp32", "device": "cpu", "threads": 1, "checkpoint_every": 2},
    "output": "out",
}

SEQUENTIAL: Settings = {
    "stages": [{"task": "lamps", "updates": 3}, {"task": "words", "updates": 3}],
    "replay": 0.25,
    "ewc": 50.0,
    "fisher_rows": 4,
    "self_distillation": 0.5,
}
CROSS_LINGUAL: Settings = {
    "source": ["lamps"],
    "few_shot": [4],
    "few_shot_updates": 2,
    "language_text": {"lamps": "../lamps.txt", "words": "../words.txt"},
}
STAGED: Settings = {"data": TWO_TASKS, "evaluation": {"every": None}}
ENCODER: Settings = {"model": {"name": "../bert"}, "data": LABELLED}

WORKLOADS: dict[str, Workload] = {
    "instruction": Workload("instruction", {}),
    "parameter_efficient": Workload("parameter_efficient", {"technique": {"merge": True, "compare_full": True}}),
    "task_specific": Workload(
        "task_specific",
        {**ENCODER, "tuner": {"kind": "full"}, "technique": {"domain": "../lamps.txt", "domain_updates": 3}},
    ),
    "transfer": Workload("transfer", {**ENCODER, "tuner": {"kind": "full"}, "technique": {"step_epochs": 0.2}}),
    "multi_task": Workload(
        "multi_task",
        {**STAGED, "technique": {"weighting": "uncertainty", "compare_alone": True}, "optim": {"epochs": 1}},
    ),
    "sequential": Workload("sequential", {**STAGED, "technique": SEQUENTIAL, "optim": {"max_updates": None}}),
    "feature_based": Workload(
        "feature_based",
        {
            **ENCODER,
            "tuner": {"kind": "frozen"},
            "technique": {
                "estimators": [{"name": "LogisticRegression"}, {"name": "KNeighborsClassifier"}],
                "layers": [-1, 0],
                "pooling": ["mean"],
                "folds": 3,
            },
            "evaluation": {"every": None},
        },
    ),
    "adapters": Workload(
        "adapters",
        {**STAGED, "tuner": BOTTLENECK, "technique": {"fuse": ["lamps", "words"], "fuse_on": "words"}},
    ),
    "distillation": Workload(
        "distillation", {"technique": {"teacher": "../teacher", "student": {"layers": 1}, "compare": True, "top_k": 16}}
    ),
    "distillation of answers": Workload(
        "distillation", {"technique": {"teacher": "../taught-words/out", "level": "sequence"}}
    ),
    "distillation of labels": Workload(
        "distillation", {**ENCODER, "tuner": {"kind": "full"}, "technique": {"teacher": "../taught-labels/out"}}
    ),
    "cross_lingual": Workload("cross_lingual", {**STAGED, "tuner": BOTTLENECK, "technique": CROSS_LINGUAL}),
}
"""Every technique, one that caches in three ways three times; paths lead from a folder beside what `lay_out` makes."""

TEACHERS: dict[str, Workload] = {
    "taught-labels": Workload(
        "task_specific", {**ENCODER, "tuner": {"kind": "full"}, "optim": {"learning_rate": 3e-3}}
    ),
    "taught-words": Workload(
        "instruction",
        {
            "tuner": {"kind": "full"},
            "optim": {"batch_size": 16, "learning_rate": 5e-3, "max_updates": None, "epochs": 30},
            "evaluation": {"every": None},
        },
    ),
}
"""Runs beside those that are killed, which some of them learn from."""


def write_recipe(folder: Path, workload: Workload) -> None:
    """Write `recipe.yaml` into `folder`, whose parent holds what `lay_out` makes."""
    folder.mkdir(parents=True, exist_ok=True)
    sections = {"technique": {}, **workload.sections}
    tree: Settings = dict(BASIS)
    for name, values in sections.items():
        tree[name] = values if name in ("tuner", "technique") or "tasks" in values else {**tree.get(name, {}), **values}
    tree["technique"] = {"kind": workload.technique, **sections["technique"]}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")


def lay_out(folder: Path) -> None:
    """Write the tiny models and the rows that the recipes name, and the recipes of `TEACHERS`."""
    rows = range(48)
    words = ("zero", "one", "two", "three")
    tables = {
        "lamps": [{"prompt": f"lamp {n} {COLOURS[n % 4]}", "completion": f"set {COLOURS[n % 4]}"} for n in rows],
        "words": [{"prompt": f"say {n}", "completion": words[n % 4]} for n in rows],
        "labelled": [{"text": f"lamp {n} {COLOURS[n % 4]}", "label": COLOURS[n % 4]} for n in rows],
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table), encoding="utf-8")
    for name in ("lamps", "words"):
        (folder / f"{name}.txt").write_text("\n\n".join(f"{name} {n}" for n in range(40)), encoding="utf-8")
    framed, byte = framed_tokenizer(), byte_tokenizer()
    tiny_bert(vocab_size=len(framed)).save_pretrained(folder / "bert")
    framed.save_pretrained(folder / "bert")
    for name, layers, seed in (("llama", 2, 0), ("teacher", 3, 5)):
        sizes: dict[str, Any] = {"num_hidden_layers": layers, "max_position_embeddings": 512}
        model = tiny_model("llama", seed=seed, vocab_size=len(byte), eos_token_id=byte.eos_token_id, **sizes)
        model.save_pretrained(folder / name)
        byte.save_pretrained(folder / name)
    for name, workload in TEACHERS.items():
        write_recipe(folder / name, workload)
