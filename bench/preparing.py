"""How preparation of rows is measured: from a file to tokens, mask and batches, by us and by TRL, in turn.

The rows are disease definitions with their names, each with a number so that no two are alike. Beside the pairs each
side prepares fewer and more rows once, to see how memory grows with them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from bench import machine
from bench.pairs import Measured, Pair, interleaved, run_process, spread
from bench.samples import sample
from bench.told import line_of_machine, range_of, settings_of, table, versions_of
from bench.training import JOBS, MAX_LENGTH, PROMPT, ROOT, Options, environment_of, tenfold_python, trl_python

PEER = "trl"
SIDES = (PEER, "tenfold")


@dataclass(frozen=True)
class PreparingRow:
    """So many rows in pairs, and how many each side prepares once to see how its memory grows."""

    name: str
    title: str
    rows: int
    grows: Mapping[str, Sequence[int]]
    batch_size: int
    aim: float

    def measure(self, options: Options) -> dict[str, Any]:
        """Return the row's figures, ready for JSON.

        Raises:
            RuntimeError: a side failed, with the end of what it printed; or the two made other tokens of the rows.
        """
        before = machine.load()
        threads = machine.pin(options.cores)
        model = model_folder(options.model)
        run = {name: self._side(name, model, threads) for name in SIDES}
        grown = {name: {count: run[name](count) for count in self.grows[name]} for name in SIDES}
        pairs = interleaved(options.pairs, lambda: run[PEER](self.rows), lambda: run["tenfold"](self.rows))
        return {
            "kind": "preparing",
            "name": self.name,
            "title": self.title,
            "aim": self.aim,
            **machine.circumstances(before, pinned_to=options.cores, threads=threads),
            "model": Path(options.model).name,
            "rows": self.rows,
            "growth": {
                name: {str(count): _one(measured, count) for count, measured in found.items()}
                for name, found in grown.items()
            },
            **figures(pairs, self.rows),
        }

    def _side(self, name: str, model: str, threads: int) -> Callable[[int], Measured]:
        own = [tenfold_python(), "-m", "bench.ours.prepare"]
        command = own if name == "tenfold" else [trl_python(), str(ROOT / "bench/peers/trl_prepare.py")]
        environment = environment_of(threads)

        def run(count: int) -> Measured:
            folder = JOBS / f"{self.name}-{count}"
            write_job(folder, count, {"model": model, "batch_size": self.batch_size, "max_length": MAX_LENGTH})
            measured = run_process([*command, str(folder)], result=folder / f"{name}.json", environment=environment)
            said = f"{_seconds(measured, 0):.1f} s for {count} rows, then {_seconds(measured, 1):.1f} s for batches"
            print(f"  {name}: {said}, {measured.peak_bytes / 1e9:.2f} GB", flush=True)
            return measured

        return run


def model_folder(name: str) -> str:
    """Return the folder of the built-in model, or of the one at, `name`."""
    from tenfold.models.sources import resolve
    from tenfold.recipe import Recipe

    recipe = Recipe(model={"name": name}, data={"train": "unread.jsonl"})  # type: ignore[arg-type]
    return str(resolve(recipe.model).folder)


def write_job(folder: Path, count: int, settings: Mapping[str, object]) -> None:
    """Write `count` rows for both sides, and what both read of the job."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.jsonl" for name in SIDES}
    with paths[PEER].open("w", encoding="utf-8") as peer, paths["tenfold"].open("w", encoding="utf-8") as ours:
        for asked, answered in islice(_turns(), count):
            peer.write(json.dumps({"prompt": [asked], "completion": [answered]}) + "\n")
            ours.write(json.dumps({"messages": [asked, answered]}) + "\n")
    rows = {f"{name}_rows": str(path) for name, path in paths.items()}
    (folder / "job.json").write_text(json.dumps({**settings, **rows}), encoding="utf-8")


def _turns() -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    for number, row in enumerate(cycle(sample("diseases"))):
        asked = f"{PROMPT}{row['definition']} (case {number})"
        yield {"role": "user", "content": asked}, {"role": "assistant", "content": row["name"]}


def _seconds(side: Measured, stage: int, clock: int = 0) -> float:
    """Return the seconds of a stage (0: from the file to tokens, 1: an epoch of batches), by the wall or busy (1)."""
    clocks = side.facts["clocks"]
    return float(clocks[stage + 1][clock] - clocks[stage][clock])


def _one(side: Measured, count: int) -> dict[str, float]:
    """Return what one run came to, with memory that is the process's own and with that of mapped files."""
    return {
        "rows_per_second": round(count / _seconds(side, 0), 1),
        "own_gb": round(side.facts["own_bytes"] / 1e9, 3),
        "peak_gb": round(side.peak_bytes / 1e9, 3),
    }


def figures(pairs: list[Pair], num_rows: int) -> dict[str, Any]:
    """Return what the pairs came to.

    Raises:
        RuntimeError: the two sides made different tokens of the rows.
    """
    sides = {PEER: [pair.peer for pair in pairs], "tenfold": [pair.ours for pair in pairs]}
    tokens = {each.facts["tokens"] for side in sides.values() for each in side}
    if len(tokens) > 1:
        raise RuntimeError(f"the same rows came to {sorted(tokens)} tokens")

    def ratio(stages: Sequence[int], clock: int) -> dict[str, float]:
        taken = [[sum(_seconds(side, at, clock) for at in stages) for side in (each.peer, each.ours)] for each in pairs]
        return spread([peer / ours for peer, ours in taken])

    return {
        "pairs": len(pairs),
        "tokens": tokens.pop(),
        "supervised": {name: side[0].facts["supervised"] for name, side in sides.items()},
        "rows_per_second": {
            name: spread([num_rows / _seconds(each, 0) for each in side]) for name, side in sides.items()
        },
        "batch_seconds": {name: spread([_seconds(each, 1) for each in side]) for name, side in sides.items()},
        "rows_per_second_ratio": ratio([0], 0),
        "rows_per_cpu_second_ratio": ratio([0], 1),
        "with_batches_ratio": ratio([0, 1], 0),
        "with_batches_cpu_ratio": ratio([0, 1], 1),
        "peak_memory_gb": {name: spread([each.peak_bytes / 1e9 for each in side]) for name, side in sides.items()},
        "peak_memory_ratio": spread([pair.ours.peak_bytes / pair.peer.peak_bytes for pair in pairs]),
        "settings": {name: side[0].facts["settings"] for name, side in sides.items()},
        "versions": {name: side[0].facts["versions"] for name, side in sides.items()},
    }


def section(result: dict[str, Any]) -> str:
    """Return the row's part of the page."""
    rows = {
        "rows/s, from the file to tokens": [range_of(result["rows_per_second"][side], 0) for side in SIDES],
        "seconds for an epoch of batches": [range_of(result["batch_seconds"][side], 1) for side in SIDES],
        "peak memory, GB": [range_of(result["peak_memory_gb"][side], 2) for side in SIDES],
        "settings": [settings_of(result["settings"][side]) for side in SIDES],
        "versions": [versions_of(result["versions"][side]) for side in SIDES],
    }
    reached = result["rows_per_second_ratio"]["median"] >= result["aim"]
    extra = result["supervised"][PEER] - result["supervised"]["tenfold"]
    return f"""## {result["title"]} (`{result["name"]}`)

{result["rows"]:,} conversations, {result["tokens"]:,} tokens by `{result["model"]}`, from a file to tokens with a loss
mask, which TRL also packs: Tenfold prepares **{range_of(result["rows_per_second_ratio"], 2)}** × as many rows a second
({range_of(result["rows_per_cpu_second_ratio"], 2)} × a CPU second). The aim is {result["aim"]:g} ×, and \
{"is reached" if reached else "**is missed**"}.
Tenfold packs when it makes an update's batches; with all batches of an epoch on both sides it is
{range_of(result["with_batches_ratio"], 2)} × ({range_of(result["with_batches_cpu_ratio"], 2)} × by CPU seconds), in
{range_of(result["peak_memory_ratio"], 2)} × the memory.

{table(["", "TRL", "Tenfold"], rows)}

How memory grows with the rows, each prepared once. A process's own memory leaves out mapped files, which the system
drops when it needs the room; the peak counts them too. Both hold torch and transformers, which is most of it.

{_growth(result["growth"])}

* The tokens are the same. TRL also has the line break after a reply's end in the loss: {extra:,} tokens more.
* {result["pairs"]} pairs. {line_of_machine(result)}
"""


def _growth(growth: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    names = {PEER: "TRL", "tenfold": "Tenfold"}
    rows = {
        f"{int(count):,} rows, {names[side]}": [
            f"{found['rows_per_second']:,.0f}",
            f"{found['own_gb']:.2f}",
            f"{found['peak_gb']:.2f}",
        ]
        for side in SIDES
        for count, found in growth[side].items()
    }
    return table(["", "rows/s", "own memory, GB", "peak, GB"], rows)
