"""Where and how a run computes: device, precision, threads, seeds and ranks. The only file that asks the machine."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from tenfold.engine.ranks import ALONE, UPDATE_TIMEOUT, Ranks, meetings_named
from tenfold.errors import Problem, RecipeError
from tenfold.files import sha256_text, write_json
from tenfold.paths import cache_folder, launch
from tenfold.recipe import RuntimeSection


@dataclass(frozen=True)
class Runtime:
    """The machine as this run uses it."""

    device: torch.device
    precision: str  # "fp32" or "bf16"
    threads: int
    seed: int
    ranks: Ranks = ALONE
    mesh: DeviceMesh | None = None
    """The ranks that each hold a part of the weights; None where every one of them holds all."""

    @property
    def chosen(self) -> dict[str, str | int]:
        """What was left open and is now settled, under the recipe's names."""
        return {"device": self.device.type, "precision": self.precision, "threads": self.threads}

    @property
    def compute_dtype(self) -> torch.dtype:
        """The type of frozen weights and of matrix products."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    @property
    def autocast(self) -> torch.dtype | None:
        """The type that fp32 weights are multiplied in while they train, or None for their own."""
        return torch.bfloat16 if self.precision == "bf16" else None


@dataclass(frozen=True)
class Machine:
    """What there is to train on, and how fast it multiplies."""

    cores: int
    device: str
    """`cpu`, or the name of the GPU."""
    memory_bytes: int
    """The device's, in all; for a CPU the machine's, or what its container may use."""
    precision: str
    """What `auto` would choose: "fp32" or "bf16"."""
    flops: float
    """Floating-point operations a second of matrix products in that precision, measured for a moment."""


def read_machine() -> Machine:
    """Return what this machine has, as busy as it is now; takes a fraction of a second."""
    device = torch.device(_device("auto"))
    precision = measured_precision(device)
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        name, memory = str(properties.name), int(properties.total_memory)
    else:
        name, memory = device.type, _main_memory()
    own, seconds = torch.get_num_threads(), []
    for threads in (own, 1):  # one is faster where another process holds a core: see `measured_threads`
        torch.set_num_threads(threads)
        seconds += [_matmul_seconds(_DTYPES[precision], repeats=3, device=device) for _ in range(3)]
    torch.set_num_threads(own)
    cores = len(os.sched_getaffinity(0)) if _HAS_AFFINITY else os.cpu_count() or 1
    return Machine(cores, name, memory, precision, _MATMUL_OPERATIONS / min(seconds))


_HAS_AFFINITY = hasattr(os, "sched_getaffinity")


def _main_memory() -> int:
    there = int(psutil.virtual_memory().total)
    with suppress(OSError, ValueError):  # no container, or one without a limit ("max")
        there = min(there, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return there


@contextmanager
def open_ranks(section: RuntimeSection) -> Iterator[Ranks]:
    """Yield this process's place among those that `torchrun` started together, which can talk to each other now.

    They do so through NCCL where each has a GPU of its own, else through gloo.

    Raises:
        RecipeError: there are more of them on this machine than GPUs.
    """
    mine = launch()
    if mine.count == 1:
        yield ALONE
        return
    device = torch.device("cpu")
    if _device(section.device) == "cuda":
        if mine.local_rank >= torch.cuda.device_count():
            found = f"{mine.local_rank + 1} or more processes on a machine with {torch.cuda.device_count()} GPUs"
            raise RecipeError(Problem("torchrun", found, allowed="one for each GPU, or --set runtime.device=cpu"))
        device = torch.device("cuda", mine.local_rank)
        torch.cuda.set_device(device)
    if dist.is_initialized():
        yield Ranks(mine.rank, mine.count, device)
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=UPDATE_TIMEOUT)
    is_whole = False
    try:
        with meetings_named():
            yield Ranks(mine.rank, mine.count, device)
        is_whole = True
    finally:
        if is_whole or device.type == "cpu":  # NCCL would wait for ranks that are gone
            dist.destroy_process_group()


def open_runtime(section: RuntimeSection, ranks: Ranks = ALONE) -> Runtime:
    """Choose device, precision and threads where the recipe leaves them open, set the threads and seed torch.

    All `ranks` compute in the precision that the first one measures.

    Raises:
        RecipeError: the device asked for is not there.
    """
    device = torch.device(_device(section.device))
    threads = section.threads or measured_threads(device)
    torch.set_num_threads(threads)
    measured = ranks.first(lambda: measured_precision(device)) if section.precision == "auto" else section.precision
    torch.manual_seed(section.seed)
    mesh = init_device_mesh(device.type, (ranks.count,)) if section.fully_shard and ranks.count > 1 else None
    if mesh is not None and device.type == "cpu":
        _give_freed_memory_back()
    return Runtime(device=device, precision=measured, threads=threads, seed=section.seed, ranks=ranks, mesh=mesh)


def _give_freed_memory_back() -> None:
    """Let glibc, where this process stands on it, give pieces of 1 MB or more back to the system once they are free.

    Blocks are gathered and dropped all the time, and by its own choice glibc soon keeps such pieces for itself, with
    gaps between them.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, 2**20)


_MMAP_THRESHOLD = -3
"""What malloc.h calls `M_MMAP_THRESHOLD`."""


def _device(asked: str) -> str:
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if asked == "auto":
        return "cuda" if there["cuda"] else "mps" if there["mps"] else "cpu"
    if not there[asked]:
        found = ", ".join(name for name, is_there in there.items() if is_there)
        raise RecipeError(Problem("runtime.device", f"{asked} is not available here", allowed=f"auto, {found}"))
    return asked


def measured_threads(device: torch.device) -> int:
    """Return torch's own number of threads, or 1 when one is faster at this moment.

    Every parallel region waits for its slowest thread: where another process holds one of the cores, two threads were
    measured 15 times slower than one.
    """
    own = torch.get_num_threads()
    if device.type != "cpu" or own == 1:
        return own
    seconds = {}
    for threads in (own, 1):
        torch.set_num_threads(threads)
        seconds[threads] = sum(_matmul_seconds(torch.float32) for _ in range(THREAD_TRIALS))
    return min(seconds, key=lambda threads: seconds[threads])


THREAD_TRIALS = 5
"""Measurements for each number of threads; spread over a tenth of a second, so that a busy core shows."""


def measured_precision(device: torch.device) -> str:
    """Return `bf16` if this machine multiplies matrices at least 1.2 times faster in it than in fp32, else `fp32`.

    Measured once per processor and torch version, and remembered in the cache folder.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    if device.type == "mps":
        return "fp32"
    machine = f"{_processor()}, torch {torch.__version__}"
    memory = cache_folder("precision") / f"{sha256_text(machine)[:16]}.json"
    with suppress(OSError, ValueError, KeyError):  # absent or damaged: measured anew
        return str(json.loads(memory.read_text(encoding="utf-8"))["precision"])
    seconds = {name: _matmul_seconds(dtype) for name, dtype in _DTYPES.items()}
    precision = "bf16" if seconds["fp32"] > 1.2 * seconds["bf16"] else "fp32"
    write_json(memory, {"machine": machine, "seconds": seconds, "precision": precision})
    return precision


_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


_MATMUL_OPERATIONS = 2 * 512 * 1024 * 1024


def _matmul_seconds(dtype: torch.dtype, *, repeats: int = 7, device: torch.device | None = None) -> float:
    left, right = torch.ones(512, 1024, dtype=dtype, device=device), torch.ones(1024, 1024, dtype=dtype, device=device)
    left @ right
    _wait_for(left.device)
    start = time.perf_counter()
    for _ in range(repeats):
        left @ right
    _wait_for(left.device)
    return (time.perf_counter() - start) / repeats


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = [line for line in file if line.startswith(("model name", "flags"))]
        return "".join(lines[:2])
    except OSError:
        return platform.processor() or platform.machine()


def derived_seed(seed: int, *names: str) -> int:
    """Return a seed of its own for a named part of the run, so that parts do not share random numbers."""
    return int(sha256_text(str(seed), *names)[:15], 16)
