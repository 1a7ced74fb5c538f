"""What a comparison saves: all ways in one, beside each of them alone with nothing remembered from the others.

Both do the same work by the same terms: rows, search of the learning rate, seeds, scores. Together they share what is
the same (row 0's scores, features, a teacher's lessons, tokens) and those clearly behind get fewer seeds.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from bench import machine
from bench.told import line_of_machine
from bench.training import ROOT, Options
from tenfold.artifact import Artifact
from tenfold.compare.grid import load_grid
from tenfold.compare.judged import judged
from tenfold.engine.store import code_version
from tenfold.paths import cache_root

JOBS = ROOT / "build/bench"

AIM = 0.5
"""The largest share that was hoped for."""

FIGURES = "figures.jsonl"
"""In a job's folder: a line for each comparison that has ended, which is not made again by the same code."""


@dataclass(frozen=True)
class SharingRow:
    """A comparison that is shipped, by smaller terms, and what must have been run before it."""

    name: str
    title: str
    grid: Path
    needs: Path
    updates_a_run: int
    seeds: int
    rates: tuple[float, ...]

    def measure(self, options: Options) -> dict[str, Any]:
        """Return the row's figures, ready for JSON; each is written down as it comes (`FIGURES` in the job's folder).

        Raises:
            RuntimeError: a comparison failed, with the end of what it printed; or a way in it has no score.
        """
        before = machine.load()
        threads = machine.pin(options.cores)
        os.environ["OMP_NUM_THREADS"] = str(threads)
        folder = JOBS / self.name
        folder.mkdir(parents=True, exist_ok=True)
        _carry_out(self.needs)
        tree = self._tree()
        together = _compared(tree, folder / "together")
        apart = {name: _compared({**tree, "techniques": [name]}, folder / name) for name in together.scores}
        return {
            "kind": "sharing",
            "name": self.name,
            "title": self.title,
            **machine.circumstances(before, pinned_to=options.cores, threads=threads),
            "grid": str(self.grid.relative_to(ROOT)),
            "updates_a_run": self.updates_a_run,
            "seeds": self.seeds,
            "rates": list(self.rates),
            "together_cpu_seconds": round(together.cpu_seconds, 1),
            "apart_cpu_seconds": {name: round(found.cpu_seconds, 1) for name, found in apart.items()},
            "share": round(together.cpu_seconds / sum(found.cpu_seconds for found in apart.values()), 3),
            "fewer_seeds": sorted(name for name in apart if together.num_seeds[name] < apart[name].num_seeds[name]),
            "same_scores": all(together.scores[name] == found.scores[name] for name, found in apart.items()),
        }

    def _tree(self) -> dict[str, Any]:
        """Return the shipped grid with paths from anywhere, and so many updates for each run in place of a budget."""
        tree = yaml.safe_load(self.grid.read_text(encoding="utf-8"))
        parts = self.grid.parent
        tree["recipe"] = str(parts / tree["recipe"])
        tree["recipes"] = {name: str(parts / file) for name, file in tree.get("recipes", {}).items()}
        tree.pop("budget", None)
        terms = {"per_run": self.updates_a_run, "binds": "updates", "seeds": self.seeds, "rates": list(self.rates)}
        return {**tree, **terms}


def _carry_out(recipe: Path) -> None:
    subprocess.run([sys.executable, "-m", "tenfold", "run", str(recipe)], cwd=ROOT, check=True)


@dataclass(frozen=True)
class _Compared:
    cpu_seconds: float
    scores: dict[str, float]
    """Of each way, with its first seed."""
    num_seeds: dict[str, int]
    tree: dict[str, Any]
    code: str


def _compared(tree: dict[str, Any], folder: Path) -> _Compared:
    """Carry out the comparison with an empty cache, but for models as they were downloaded; its scores stay, no more.

    Raises:
        RuntimeError: a way in it was refused, failed with a seed or a rate, or has no score: its time is too short.
    """
    known = _known(tree, folder)
    if known is not None:
        return known
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "cache").mkdir(parents=True)
    (folder / "cache" / "models").symlink_to(cache_root() / "models")
    (folder / "grid.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    out = folder / "out"
    command = [sys.executable, "-m", "tenfold", "compare", str(folder / "grid.yaml"), "--out", str(out)]
    seconds = _cpu_seconds(command, folder)
    record = json.loads((out / "comparison.json").read_text(encoding="utf-8"))
    tasks = tuple(load_grid(folder / "grid.yaml")[1].tasks)
    runs = {entry["name"]: [Artifact.open(run) for run in entry["runs"]] for entry in record["entries"]}
    first = {name: judged(each[0], tasks) for name, each in runs.items() if each}
    scores = {name: found.measure.value for name, found in first.items() if found is not None}
    _require_scores(record, scores)
    found = _Compared(seconds, scores, {name: len(each) for name, each in runs.items()}, tree, code_version())
    print(f"  {folder.name}: {seconds:.0f} CPU seconds", flush=True)
    with (folder.parent / FIGURES).open("a", encoding="utf-8") as figures:
        figures.write(json.dumps({"comparison": folder.name, **asdict(found)}) + "\n")
    for large in (folder / "cache", out / "runs"):
        shutil.rmtree(large)
    return found


def _known(tree: dict[str, Any], folder: Path) -> _Compared | None:
    """Return what the comparison came to before, if that was the same one and the same code."""
    path = folder.parent / FIGURES
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        figure = json.loads(line)
        if (figure.pop("comparison"), figure["tree"], figure["code"]) == (folder.name, tree, code_version()):
            return _Compared(**figure)
    return None


def _require_scores(record: Mapping[str, Any], scores: Mapping[str, float]) -> None:
    missing = [f"{name}: does not apply, {why}" for name, why in record["refused"].items()]
    for entry in record["entries"]:
        failures = [*entry["failures"], *entry["search_failures"]]
        if failures or entry["name"] not in scores:
            missing.append(f"{entry['name']}: {'; '.join(failures) or 'no score'}")
    if missing:
        raise RuntimeError("these ways were not carried out whole:\n" + "\n".join(missing))


def _cpu_seconds(command: Sequence[str], folder: Path) -> float:
    """Return the processor's seconds of `command` and of all processes that it waited for."""
    with (folder / "said.log").open("w") as said:
        environment = {**os.environ, "TENFOLD_CACHE": str(folder / "cache")}
        process = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=subprocess.STDOUT, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{(folder / 'said.log').read_text()[-3000:]}")
    return usage.ru_utime + usage.ru_stime


def section(result: dict[str, Any]) -> str:
    """Return the row's part of the page."""
    ways = "\n".join(f"| {name} | {seconds:,.0f} |" for name, seconds in result["apart_cpu_seconds"].items())
    total = sum(result["apart_cpu_seconds"].values())
    fewer = ", ".join(result["fewer_seeds"]) or "none"
    return f"""## {result["title"]} (`{result["name"]}`)

`{result["grid"]}` with {result["updates_a_run"]} updates a run, {len(result["rates"])} rates and {result["seeds"]}
seeds: in one comparison, and each way in one of its own, every time with an empty cache (but for downloaded models).
Together it takes **{result["share"]:.2f}** of the processor's time; the aim of 0.5 or less is
{"met" if result["share"] <= AIM else "**missed**"}. Ways share scores of row 0, features, a teacher's lessons and
tokens, and those clearly behind get fewer seeds; with so few updates most of the time goes into starting and scoring,
which every run does for itself.

| way, compared by itself | CPU seconds |
|---|---|
{ways}
| sum | {total:,.0f} |
| **all in one comparison** | **{result["together_cpu_seconds"]:,.0f}** |

* Clearly behind after the search, and so given fewer seeds together: {fewer}.
* Scores of the first seed are the same together and apart: {"yes" if result["same_scores"] else "**no**"}.
* Measured once: it takes as long as two comparisons. {line_of_machine(result)}
"""
