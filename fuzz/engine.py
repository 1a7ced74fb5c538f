"""One target under atheris, in a process of its own: `python -m fuzz.engine TARGET RUNS FOLDER`.

A breach of the promise is kept in `FOLDER/found` and the search goes on; libFuzzer itself ends the process for an input
that takes 20 s or 4 GB. What was counted is in `FOLDER/count.json` all the while.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["tenfold", "yaml", "jinja2"], enable_loader_override=False):
    from fuzz.promise import Target, attempt
    from fuzz.targets import TARGETS

SECONDS = 20
MEGABYTES = 4096


class Search:
    """Counts executions and keeps the first input of each kind of breach."""

    def __init__(self, target: Target, runs: int, folder: Path) -> None:
        self.target = target
        self.runs = runs
        self.folder = folder
        self.executions = 0
        self.breaches: dict[str, str] = {}
        self.started = time.perf_counter()

    def one(self, content: bytes) -> None:
        """Try one input."""
        self.executions += 1
        breach = attempt(self.target, content)
        if breach is not None and breach.key not in self.breaches:
            self.breaches[breach.key] = breach.told
            found = self.folder / "found"
            found.mkdir(exist_ok=True)
            name = hashlib.sha256(content).hexdigest()[:12]
            (found / name).write_bytes(content)
            (found / f"{name}.txt").write_text(f"{breach.key}\n{breach.told}\n", encoding="utf-8")
        if self.executions % 100 == 0 or self.executions >= self.runs:
            self.note()
        if self.executions >= self.runs:
            os._exit(0)  # libFuzzer would go on with what it has queued

    def note(self) -> None:
        """Write down how far the search has come."""
        seconds = time.perf_counter() - self.started
        count = {"executions": self.executions, "seconds": seconds, "breaches": sorted(self.breaches)}
        partial = self.folder / "count.partial"
        partial.write_text(json.dumps(count), encoding="utf-8")
        partial.replace(self.folder / "count.json")


def main() -> None:
    """Search until so many inputs have been tried."""
    name, runs, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    target = TARGETS[name]
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    search = Search(target, runs, folder)
    options = [
        f"-max_len={target.max_bytes}",
        f"-timeout={SECONDS}",
        f"-rss_limit_mb={MEGABYTES}",
        f"-artifact_prefix={folder}/ended-",
        "-verbosity=0",
        "-len_control=0",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus), *map(str, {seed.parent for seed in target.seeds})], search.one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
