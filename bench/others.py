"""How the row of several peers is measured: one job, each peer beside Tenfold in turn, whatever of them is installed.

What is given are the tokens of every row, the order of the updates, the rate and the shape of the adapter. Its start is
each program's own: B is zero, so the first losses are alike, and later ones nearly.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench import machine
from bench.pairs import Measured, Pair, interleaved, spread
from bench.told import line_of_machine, range_of, settings_of, table, versions_of
from bench.training import ROOT, Options, Sides, TrainingRow, environment_of, mean_loss, prepare, speeds


@dataclass(frozen=True)
class Peer:
    """A program with an environment of its own (`bench/peers.sh others`) and a script in `bench/peers/`."""

    name: str
    title: str
    note: str

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return ROOT / f".venv-peers/{self.name}/bin/python"

    @property
    def script(self) -> Path:
        """What it runs."""
        return ROOT / f"bench/peers/{self.name}_sft.py"


@dataclass(frozen=True)
class OthersRow:
    """A training row, measured beside several peers."""

    job: TrainingRow
    peers: tuple[Peer, ...]

    @property
    def name(self) -> str:
        """The row's name."""
        return self.job.name

    def measure(self, options: Options) -> dict[str, Any]:
        """Return the row's figures, ready for JSON.

        Raises:
            RuntimeError: none of the peers is installed.
        """
        there = [peer for peer in self.peers if peer.python.is_file()]
        if not there:
            raise RuntimeError("no peer is installed: sh bench/peers.sh others")
        load_before = machine.load()
        threads = machine.pin(options.cores)
        folder = prepare(self.job, options)
        job = json.loads((folder / "job.json").read_text())
        sides = Sides(folder, environment=environment_of(threads))
        found = {}
        for peer in there:
            train = partial(sides.run, [str(peer.python), str(peer.script)], peer.name)
            pairs = interleaved(options.pairs, train, sides.ours)
            found[peer.name] = _figures(peer, job, pairs, tolerance=self.job.loss_tolerance)
        return {
            "kind": "others",
            "name": self.name,
            "title": self.job.title,
            **machine.circumstances(load_before, pinned_to=options.cores, threads=threads),
            "pairs": options.pairs,
            "updates_timed": options.updates,
            "tokens_per_update": round(statistics.mean(job["tokens"]), 1),
            "loss_tolerance": self.job.loss_tolerance,
            "peers": found,
            "absent": [peer.title for peer in self.peers if peer not in there],
        }


def _figures(peer: Peer, job: dict[str, Any], pairs: list[Pair], *, tolerance: float) -> dict[str, Any]:
    tokens = sum(job["tokens"][1:])
    theirs, ours = mean_loss(pairs[0].peer, job), mean_loss(pairs[0].ours, job)
    return {
        "title": peer.title,
        "note": peer.note,
        **speeds("tokens_per_second", tokens, pairs, clock="ends", peer_name=peer.name),
        **speeds("tokens_per_cpu_second", tokens, pairs, clock="cpu_ends", peer_name=peer.name),
        "peak_memory_gb": {
            peer.name: spread([_peak(pair.peer) / 1e9 for pair in pairs]),
            "tenfold": spread([_peak(pair.ours) / 1e9 for pair in pairs]),
        },
        "peak_memory_ratio": spread([_peak(pair.ours) / _peak(pair.peer) for pair in pairs]),
        "mean_loss": {peer.name: theirs, "tenfold": ours},
        "losses_agree": abs(ours - theirs) <= tolerance * theirs,
        "settings": pairs[0].peer.facts["settings"],
        "versions": pairs[0].peer.facts["versions"],
    }


def _peak(side: Measured) -> int:
    """Return the most memory up to the last update, where the program told it; else of the whole process."""
    return int(side.facts.get("peak_bytes", side.peak_bytes))


def section(result: Mapping[str, Any]) -> str:
    """Return the row's part of the page."""
    heads = [
        "Tenfold over",
        "tokens/s",
        "tokens per CPU second",
        "peak memory",
        "mean loss: theirs, Tenfold's",
        "agree",
    ]
    peers = result["peers"].items()
    cells = {
        found["title"]: [
            f"**{range_of(found['tokens_per_second_ratio'], 2)}** ×",
            f"{range_of(found['tokens_per_cpu_second_ratio'], 2)} ×",
            f"**{range_of(found['peak_memory_ratio'], 2)}** ×",
            f"{found['mean_loss'][name]:.4f}, {found['mean_loss']['tenfold']:.4f}",
            "yes" if found["losses_agree"] else "**no**",
        ]
        for name, found in peers
    }
    given = {
        found["title"]: [
            range_of(found["tokens_per_second"][name], 0),
            range_of(found["peak_memory_gb"][name], 2),
            settings_of(found["settings"]),
            versions_of(found["versions"]),
        ]
        for name, found in peers
    }
    absent = f"\n* Not measured, as not installed there: {', '.join(result['absent'])}." if result["absent"] else ""
    notes = "".join(f"\n* {found['title']}: {found['note']}" for _, found in peers)
    return f"""## {result["title"]} (`{result["name"]}`)

The job of `lora_cpu`, given to each of these programs as tokens, in their own trainers, and to Tenfold in turn.

{table(heads, cells)}

{table(["", "tokens/s", "peak memory, GB", "settings", "versions"], given)}

* {result["pairs"]} pairs of {result["updates_timed"]} timed updates each, {result["tokens_per_update"]} tokens an \
update on average. All see the same tokens in the same order; the adapter starts from each program's own draw, so mean
losses may differ by {result["loss_tolerance"]:.0%}.
* All pad the rows of an update to the longest: what they offer for packing makes other updates, of more rows.
* Memory is the most up to the last update, what is loaded and converted before it included.{notes}{absent}
* {line_of_machine(result)}
"""
