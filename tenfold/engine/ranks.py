"""How several processes make one training: each takes its share of an update, and their gradients are added up.

Every process (a rank) goes through the same run. What must be done once, or must come out the same for all, is done by
the first one, which tells the others (`first`): it alone writes, scores and draws. Losses are sums over a window whose
weight is known beforehand, so the sum of the ranks' gradients is the gradient that one process computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tenfold.data.batch import Batch, Window
from tenfold.errors import Problem, RankLost, TenfoldError
from tenfold.models.memory import is_out_of_memory
from tenfold.models.sharding import is_sharded

Result = TypeVar("Result")

UPDATE_TIMEOUT = timedelta(minutes=10)
"""How long a rank waits for the others within an update. One that ends is noticed at once; this is for one that hangs,
and must be longer than the slowest micro-batches of one rank take."""

FIRST_TIMEOUT = timedelta(days=7)
"""How long the others wait for what the first one does alone: scoring takes as long as it takes."""

BUCKET = 2**24
"""Numbers that are added up at once: 64 MB."""


class Ranks:
    """The processes of one training; this one has `number`, of `count`. One alone does everything itself, at no cost.

    `device` is where the processes add up: a GPU where they talk through NCCL, else the CPU.
    """

    def __init__(self, number: int = 0, count: int = 1, device: torch.device | None = None) -> None:
        self.number = number
        self.count = count
        self._device = device or torch.device("cpu")
        self.beside = dist.new_group(backend="gloo", timeout=FIRST_TIMEOUT) if count > 1 else None
        """How the processes talk besides training: on the CPU, and whoever waits does so for long."""

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes, scores and draws."""
        return self.number == 0

    def first(self, work: Callable[[], Result]) -> Result:
        """Return to all what `work` returns to the first one, which alone carries it out; its error is everyone's.

        Raises:
            RankLost: the first one ended on the way.
        """
        if self.count == 1:
            return work()
        if not self.is_first:
            found, problems = self._told((None, None))
            if problems is not None:
                kind, told = problems
                raise kind(*told)
            return found  # type: ignore[no-any-return]
        try:
            result = work()
        except TenfoldError as error:
            self._told((None, (type(error), tuple(error.problems))))
            raise
        self._told((result, None))
        return result

    @contextmanager
    def first_ahead(self) -> Iterator[None]:
        """Let the first one through the block alone, and then all others: they find in the caches what it made."""
        if not self.is_first:
            self._told(None)
        try:
            yield
        finally:
            if self.is_first and self.count > 1:
                self._told(None)

    def on_any(self, *flags: bool) -> list[bool]:
        """Return of each flag whether it is set on any rank."""
        return [bool(flag) for flag in self._largest([int(flag) for flag in flags])]

    def each(self, value: Result) -> list[Result]:
        """Return every rank's value, in order."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        with _meeting():
            dist.all_gather_object(values, value, group=self.beside)
        return values

    def share(self, window: Window) -> Sequence[Batch]:
        """Return the micro-batches of `window` that are this rank's."""
        return window.share(self.number, self.count)

    def fillers(self, window: Window) -> Sequence[Batch]:
        """Return micro-batches by which this rank has as many of `window` as any other; they are to count nothing.

        Where weights are sharded a micro-batch is computed by all ranks together, each on rows of its own.
        """
        shares = [len(window.share(number, self.count)) for number in range(self.count)]
        smallest = min(window.batches, key=lambda batch: batch.num_positions)
        return [smallest] * (max(shares) - shares[self.number])

    @contextmanager
    def in_step(self, *alike: int) -> Iterator[None]:
        """Let every rank go through the block or none: where memory runs out on one of them, it has on all.

        Raises:
            RankLost: the numbers `alike` (which update, of what weight) are not the same on all.
        """
        error: Exception | None = None
        try:
            yield
        except (MemoryError, RuntimeError) as caught:
            if self.count == 1 or not is_out_of_memory(caught):
                raise
            error = caught
        if self.count == 1:
            return
        (is_any,) = self._alike(alike, int(error is not None))
        if is_any:
            raise torch.OutOfMemoryError("out of memory on a rank") from error

    @contextmanager
    def in_lockstep(self, *alike: int) -> Iterator[None]:
        """Let every rank go through the block, in which they talk to each other all the time.

        One whose memory runs out there can tell nobody: it ends, and so do the others.

        Raises:
            RankLost: the numbers `alike` (which update, of what weight) are not the same on all.
        """
        self._alike(alike)
        yield

    def _alike(self, numbers: Sequence[int], *others: int) -> list[int]:
        """Return the largest of each of the `others` on any rank, once `numbers` are seen to be the same on all."""
        found = self._largest([*others, *numbers, *(-number for number in numbers)])
        told = found[len(others) :]
        if told[: len(numbers)] != [-number for number in told[len(numbers) :]]:
            raise RankLost(Problem(f"rank {self.number}", f"the ranks are not at the same update: {told}"))
        return found[: len(others)]

    def add_up(self, parameters: Iterable[nn.Parameter], totals: Sequence[Tensor]) -> float:
        """Replace every gradient by the sum over all ranks, and return the sum of all their `totals`.

        A parameter without a gradient on any rank keeps none; one that has it on another rank counts as 0 here. What is
        sharded has been added up in the backward pass.
        """
        if self.count == 1:
            return float(torch.stack(list(totals)).sum())
        every = [parameter for parameter in parameters if not is_sharded(parameter)]
        is_there = self._largest([int(parameter.grad is not None) for parameter in every])
        for bucket in _buckets([each for each, is_any in zip(every, is_there, strict=True) if is_any]):
            flat = torch.cat([_gradient(parameter).flatten().float() for parameter in bucket]).to(self._device)
            with _meeting():
                dist.all_reduce(flat)
            pieces = flat.split([parameter.numel() for parameter in bucket])
            for parameter, piece in zip(bucket, pieces, strict=True):
                _gradient(parameter).copy_(piece.view_as(parameter))
        own = torch.stack(list(totals)).double().sum() if totals else torch.zeros((), dtype=torch.float64)
        total = own.to(self._device)
        with _meeting():
            dist.all_reduce(total)
        return float(total)

    def _largest(self, numbers: Sequence[int]) -> list[int]:
        if self.count == 1:
            return list(numbers)
        largest = torch.tensor(numbers, dtype=torch.int64, device=self._device)
        with _meeting():
            dist.all_reduce(largest, op=dist.ReduceOp.MAX)
        return [int(number) for number in largest.tolist()]

    def _told(self, value: Any) -> Any:
        told = [value]
        if self.count > 1:
            with _meeting():
                dist.broadcast_object_list(told, src=0, group=self.beside)
        return told[0]


ALONE = Ranks()
"""One process that trains by itself."""


def all_random(random: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the ranks' random states as one: the first one's under the plain names, the others' with their number."""
    return {
        name if number == 0 else f"{name}.{number}": value
        for number, state in enumerate(random)
        for name, value in state.items()
    }


def own_random(random: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
    """Return the random state of rank `number` of those that `all_random` put together; nothing if it was not there."""
    ends = "" if number == 0 else f".{number}"
    return {name: random[f"{name}{ends}"] for name in ("cpu", "cuda") if f"{name}{ends}" in random}


def _gradient(parameter: nn.Parameter) -> Tensor:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def _buckets(parameters: Iterable[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    bucket: list[nn.Parameter] = []
    size = 0
    for parameter in parameters:
        bucket.append(parameter)
        size += parameter.numel()
        if size >= BUCKET:
            yield bucket
            bucket, size = [], 0
    if bucket:
        yield bucket


@contextmanager
def _meeting() -> Iterator[None]:
    """Say that another rank is gone where the ranks do not come together."""
    try:
        yield
    except RuntimeError as error:
        raise _lost(error) from error


@contextmanager
def meetings_named() -> Iterator[None]:
    """Say the same where the ranks talk inside of torch: of what only a broken connection says."""
    try:
        yield
    except RuntimeError as error:
        if not any(sign in str(error) for sign in SIGNS_OF_LOSS):
            raise
        raise _lost(error) from error


SIGNS_OF_LOSS = ("/gloo/", "NCCL", "Connection closed by peer", "Connection reset by peer")
"""What stands in the message of a connection that another process has left."""


def _lost(error: RuntimeError) -> RankLost:
    reason = (str(error).strip().splitlines() or ["no message"])[0][:200]
    return RankLost(
        Problem(
            "torchrun",
            f"another process of this training ended or does not answer ({reason})",
            remedy="see what it said; then give the same command again: it goes on from the last checkpoint",
        )
    )
