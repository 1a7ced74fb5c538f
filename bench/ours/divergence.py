"""How far students are from their teacher: python -m bench.ours.divergence JOB_FOLDER RESULT.json.

The forward KL divergence over the whole vocabulary, in nats, its mean over the job's supervised tokens, in fp32, by
plain transformers.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel


def main(job_folder: Path, result: Path) -> None:
    job = json.loads((job_folder / "job.json").read_text())
    rows = [row for window in job["windows"][: job["updates_per_epoch"]] for row in window]
    teacher = said(job["teacher"], rows)
    folders = {name: job_folder / f"{name}-student" for name in ("trl", "tenfold")}
    students = {"start": Path(job["student"]), **{name: path for name, path in folders.items() if path.is_dir()}}
    found = {name: divergence(teacher, said(str(folder), rows)) for name, folder in students.items()}
    result.write_text(json.dumps({"divergence": found}))


@torch.no_grad()
def said(model: str, rows: list[dict]) -> list[torch.Tensor]:
    """Return the log-probabilities [S, V] before each supervised token of each row."""
    network: PreTrainedModel = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    found = []
    for row in rows:
        logits = network(torch.tensor([row["input_ids"]])).logits[0, :-1]
        found.append(logits[torch.tensor(row["supervised"][1:])].log_softmax(-1))
    return found


def divergence(teacher: list[torch.Tensor], student: list[torch.Tensor]) -> float:
    """Return the mean over positions of KL(teacher ‖ student)."""
    pairs = zip(teacher, student, strict=True)
    each = [(theirs.exp() * (theirs - ours)).sum(-1) for theirs, ours in pairs]
    return float(torch.cat(each).mean())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
