"""Rows for a GPU: Tenfold beside TRL with Liger and Unsloth, on models of 1B and 8B with random weights.

Speed and memory do not depend on what the weights are; the loss of random ones still falls, and has to agree.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import machine
from bench.estimating import Way, recipe_of
from bench.pairs import Measured, run_process, spread
from bench.preparing import model_folder
from bench.shapes import SHAPES, random_model
from bench.told import line_of_machine, range_of, settings_of, table, times, versions_of
from bench.training import JOBS, ROOT, WARM_UP, Options, mean_loss, seconds_of

OURS = "tenfold"
PEERS: Mapping[str, str] = {"trl": "TRL with Liger", "unsloth": "Unsloth"}
SCRIPTS: Mapping[str, Sequence[str]] = {
    "trl": [str(ROOT / "bench/peers/trl_sft.py")],
    "unsloth": [str(ROOT / "bench/peers/unsloth_sft.py")],
    OURS: ["-m", "bench.ours.train"],
}


@dataclass(frozen=True)
class GpuRow:
    """A tuner on a model of a shape, trained by all on the same tokens; rows of about one length need no padding."""

    name: str
    title: str
    shape: str
    tuner: Mapping[str, Any]
    learning_rate: float
    flops_per_weight: int
    """Products' FLOPs a weight and token: 2 each for forward, input gradient and, where it trains, weight gradient."""
    peers: Mapping[str, Mapping[str, object]]
    """What each peer's `SFTConfig` is given beside the job's own terms."""
    optim: Mapping[str, object] = field(default_factory=dict)
    """Settings of Tenfold's `optim` beside the job's."""
    checkpointing: bool = False
    length: int = 1024
    batch_size: int = 8
    aim: float = 1.2
    """Tenfold's tokens a second over Unsloth's."""
    loss_tolerance: float = 0.03

    def measure(self, options: Options) -> dict[str, Any]:
        """Return the row's figures, ready for JSON; peers without an environment are left out and named.

        Raises:
            RuntimeError: a side failed, with the end of what it printed; or it saw other tokens than the job's.
        """
        before = machine.load()
        folder = JOBS / self.name
        job = self.prepare(folder, options)
        there = [name for name in (*self.peers, OURS) if Path(python_of(name)).is_file()]
        runs: dict[str, list[Measured]] = {name: [] for name in there}
        for _ in range(options.pairs):
            for name in there:
                runs[name].append(_run([python_of(name), *SCRIPTS[name]], folder, name))
        fastest = [_run([python_of(OURS), "-m", "bench.ours.ceiling"], folder, "ceiling") for _ in range(3)]
        return {
            "kind": "accelerated",
            "name": self.name,
            "title": self.title,
            "aim": self.aim,
            **machine.circumstances(before, device=options.device, gpu=machine.gpu()),
            "job": {key: job[key] for key in ("parameters", "length", "batch_size", "checkpointing", "loss_tolerance")},
            "missing": [name for name in self.peers if name not in there],
            **figures(job, runs, [each.facts["gflops_per_second"] for each in fastest]),
        }

    def prepare(self, folder: Path, options: Options) -> dict[str, Any]:
        """Write what all sides read, and return it: the model, settings, and the tokens of every update."""
        from tenfold.recipe import Recipe
        from tenfold.techniques.world import open_world

        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        shape, updates = SHAPES[self.shape], WARM_UP + options.updates
        model = random_model(JOBS / self.shape, shape, tokenizer=Path(model_folder(options.model)))
        way = Way(self.name, {"kind": "instruction"}, self.tuner, ())
        recipe = recipe_of(way, str(model), folder / "rows.jsonl", self.length, self.batch_size, updates)
        recipe["optim"] |= {"learning_rate": self.learning_rate, "schedule": "constant", "warmup_share": 0.0}
        recipe["optim"] |= self.optim
        recipe["runtime"] |= {"device": options.device, "gradient_checkpointing": self.checkpointing}
        windows = open_world(Recipe(**recipe)).first.windows
        entries = [windows.prepared.entries(windows.window(update).rows) for update in range(updates)]
        job = {
            "recipe": recipe,
            "device": options.device,
            "tuner": {"rank": 16, "alpha": 32, **self.tuner},
            "peers": self.peers,
            "learning_rate": self.learning_rate,
            "batch_size": self.batch_size,
            "length": self.length,
            "max_length": self.length,
            "checkpointing": self.checkpointing,
            "loss_tolerance": self.loss_tolerance,
            "model": str(model),
            "start": None,
            "max_gradient_norm": self.optim.get("max_gradient_norm", 1.0) or 0.0,
            "windows": [
                [{"input_ids": each.input_ids, "supervised": each.supervised} for each in update] for update in entries
            ],
            "tokens": [sum(len(each.input_ids) for each in update) for update in entries],
            "flops_per_token": flops_per_token(shape, _vocabulary(model), self.length, self.flops_per_weight),
            **_sizes(shape, _vocabulary(model)),
        }
        (folder / "job.json").write_text(json.dumps(job))
        return job


def python_of(name: str) -> str:
    """Return the interpreter of `bench/peers.sh gpu` that has the program; ours where there is none for Tenfold."""
    own = ROOT / f".venv-peers/gpu-{name}/bin/python"
    return str(own) if own.is_file() or name != OURS else sys.executable


def _run(command: Sequence[str], folder: Path, name: str) -> Measured:
    settings = json.loads((folder / "job.json").read_text())["peers"].get(name, {})
    environment = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "PYTHONPATH": str(ROOT)}
    environment |= {"TENFOLD_BENCH_TRL_SETTINGS": json.dumps(settings)} if settings else {}
    measured = run_process([*command, str(folder)], result=folder / f"{name}.json", environment=environment)
    print(f"  {name}: {measured.facts.get('ends', measured.facts)}", flush=True)
    return measured


def _vocabulary(model: Path) -> int:
    return int(json.loads((model / "config.json").read_text())["vocab_size"])


def _sizes(shape: Mapping[str, int], vocabulary: int) -> dict[str, Any]:
    """Return the weight shapes of one block, and how many parameters the products of the model have."""
    hidden, inner = shape["hidden"], shape["inner"]
    keys = hidden // shape["heads"] * shape["key_heads"]
    block = [[hidden, hidden], [keys, hidden], [keys, hidden], [hidden, hidden]]
    block += [[inner, hidden], [inner, hidden], [hidden, inner]]
    inside = shape["layers"] * sum(outputs * inputs for outputs, inputs in block)
    return {"block_shapes": block, "parameters": inside + vocabulary * hidden}


def flops_per_token(shape: Mapping[str, int], vocabulary: int, length: int, flops_per_weight: int) -> float:
    """Return what training needs for a token of a row of `length` where the loss is on all of them.

    The weights' products, and attention's two (forward and both gradients) over the half of the places that is visible.
    Recomputing is no part of it.

    Source: Chowdhery et al. 2022 (arXiv 2204.02311), appendix B, which does not halve.
    """
    return flops_per_weight * _sizes(shape, vocabulary)["parameters"] + 6.0 * shape["layers"] * shape["hidden"] * length


def figures(job: Mapping[str, Any], runs: Mapping[str, Sequence[Measured]], fastest: Sequence[float]) -> dict[str, Any]:
    """Return what the runs came to.

    Raises:
        RuntimeError: a side saw other tokens than the job's.
    """
    tokens, peak = sum(job["tokens"][WARM_UP:]), statistics.median(fastest) * 1e9
    speed = {name: [tokens / seconds_of(each) for each in every] for name, every in runs.items()}
    losses = {name: mean_loss(every[0], dict(job)) for name, every in runs.items()}
    return {
        "times": len(runs[OURS]),
        "updates_timed": len(job["tokens"]) - WARM_UP,
        "bf16_gflops_per_second": spread(fastest),
        "flops_per_token": job["flops_per_token"],
        "tokens_per_second": {name: spread(every) for name, every in speed.items()},
        "speed_ratio": {
            name: spread([ours / theirs for ours, theirs in zip(speed[OURS], every, strict=True)])
            for name, every in speed.items()
            if name != OURS
        },
        "flops_use": {
            name: spread([job["flops_per_token"] * each / peak for each in every]) for name, every in speed.items()
        },
        **{
            key: {name: spread([each.facts.get(key, 0) / 1e9 for each in every]) for name, every in runs.items()}
            for key in ("allocated_bytes", "reserved_bytes")
        },
        "mean_loss": losses,
        "losses_agree": all(abs(loss - losses[OURS]) <= job["loss_tolerance"] * abs(loss) for loss in losses.values()),
        "settings": {name: every[0].facts["settings"] for name, every in runs.items()},
        "versions": {name: every[0].facts["versions"] for name, every in runs.items()},
    }


def section(result: dict[str, Any]) -> str:
    """Return the row's part of the page."""
    names = [*result["tokens_per_second"]]
    rows = {
        "tokens/s": [range_of(result["tokens_per_second"][name], 0) for name in names],
        "use of the product's speed": [range_of(result["flops_use"][name], 2) for name in names],
        "memory in use, GB": [range_of(result["allocated_bytes"][name], 2) for name in names],
        "memory held, GB": [range_of(result["reserved_bytes"][name], 2) for name in names],
        "mean loss": [f"{result['mean_loss'][name]:.4f}" for name in names],
        "settings": [settings_of(result["settings"][name]) for name in names],
        "versions": [versions_of(result["versions"][name]) for name in names],
    }
    ratios = ", ".join(f"{range_of(ratio, 2)} × {PEERS[name]}'s" for name, ratio in result["speed_ratio"].items())
    absent = ", ".join(PEERS[name] for name in result["missing"])
    missing = f"\n* Not there, and so not measured: {absent}." if absent else ""
    job = result["job"]
    heads = ["", *(PEERS.get(name, "Tenfold") for name in names)]
    return f"""## {result["title"]} (`{result["name"]}`)

{job["parameters"] / 1e9:.2f}B parameters with random weights, {job["batch_size"]} rows of {job["length"]:,} tokens an \
update, all in the loss{", recomputing activations" if job["checkpointing"] else ""}. Tenfold's tokens a second:
{ratios or "no peer was there"}. The aim is {result["aim"]} × Unsloth's at equal loss.

{table(heads, rows)}

* Losses agree: {"yes" if result["losses_agree"] else "**no**"}.
* A token needs {result["flops_per_token"] / 1e9:.2f} GFLOP, without recomputing; bf16 products of the model's shapes \
ran at {range_of(result["bf16_gflops_per_second"], 0)} GFLOP/s on {result["machine"]["gpu"] or "this CPU"}.{missing}
* {result["updates_timed"]} timed updates, {times(result["times"])}. {line_of_machine(result)}
"""


def unmeasured(rows: Sequence[GpuRow]) -> str:
    """Return what the page says of rows that no GPU was there for."""
    told = {row.title: [f"`{row.name}`", ", ".join(PEERS[name] for name in row.peers)] for row in rows}
    return f"""## On a GPU: unmeasured

No GPU was there to measure on. These rows are written, and Tenfold's side is tried on a CPU with a tiny model:
`sh bench/peers.sh gpu`, then `python -m bench --device cuda`.

{table(["", "row", "beside"], told)}
"""
