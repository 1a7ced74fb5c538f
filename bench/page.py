"""docs/performance.md, written from bench/results/*.json so that the page never says what was not measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench import (
    accelerated,
    classifying,
    distilling,
    encoding,
    estimating,
    growing,
    others,
    preparing,
    quality,
    ranks,
    saving,
    sharing,
    starting,
)
from bench.rows import ROWS, gpu
from bench.told import line_of_machine, losses, range_of, settings_of, versions_of
from bench.training import TrainingRow

SECTIONS: Mapping[str, Callable[[dict[str, Any]], str]] = {
    "accelerated": accelerated.section,
    "classifying": classifying.section,
    "distilling": distilling.section,
    "encoding": encoding.section,
    "estimating": estimating.section,
    "growing": growing.section,
    "others": others.section,
    "preparing": preparing.section,
    "quality": quality.section,
    "saving": saving.section,
    "ranks": ranks.section,
    "sharing": sharing.section,
    "starting": starting.section,
}
"""What writes a row of each kind but training's."""

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench/results"
PAGE = ROOT / "docs/performance.md"

HEAD = """# Performance

<!-- Written by `python -m bench --write-docs` from bench/results/*.json: change bench/page.py, not this page. -->

Tenfold beside TRL's `SFTTrainer`, on the same rows, tokens, loss mask, order and start. The two run in turn (TRL,
Tenfold, TRL, Tenfold …), each time in a fresh process whose first update is not timed. A shared machine's speed
drifts, so what counts is the ratio within a pair; given are the median and, in brackets, the smallest and the largest.
Tokens are those of the rows: padding does not count, and neither does it when a token that many rows begin with is
computed once. A CPU second leaves out the time in which another program had the core. Peak memory is the whole
process's, libraries included; each program stands in an environment of its own, with what it needs and no more.
Both compute the 8 rows of an update at once: Tenfold cuts updates into micro-batches by itself, but only above 2,048
tokens with adapters on a CPU and above 4,096 else.

But for rows that name a GPU, the figures are of one core of a CPU.
"""

TAIL = """## How to measure it again

```
sh bench/peers.sh              # an environment for each: .venv-peers/trl and .venv-peers/tenfold
sh bench/peers.sh others       # those of the row lora_cpu_others
make bench ONLY=lora_cpu       # or without ONLY, for all
python -m bench --only lora_cpu --cores all --pairs 5 --updates 6
```

`sh bench/peers.sh gpu`, then `python -m bench --device cuda` measures the rows for a GPU.

One core unless you say otherwise: where another process works on the second core, two threads wait for the slower one
and are slower than one. `TENFOLD_BENCH_TRL_PYTHON` names another interpreter that has TRL.

## What makes the difference

| | where |
|---|---|
| rows packed without padding, attention block by block within each row | `kernels/packed_attention.py` |
| what rows begin with alike (system prompt, instruction) computed once, and nothing after a row's last target | \
`models/compact.py` |
| LoRA as part of larger autograd functions in the base's dtype, with fp32 factors | `kernels/projection.py` |
| blocks that keep what products gave, and compute norms, gates and attention's probabilities again; the last block \
only where a target is | `models/fused_blocks.py` |
| few shapes: batches filled up to 64 tokens | `models/fused_blocks.py` |
| the output layer at supervised positions only, in pieces, its gradient formed in the forward pass | \
`kernels/linear_cross_entropy.py` |
| texts tokenised from one special token to the next: what rows share once, and no offsets but in replies | \
`data/tokenise.py` |
| frozen weights in bf16, trained ones in fp32 | `tuning/precision.py` |

Each is tried on the loaded model before the first update (`find_route`) or tested against the plain expression.
"""


def page() -> str:
    """Return the whole page."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    training = [result for result in results if "kind" not in result]
    # LoRA first: it is what most runs use
    training.sort(key=lambda result: (result["name"] != "lora_cpu", result["name"]))
    others = [SECTIONS[result["kind"]](result) for result in results if "kind" in result]
    found = {result["name"] for result in results}
    if missing := [row for row in gpu.ROWS if row.name not in found]:
        others.append(accelerated.unmeasured(missing))
    return "\n".join([HEAD, _summary(training), *(_section(result) for result in training), *others, TAIL])


def _summary(results: list[dict[str, Any]]) -> str:
    lines = [
        "| Tenfold over TRL | tokens/s | tokens per CPU second | peak memory | of the product ceiling | losses agree |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        cells = [
            result["title"],
            f"**{range_of(result['tokens_per_second_ratio'], 2)}** ×",
            f"{range_of(result['tokens_per_cpu_second_ratio'], 2)} ×",
            f"**{range_of(result['peak_memory_ratio'], 2)}** ×",
            range_of(result["ceiling"]["share_reached"], 2),
            "yes" if result["loss"]["agree"] else "**no**",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    aims = [f"* {result['title']}: {_aims(result)}." for result in results]
    return "\n".join([*lines, "", "The aims, by the medians:", "", *aims]) + "\n"


def _aims(result: dict[str, Any]) -> str:
    row = ROWS[result["name"]]
    assert isinstance(row, TrainingRow), "only these have no kind"
    speed, memory = result["tokens_per_second_ratio"]["median"], result["peak_memory_ratio"]["median"]
    share = result["ceiling"]["share_reached"]["median"]
    told = [
        f"{row.aims.speed:g} × the tokens/s {_reached(speed >= row.aims.speed)}",
        f"{row.aims.memory:g} of the memory {_reached(memory <= row.aims.memory)}",
    ]
    if row.aims.ceiling is not None:
        told.append(f"{row.aims.ceiling:g} of the ceiling {_reached(share >= row.aims.ceiling)}")
    return ", ".join(told)


def _reached(is_reached: bool) -> str:
    return "reached" if is_reached else "**missed**"


def _section(result: dict[str, Any]) -> str:
    ceiling, loss = result["ceiling"], result["loss"]
    peer, ours = result["settings"]["trl"], result["settings"]["tenfold"]
    return f"""## {result["title"]} (`{result["name"]}`)

| | TRL | Tenfold |
|---|---|---|
| tokens/s | {_both(result["tokens_per_second"], 0)} |
| tokens per CPU second | {_both(result["tokens_per_cpu_second"], 0)} |
| peak memory, GB | {_both(result["peak_memory_gb"], 2)} |
| mean loss of the timed updates | {result["mean_loss"]["trl"]} | {result["mean_loss"]["tenfold"]} |
| loss, update by update | {losses(loss["trl"])} | {losses(loss["tenfold"])} |
| settings | {settings_of(peer)} | {settings_of(ours)} |
| versions | {versions_of(result["versions"]["trl"])} | {versions_of(result["versions"]["tenfold"])} |

* {result["pairs"]} pairs of {result["updates_timed"]} timed updates, {result["tokens_per_update"]} tokens an update \
on average, {result["supervised_share"]:.1%} of them in the loss.
* The mean losses differ by {loss["relative_difference"]:.2%}; up to {loss["tolerance"]:.0%} is put down to bf16.
* Ceiling: in the same run, bf16 products of the model's shapes ran at \
{range_of(ceiling["bf16_gflops_per_second"], 0)} GFLOP/s. Each token that is computed needs \
{ceiling["gflops_per_computed_token"]} GFLOP: {ceiling["formula"]}. Tenfold computed \
{ceiling["computed_share"]:.0%} of the tokens; the rest stands at the beginning of several rows, or after a row's \
last target.
* {line_of_machine(result)}
"""


def _both(values: dict[str, dict[str, float]], digits: int) -> str:
    return f"{range_of(values['trl'], digits)} | {range_of(values['tenfold'], digits)}"
