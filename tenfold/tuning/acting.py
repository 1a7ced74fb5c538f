"""Which of a network's adapters act, for a while or from here on: chosen by name, without anything being loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn

from tenfold.errors import ArtifactError, ModelError, Problem
from tenfold.tuning.adapter_bank import AdapterBank, bank_of
from tenfold.tuning.composition import Composition, from_text, names_in, to_json


@dataclass(frozen=True)
class Acting:
    """What acts: a composition of adapters (None: the bare base), everywhere but in the blocks `without`."""

    composition: Composition | None
    without: tuple[int, ...] = ()

    @property
    def content(self) -> object:
        """The same as plain JSON values."""
        return [to_json(self.composition), sorted(self.without)]


@contextmanager
def acting_in(network: nn.Module, acting: Acting | None) -> Iterator[None]:
    """Let `acting` act inside the block, and what acted before again after it; None leaves everything as it is.

    A network that never had adapters is the bare base whatever is asked for.

    Raises:
        ModelError: it holds others than those asked for.
    """
    bank = bank_of(network)
    if bank is None or acting is None:
        yield
        return
    before, left_out = bank.active, bank.left_out
    bank.activate(acting.composition, without=acting.without)
    try:
        yield
    finally:
        bank.activate(before, without=left_out)


def let_act(network: nn.Module, acting: Acting, *, asked_by: str) -> None:
    """Let `acting` act from here on, as the option `asked_by` wants it.

    Raises:
        ArtifactError: the network holds no adapters that can be chosen, or others.
    """
    bank = bank_of(network)
    if bank is None:
        remedy = "leave it out: these weights hold nothing to choose from"
        raise ArtifactError(Problem(asked_by, "there are no bottleneck adapters", remedy=remedy))
    try:
        bank.activate(acting.composition, without=acting.without)
    except ModelError as error:
        problems = [Problem(asked_by, each.found, each.allowed, each.remedy) for each in error.problems]
        raise ArtifactError(*problems) from None


def require_choice(bank: AdapterBank, asked: str | None, *, drop_blocks: int) -> None:
    """Refuse a name that is missing beside a + or /, and more blocks than can go without.

    Raises:
        ArtifactError: with both, as the options name them.
    """
    problems = []
    if asked is not None and "" in names_in(from_text(asked)):
        form = "NAME, A+B fused, A/B stacked, or none"
        remedy = f"name what is there: {', '.join(bank.settings)}"
        problems.append(Problem("--adapter", f"{asked!r} leaves a name out", form, remedy))
    most = bank.num_blocks - 1
    if drop_blocks > most:
        found = f"{drop_blocks} of the model's {bank.num_blocks} blocks"
        problems.append(Problem("--drop-blocks", found, f"at most {most}", f"drop fewer: --drop-blocks {most // 2}"))
    if problems:
        raise ArtifactError(*problems)
