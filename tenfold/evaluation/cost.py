"""What did a run cost? Seconds, tokens per second, memory, parameters, bytes on disk."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from types import TracebackType

import psutil
import torch

_SAMPLE_SECONDS = 0.05


@dataclass(frozen=True)
class Cost:
    """The cost of a run; `peak_memory_bytes` is the device's on CUDA, else the process's resident memory."""

    train_seconds: float
    evaluation_seconds: float
    tokens_per_second: float
    """Tokens of the rows trained on over its seconds: no padding counts, and what several rows begin with alike counts
    in each, though it is computed once."""
    peak_memory_bytes: int
    trainable_parameters: int
    total_parameters: int
    trainable_share: float
    """Trained parameters over all, those of adapters included in both."""
    bytes_on_disk: int
    """What the run saved to be used again: the adapter, or all weights."""
    base_bytes: int
    """The weights of the model it started from."""
    energy_joules: float | None = None
    """Not measured yet: no counter that may be read everywhere."""
    comparison_seconds: float = 0.0
    """Training of stages that the result was compared with; it is not in `train_seconds`."""


class PeakMemory:
    """A block whose largest memory use is in `peak_bytes` afterwards.

    On CUDA: torch's own count of allocated bytes, reset at the start of the block.
    Elsewhere: the resident memory of the process. The system keeps its highest value ever (`ru_maxrss`),
    which cannot be reset: if that rose within the block it is the block's exact peak. If it did not,
    something earlier was higher, and the peak is the largest of the samples that a thread takes 20 times a
    second, which may miss a short spike.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.peak_bytes = 0
        self._process = psutil.Process()
        self._highest_before = 0
        self._ended = threading.Event()
        self._sampler = threading.Thread(target=self._sample, name="peak memory", daemon=True)

    def __enter__(self) -> PeakMemory:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            return self
        self._highest_before = _highest_ever()
        self._look()
        self._sampler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.device.type == "cuda":
            self.peak_bytes = torch.cuda.max_memory_allocated(self.device)
            return
        self._ended.set()
        self._sampler.join()
        self._look()
        highest = _highest_ever()
        if highest > self._highest_before:
            self.peak_bytes = max(self.peak_bytes, highest)

    def _sample(self) -> None:
        while not self._ended.wait(_SAMPLE_SECONDS):
            self._look()

    def _look(self) -> None:
        self.peak_bytes = max(self.peak_bytes, int(self._process.memory_info().rss))


def _highest_ever() -> int:
    """Return the highest resident memory this process ever had, in bytes; 0 where the system does not say."""
    if sys.platform == "win32":
        return 0
    import resource

    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest if sys.platform == "darwin" else highest * 1024  # Linux counts in KiB
