"""Where a result came from: versions, platform, git state, and the hashes of model, template, tokenizer and rows."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import torch

from tenfold import __version__
from tenfold.engine.store import installed_version
from tenfold.techniques.context import Run

PACKAGES = ("torch", "transformers", "peft", "tokenizers", "datasets", "safetensors", "bitsandbytes")


def provenance(run: Run) -> dict[str, object]:
    """Return what someone needs to know to make the same run again, as plain JSON values."""
    world = run.world
    return {
        "tenfold": __version__,
        "python": sys.version.split()[0],
        "packages": {name: found for name in PACKAGES if (found := installed_version(name))},
        "platform": platform.platform(),
        "processor_threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[1], 1),  # over the last five minutes: times of a busy machine say little
        "device": str(run.runtime.device),
        "precision": run.runtime.precision,
        "git": _git_state(),
        "model": {"name": world.files.name, "origin": world.files.origin, **vars(world.identity)},
        "data": {
            task.name: {
                name: {"source": side.rows.name, "rows": len(side.rows), "sha256": side.fingerprint}
                for name, side in task.sides.items()
            }
            for task in run.tasks
        },
        "needs": dict(world.needs),
        "route": vars(run.model.route),
        "seed": run.runtime.seed,
        "gate_allowed": [{"rule": finding.rule, "found": finding.problem.found} for finding in world.allowed],
        "notes": [str(finding.problem) for finding in world.findings if finding.is_note],
        "stages": [
            {"name": result.name, "updates": result.updates, "from_store": result.from_store} for result in run.results
        ],
    }


def _git_state() -> dict[str, str] | None:
    """Return commit and cleanliness of the working directory's repository, where there is one."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit, "state": "clean" if not _git("status", "--porcelain") else "modified"}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
