"""How a training row is measured: one job on disk, Tenfold and TRL on it in turn, one JSON of figures.

The rows are disease definitions with their names (UniProt's, shipped as the sample set `diseases`): about 120 tokens
each, the response about 11 of them. Both sides get the same tokens, the same loss mask, the same order and, with LoRA,
the same starting factors; so their losses must agree, and a faster wrong answer would show.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import machine
from bench.pairs import Measured, Pair, interleaved, run_process, spread
from bench.samples import side

ROOT = Path(__file__).parent.parent
JOBS = ROOT / "build/bench"
BATCH_SIZE = 8
MAX_LENGTH = 512
WARM_UP = 1
"""Updates at the start that are not timed: first-seen shapes and the optimizer's state cost once."""
PROMPT = "Name the disease that is described.\n"


@dataclass(frozen=True)
class Options:
    """How long and where to measure."""

    pairs: int
    updates: int
    cores: str
    model: str
    device: str = "cpu"
    """Where rows for a GPU run; all others stay on the CPU."""


@dataclass(frozen=True)
class Aims:
    """What the row is to reach: times the peer's tokens/s, at most a share of its memory, a share of the ceiling."""

    speed: float
    memory: float
    ceiling: float | None = None


@dataclass(frozen=True)
class TrainingRow:
    """One line of the benchmark: a tuner, trained by both on the same job."""

    name: str
    title: str
    tuner: dict[str, object]
    learning_rate: float
    flops_per_weight: int
    """Products' FLOPs a weight and token: 2 each for forward, input gradient and, where it trains, weight gradient."""
    loss_tolerance: float
    """Largest relative difference of the mean timed losses: the two round in bf16 at different places."""
    aims: Aims
    peer_settings: Mapping[str, object] = field(default_factory=dict)
    """What TRL is given in place of the settings that were found fastest."""
    optim: Mapping[str, object] = field(default_factory=dict)
    """Settings of the recipe's `optim` beside those of every row."""

    def measure(self, options: Options) -> dict[str, Any]:
        """Return the row's figures, ready for JSON."""
        load_before = machine.load()
        threads = machine.pin(options.cores)
        folder = prepare(self, options)
        job = json.loads((folder / "job.json").read_text())
        sides = Sides(folder, environment=environment_of(threads) | _peer_environment(self.peer_settings))
        pairs = interleaved(options.pairs, sides.peer, sides.ours)
        ceilings = [sides.ceiling().facts["gflops_per_second"] for _ in range(3)]
        return {
            "name": self.name,
            "title": self.title,
            **machine.circumstances(load_before, pinned_to=options.cores, threads=threads),
            **_figures(self, job, pairs, ceilings),
        }


@dataclass(frozen=True)
class Sides:
    """The commands of both programs and of the ceiling, on one job."""

    folder: Path
    environment: dict[str, str]

    def peer(self) -> Measured:
        """Train with the peer."""
        return self.run([trl_python(), str(ROOT / "bench/peers/trl_sft.py")], "trl")

    def ours(self) -> Measured:
        """Train with Tenfold."""
        return self.run([tenfold_python(), "-m", "bench.ours.train"], "tenfold")

    def ceiling(self) -> Measured:
        """Multiply matrices, and do nothing else."""
        return self.run([sys.executable, "-m", "bench.ours.ceiling"], "ceiling")

    def run(self, command: Sequence[str], name: str) -> Measured:
        """Run `command` on the job, and return what it wrote under `name`."""
        measured = run_process(
            [*command, str(self.folder)], result=self.folder / f"{name}.json", environment=self.environment
        )
        ends = measured.facts.get("ends")
        said = f"{seconds_of(measured):.1f} s for {len(ends) - WARM_UP} updates" if ends else str(measured.facts)
        print(f"  {name}: {said}, {measured.peak_bytes / 1e9:.2f} GB", flush=True)
        return measured


def trl_python() -> str:
    """Return the interpreter of TRL's environment: `bench/peers.sh` makes it, or the variable names another."""
    return os.environ.get("TENFOLD_BENCH_TRL_PYTHON") or str(ROOT / ".venv-peers/trl/bin/python")


def tenfold_python() -> str:
    """Return the interpreter of `bench/peers.sh` with Tenfold's own needs and no more; this one where it is absent."""
    own = ROOT / ".venv-peers/tenfold/bin/python"
    return str(own) if own.is_file() else sys.executable


def _peer_environment(settings: Mapping[str, object]) -> dict[str, str]:
    return {"TENFOLD_BENCH_TRL_SETTINGS": json.dumps(settings)} if settings else {}


def environment_of(threads: int) -> dict[str, str]:
    """Return what every program is started with, beside the settings of the shell."""
    return {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "PYTHONPATH": str(ROOT)}


def prepare(row: TrainingRow, options: Options) -> Path:
    """Write the job that both sides read, and return its folder: tokens of every update, settings, LoRA's start."""
    from bench.ours.train import Watch, open_run
    from tenfold.models.compact import compacted
    from tenfold.recipe import Recipe

    folder = JOBS / row.name
    folder.mkdir(parents=True, exist_ok=True)
    recipe = _recipe(row, options, rows=write_rows(folder / "rows.jsonl"))
    run = open_run(Recipe(**recipe), folder / "prepared", Watch())
    stage = run.stage("bench")
    stage = run.attach(stage)
    is_lora = row.tuner["kind"] == "lora"
    if is_lora:
        run.tuner.save(run.model.network, folder / "start")
    windows = [stage.windows.window(update) for update in range(stage.total_updates)]
    entries = [stage.windows.prepared.entries(window.rows) for window in windows]
    job = {
        "recipe": recipe,
        "tuner": row.tuner,
        "learning_rate": row.learning_rate,
        "batch_size": BATCH_SIZE,
        "max_length": MAX_LENGTH,
        "model": str(run.world.files.folder),
        "start": str(folder / "start") if is_lora else None,
        "windows": [
            [{"input_ids": entry.input_ids, "supervised": entry.supervised} for entry in update] for update in entries
        ],
        "tokens": [window.num_tokens for window in windows],
        "computed": [sum(len(compacted(batch).input_ids) for batch in window.batches) for window in windows],
        "supervised": [sum(batch.num_supervised for batch in window.batches) for window in windows],
        **_shapes(run.model.base),
    }
    (folder / "job.json").write_text(json.dumps(job))
    return folder


def write_rows(path: Path) -> Path:
    """Write the training rows to `path`, and return it."""
    with path.open("w", encoding="utf-8") as file:
        for row in side("diseases", "train"):
            turns = (("user", PROMPT + row["definition"]), ("assistant", row["name"]))
            messages = [{"role": role, "content": content} for role, content in turns]
            file.write(json.dumps({"messages": messages}) + "\n")
    return path


def _recipe(row: TrainingRow, options: Options, *, rows: Path) -> dict[str, Any]:
    return {
        "model": {"name": options.model},
        "tuner": row.tuner,
        "data": {"train": str(rows), "test_share": 0.0, "max_length": MAX_LENGTH},
        "optim": {
            "learning_rate": row.learning_rate,
            "epochs": 1000,
            "max_updates": WARM_UP + options.updates,
            "batch_size": BATCH_SIZE,
            "schedule": "constant",
            "warmup_share": 0.0,
            **row.optim,
        },
        "gate": {"allow": ["overlap"]},
        "runtime": {"device": "cpu", "precision": "bf16"},
    }


def _shapes(network: Any) -> dict[str, list[list[int]]]:
    """Return the weight shapes of one block's linear layers, of all blocks', and of the output layer."""
    import torch

    linear = {
        name: list(module.weight.shape)
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.Linear) and "lora_" not in name
    }
    head = list(network.get_output_embeddings().weight.shape)
    inner = {name: shape for name, shape in linear.items() if not name.startswith("lm_head")}
    return {
        "block_shapes": [shape for name, shape in inner.items() if ".0." in name],
        "inner_shapes": list(inner.values()),
        "head_shape": [head],
    }


def _figures(row: TrainingRow, job: dict[str, Any], pairs: list[Pair], ceilings: list[float]) -> dict[str, Any]:
    tokens = sum(job["tokens"][WARM_UP:])
    losses = {name: mean_loss(side, job) for name, side in (("trl", pairs[0].peer), ("tenfold", pairs[0].ours))}
    difference = abs(losses["tenfold"] - losses["trl"]) / losses["trl"]
    return {
        "pairs": len(pairs),
        "updates_timed": len(job["tokens"]) - WARM_UP,
        "tokens_per_update": round(statistics.mean(job["tokens"]), 1),
        "supervised_share": round(sum(job["supervised"]) / sum(job["tokens"]), 3),
        **speeds("tokens_per_second", tokens, pairs, clock="ends"),
        **speeds("tokens_per_cpu_second", tokens, pairs, clock="cpu_ends"),
        "peak_memory_gb": {
            "trl": spread([pair.peer.peak_bytes / 1e9 for pair in pairs]),
            "tenfold": spread([pair.ours.peak_bytes / 1e9 for pair in pairs]),
        },
        "peak_memory_ratio": spread([pair.ours.peak_bytes / pair.peer.peak_bytes for pair in pairs]),
        "mean_loss": losses,
        "loss": {
            "trl": [round(loss, 4) for loss in pairs[0].peer.facts["losses"]],
            "tenfold": [round(loss, 4) for loss in pairs[0].ours.facts["losses"]],
            "relative_difference": round(difference, 4),
            "tolerance": row.loss_tolerance,
            "agree": difference <= row.loss_tolerance,
        },
        "ceiling": _ceiling(row, job, [_busy_seconds(pair.ours) for pair in pairs], ceilings),
        "settings": {"trl": pairs[0].peer.facts["settings"], "tenfold": pairs[0].ours.facts["settings"]},
        "versions": {"trl": pairs[0].peer.facts["versions"], "tenfold": pairs[0].ours.facts["versions"]},
    }


def seconds_of(side: Measured, clock: str = "ends") -> float:
    """Return the time of the updates after the warm-up, by the wall or by the processor (`cpu_ends`)."""
    ends = side.facts[clock]
    return float(ends[-1] - ends[WARM_UP - 1])


def _busy_seconds(side: Measured) -> float:
    """Return the processor time of one thread in the updates after the warm-up."""
    return seconds_of(side, "cpu_ends") / int(side.facts["settings"]["threads"])


def mean_loss(side: Measured, job: dict[str, Any]) -> float:
    """Return the loss of a supervised token, averaged over the timed updates.

    Raises:
        RuntimeError: the side did not see exactly the job's tokens.
    """
    facts = side.facts
    if facts["tokens"][-1] != sum(job["tokens"]):
        raise RuntimeError(f"{facts['tokens'][-1]} tokens seen, {sum(job['tokens'])} in the job")
    return round(float(statistics.mean(facts["losses"][WARM_UP:])), 4)


def speeds(name: str, tokens: int, pairs: list[Pair], *, clock: str, peer_name: str = "trl") -> dict[str, Any]:
    """Return how many of `tokens` each side takes a second, and Tenfold's over the peer's, under `name`."""
    peer = [tokens / seconds_of(pair.peer, clock) for pair in pairs]
    ours = [tokens / seconds_of(pair.ours, clock) for pair in pairs]
    ratios = [mine / theirs for mine, theirs in zip(ours, peer, strict=True)]
    return {name: {peer_name: spread(peer), "tenfold": spread(ours)}, f"{name}_ratio": spread(ratios)}


def _ceiling(row: TrainingRow, job: dict[str, Any], seconds: list[float], ceilings: list[float]) -> dict[str, Any]:
    """Return how near Tenfold came, in so many busy `seconds`, to the fastest products of the same run."""
    inner = sum(outputs * inputs for outputs, inputs in job["inner_shapes"])
    head = sum(outputs * inputs for outputs, inputs in job["head_shape"])
    tokens, computed = sum(job["tokens"][WARM_UP:]), sum(job["computed"][WARM_UP:])
    flops = float(row.flops_per_weight * (inner * computed + head * sum(job["supervised"][WARM_UP:])))
    fastest = statistics.median(ceilings) * 1e9
    return {
        "bf16_gflops_per_second": spread(ceilings),
        "computed_share": round(computed / tokens, 3),
        "gflops_per_computed_token": round(flops / computed / 1e9, 4),
        "formula": f"{row.flops_per_weight} FLOPs x (weights of the inner linear layers x tokens computed + weights of "
        "the output layer x supervised tokens); attention and adapters are left out",
        "share_reached": spread([flops / each / fastest for each in seconds]),
    }
