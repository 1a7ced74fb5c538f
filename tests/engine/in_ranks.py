"""Runs in several processes, as `torchrun` starts them but forked from this one: no second import of the libraries.

What of two runs is to be the same, and how nearly, stands here too.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from tenfold.engine.log import Listener
from tenfold.errors import TenfoldError
from tenfold.recipe import load_recipe
from tenfold.running import run

Begin = Callable[..., Path]
"""Returns a new folder with the recipe of a workload."""

AS_MUCH = 1e-5
"""Relative, of a loss: in fp32 another order of the same sums was measured to change up to 2e-7."""

WEIGHTS_APART = 1e-3
"""Of a tensor's largest weight: Adam divides by the gradient's size, so a small gradient's rounding grows."""

NO_EFFECT = "attention.self.key.bias"
"""Moves every score of a row alike, so its gradient is 0, and what Adam makes of it is rounding."""

Listeners = Callable[[int], tuple[Listener, ...]]
"""Who listens on each rank."""


def run_in_ranks(
    folder: Path,
    count: int,
    *,
    cache: str | None = None,
    listeners: Listeners = lambda rank: (),
    stop_asked: Callable[[int], bool] = lambda rank: False,
) -> list[int]:
    """Carry out `recipe.yaml` in `folder` in `count` processes; return each one's exit code (minus a signal).

    What a process says of its error is in `rank-N.txt` of the folder.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(count):
        child = os.fork()
        if child == 0:
            numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_PORT": port}
            os.environ |= {name: str(value) for name, value in numbers.items()} | {"MASTER_ADDR": "127.0.0.1"}
            os.environ["TENFOLD_CACHE"] = cache or str(folder / "cache")
            os._exit(_rank(folder, rank, listeners(rank), lambda rank=rank: stop_asked(rank)))  # type: ignore[misc]
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def _rank(folder: Path, rank: int, listeners: tuple[Listener, ...], stop_asked: Callable[[], bool]) -> int:
    told = (folder / f"rank-{rank}.txt").open("w")
    os.dup2(told.fileno(), sys.stderr.fileno())
    os.chdir(folder)
    try:
        run(load_recipe(Path("recipe.yaml")), listeners=listeners, stop_asked=stop_asked)
    except TenfoldError as error:
        print(f"{type(error).__name__}: {error}", file=told, flush=True)
        return error.exit_code
    except BaseException:
        traceback.print_exc(file=told)
        told.flush()
        return 99
    return 0


def losses(folder: Path) -> dict[tuple[str, int], float]:
    """Return the loss of each update of each stage that the run in `folder` logged."""
    lines = (folder / "out" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    return {(each["stage"], each["update"]): each["loss"] for each in events if each["event"] == "update"}


def weights(folder: Path) -> dict[str, Tensor]:
    """Return every tensor that the run in `folder` saved."""
    files = sorted((folder / "out").rglob("*.safetensors"))
    return {f"{path.name} {name}": value for path in files for name, value in load_file(path).items()}


def apart(one: dict[tuple[str, int], float], other: dict[tuple[str, int], float]) -> float:
    """Return the largest relative deviation of a loss."""
    assert one.keys() == other.keys()
    return max(abs(one[key] - other[key]) / abs(one[key]) for key in one)


def told(folder: Path, rank: int) -> str:
    """Return what a process said of its error."""
    return (folder / f"rank-{rank}.txt").read_text()


def weights_apart(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the largest deviation in each tensor, as a share of its largest weight."""
    assert one.keys() == other.keys()
    return {
        name: float((value - other[name]).abs().max() / value.abs().max().clamp(min=1e-6))
        for name, value in one.items()
        if NO_EFFECT not in name
    }
