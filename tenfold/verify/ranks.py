"""Do several processes train as one does? Two are forked, each takes its share of an update, and they add it up."""

from __future__ import annotations

import multiprocessing
import shutil
from multiprocessing.connection import Connection
from pathlib import Path

import torch
import torch.distributed as dist

from tenfold.engine.ranks import UPDATE_TIMEOUT, Ranks
from tenfold.errors import Problem, RunFailure
from tenfold.verify.finding import Compared, Difference, Skipped
from tenfold.verify.measure import REASON, Measured, Tolerances, differences, measure
from tenfold.verify.specimen import Opened, Specimen

COUNT = 2
"""Processes that share the update."""


def ranks(specimen: Specimen) -> Compared | Skipped:
    """Compare an update of one process with the same one shared by two."""
    if not specimen.is_cpu:
        return Skipped("on a GPU each process needs one of its own")
    if "fork" not in multiprocessing.get_all_start_methods():
        return Skipped("this system cannot fork a process")
    opened = specimen.exact
    alone = measure(opened.model, opened.stage, opened.alone)
    found = _found_together(specimen.folder / "ranks", opened, alone, specimen.allowed)
    return Compared(f"{len(opened.alone)} rows, dealt out over {COUNT} processes", found, REASON)


def _found_together(folder: Path, opened: Opened, alone: Measured, allowed: Tolerances) -> tuple[Difference, ...]:
    """Return what the first of several processes finds between the update that they share and that of one `alone`."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    context = multiprocessing.get_context("fork")  # the model is there already, and nothing is copied
    here, there = context.Pipe(duplex=False)
    processes = [
        context.Process(target=_share, args=(rank, folder / "meeting", opened, alone, allowed, there), daemon=True)
        for rank in range(COUNT)
    ]
    for process in processes:
        process.start()
    there.close()
    try:
        told: str | tuple[Difference, ...] = here.recv()
    except EOFError:
        told = "a process was killed"
    for process in processes:
        process.join()
    if isinstance(told, str):
        raise RunFailure(Problem("ranks", told))
    return told


def _share(rank: int, meeting: Path, opened: Opened, alone: Measured, allowed: Tolerances, there: Connection) -> None:
    torch.set_num_threads(1)  # those of the process before are not in a forked one
    try:
        dist.init_process_group(
            "gloo", init_method=meeting.absolute().as_uri(), rank=rank, world_size=COUNT, timeout=UPDATE_TIMEOUT
        )
        together = measure(opened.model, opened.stage, opened.alone, ranks=Ranks(rank, COUNT))
        found: str | tuple[Difference, ...] = differences(together, alone, allowed)
    except Exception as error:  # whatever it is: it is told by the process that waits
        found = f"rank {rank}: {type(error).__name__}: {error}"
    if rank == 0:
        there.send(found)
