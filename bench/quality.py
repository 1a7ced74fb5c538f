"""How good is what a while of training gives? The same rows and seconds of one core, each program by its defaults.

How many updates fit into the seconds each program finds by a short training before, so that its schedule ends with
them. The answers to the test rows are judged here, by one rule for all.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from bench import machine
from bench.pairs import Measured, run_process
from bench.told import line_of_machine, settings_of, table, versions_of
from bench.training import JOBS, ROOT, Options, environment_of, tenfold_python
from tenfold.evaluation.statistics import bootstrap, paired_test
from tenfold.models.sources import resolve
from tenfold.paths import cache_root
from tenfold.recipe.sections import ModelSection


@dataclass(frozen=True)
class Peer:
    """Another program: its name, its environment under `.venv-peers/` and its script."""

    title: str
    environment: str
    script: str
    learning_rate: float | None = None
    """In place of its default."""

    @property
    def command(self) -> list[str]:
        """What starts it."""
        named = os.environ.get(f"TENFOLD_BENCH_{self.environment.replace('-', '_').upper()}_PYTHON")
        python = named or str(ROOT / ".venv-peers" / self.environment / "bin/python")
        return [python, str(ROOT / "bench/peers" / self.script)]


FEATURES = Peer("sentence-transformers and scikit-learn", "sentence-transformers", "sklearn_quality.py")
"""What needs no training: features of a frozen encoder, and a linear model on them."""


def same_label(answer: str, reference: str) -> float:
    """Return 1 where the class is right, else 0."""
    return float(answer == reference)


@dataclass(frozen=True)
class QualityRow:
    """One task, Tenfold by one or several recipes, and the peers that do the same."""

    name: str
    title: str
    told: str
    """What is to be told, in a sentence or two."""
    model: str
    """A folder, or the name of a built-in model."""
    rows: Callable[[int], dict[str, list[dict[str, Any]]]]
    """Gives for a seed the rows of `train` and `test`."""
    recipes: Mapping[str, dict[str, Any]]
    """Of Tenfold, by what they are called."""
    peers: tuple[Peer, ...]
    seconds: float
    judge: Callable[[str, str], float]
    metric: str
    max_length: int
    seeds: tuple[int, ...] = (0, 1, 2)
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What else the job says."""

    def measure(self, options: Options) -> dict[str, Any]:
        """Return the row's figures, ready for JSON.

        Raises:
            RuntimeError: a side failed; with the end of what it printed.
        """
        before = machine.load()
        threads = machine.pin(options.cores)
        environment = environment_of(threads)
        ours = [tenfold_python(), "-m", "bench.ours.quality"]
        sides = {**dict.fromkeys(self.recipes, ours), **{peer.title: peer.command for peer in self.peers}}
        found: dict[str, list[Measured]] = {name: [] for name in sides}
        worth: dict[str, list[list[float]]] = {name: [] for name in sides}
        for seed in self.seeds:
            rows = self.rows(seed)
            for name, command in sides.items():
                folder = self._job(name, seed, rows)
                cache = _empty_cache(folder)
                own = {**environment, "TENFOLD_CACHE": str(cache)}
                measured = run_process([*command, str(folder)], result=folder / "result.json", environment=own)
                shutil.rmtree(cache)
                found[name].append(measured)
                answers = zip(measured.facts["predictions"], rows["test"], strict=True)
                worth[name].append([self.judge(answer, row["reference"]) for answer, row in answers])
                print(f"  {name}, seed {seed}: {fmean(worth[name][-1]):.3f}, {_spent(measured)}", flush=True)
        return {
            "kind": "quality",
            "name": self.name,
            "title": self.title,
            "told": self.told,
            **machine.circumstances(before, pinned_to=options.cores, threads=threads),
            "model": Path(self.model).name,
            "metric": self.metric,
            "seconds": self.seconds,
            "seeds": len(self.seeds),
            "rows": {side: len(rows[side]) for side in ("train", "test")},
            "sides": {name: _figures(found[name], worth[name]) for name in sides},
            "differences": {
                f"{own} against {peer.title}": _difference(worth[own], worth[peer.title])
                for own in self.recipes
                for peer in self.peers
            },
        }

    def _job(self, name: str, seed: int, rows: Mapping[str, list[dict[str, Any]]]) -> Path:
        folder = JOBS / self.name / f"{name.replace(' ', '-')}-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        for file, side in (("train", "train"), ("asked", "test")):
            hidden = ("reference", "label") if side == "test" else ()
            lines = [json.dumps({key: value for key, value in row.items() if key not in hidden}) for row in rows[side]]
            (folder / f"{file}.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        recipe = self.recipes.get(name, {})
        rates = {peer.title: peer.learning_rate for peer in self.peers}
        data = {"train": str(folder / "train.jsonl"), "test_share": 0.0, "max_length": self.max_length}
        job = {
            "model": str(resolve(ModelSection(name=self.model)).folder),
            "seed": seed,
            "seconds": self.seconds,
            "max_length": self.max_length,
            "learning_rate": rates.get(name),
            "classes": sorted({row["label"] for row in rows["train"] if "label" in row}),
            **rows,
            **self.settings,
            "recipe": {
                "model": self.model,
                **recipe,
                "data": {**data, **recipe.get("data", {})},
                "evaluation": {"retention": False, "samples": 0},
                "gate": {"allow": ["overlap", "truncation"]},
            },
        }
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        return folder


def _empty_cache(folder: Path) -> Path:
    """Make a cache that holds nothing but models as they were downloaded."""
    cache = folder / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    cache.mkdir()
    (cache / "models").symlink_to(cache_root() / "models")
    return cache


def _spent(side: Measured) -> str:
    return f"{side.facts['train_seconds']:.0f} s, {side.facts['updates']} updates"


def _figures(runs: Sequence[Measured], worth: Sequence[Sequence[float]]) -> dict[str, Any]:
    interval = bootstrap(_over_seeds(worth))
    return {
        "value": [round(number, 4) for number in (interval.mean, interval.low, interval.high)],
        "by_seed": [round(fmean(each), 4) for each in worth],
        "train_seconds": [round(run.facts["train_seconds"], 1) for run in runs],
        "updates": [run.facts["updates"] for run in runs],
        "settings": runs[0].facts["settings"],
        "versions": runs[0].facts["versions"],
    }


def _over_seeds(worth: Sequence[Sequence[float]]) -> list[float]:
    """Return each test row's mean over the seeds."""
    return [fmean(item) for item in zip(*worth, strict=True)]


def _difference(ours: Sequence[Sequence[float]], peers: Sequence[Sequence[float]]) -> dict[str, Any]:
    test = paired_test(_over_seeds(peers), _over_seeds(ours))
    mean = test.difference
    return {"value": [round(number, 4) for number in (mean.mean, mean.low, mean.high)], "verdict": test.verdict}


def section(result: dict[str, Any]) -> str:
    """Return the row's part of the page."""
    rows = {
        name: [
            f"{_with_interval(side['value'], plus='')}",
            f"{fmean(side['train_seconds']):,.1f}",
            f"{fmean(side['updates']):,.0f}" if any(side["updates"]) else "–",
            settings_of(side["settings"]),
            versions_of(side["versions"]),
        ]
        for name, side in result["sides"].items()
    }
    verdicts = {"rose": "**better**", "fell": "**worse**", "no clear change": "no clear difference"}
    found = "\n".join(
        f"* {name}: {_with_interval(each['value'], plus='+')}, {verdicts[each['verdict']]}."
        for name, each in result["differences"].items()
    )
    heads = ["", result["metric"], "seconds of training", "updates", "settings", "versions"]
    return f"""## {result["title"]} (`{result["name"]}`)

{result["told"]} {result["rows"]["train"]:,} training rows, {result["rows"]["test"]:,} test rows,
{result["seeds"]} seeds; about {result["seconds"]:,.0f} seconds of one core's training for each, but for what ends by
itself: as many updates as a short training before says. The mean over seeds with its 95 % interval over test rows.
**Tenfold's usual rates were chosen by looking at these very test rows** (docs/decisions.md), the peers' defaults were
not: see what a peer reaches at Tenfold's rate before you believe a lead.

{table(heads, rows)}

{found}
* {line_of_machine(result)}
"""


def _with_interval(value: Sequence[float], *, plus: str) -> str:
    middle, low, high = (f"{number:{plus}.3f}" for number in value)
    return f"{middle} [{low}, {high}]"
