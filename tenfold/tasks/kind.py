"""What every kind of task can do: the protocol between rows of some meaning and everything that trains and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tenfold.data.prepare import Item, Prepared
from tenfold.data.rendered import RowRenderer
from tenfold.data.sources import Rows
from tenfold.evaluation.scorecard import Score
from tenfold.models.heads import HeadSettings
from tenfold.models.trunk import Trunk
from tenfold.objectives.objective import Objective
from tenfold.recipe import DataSection, OptimSection


class TaskKind(Protocol):
    """One meaning that rows can have, opened for one task: what its rows teach, and how well that was learned."""

    @property
    def name(self) -> str:
        """What the kind is called in artifacts, such as `generation`."""
        ...

    @property
    def data(self) -> DataSection:
        """The task's section of the recipe."""
        ...

    @property
    def renderer(self) -> RowRenderer:
        """What turns the task's rows into tokens."""
        ...

    @property
    def facts(self) -> Mapping[str, Any]:
        """What must be known to open the kind again without its training rows, as plain JSON values."""
        ...

    @property
    def head(self) -> HeadSettings | None:
        """What must be put on the model to answer, or None where it answers in words."""
        ...

    @property
    def smooths_labels(self) -> bool:
        """Whether the task's loss is over classes or tokens, whose targets `optim.label_smoothing` can smooth."""
        ...

    def objective(self, optim: OptimSection) -> Objective:
        """Return the loss that trains the task."""
        ...

    def items(self, prepared: Prepared, *, max_rows: int, seed: int) -> list[Item]:
        """Return at most `max_rows` rows to judge the model by, chosen by content and seed."""
        ...

    def settled(self, items: Sequence[Item], data: DataSection) -> DataSection:
        """Return `data` with metrics and length of answers chosen, where it leaves them open.

        Raises:
            DataError: it asks for what cannot be measured on such rows.
        """
        ...

    def score(self, model: Trunk, items: Sequence[Item], *, stage: str, task: str, data: DataSection) -> Score:
        """Return the model's score on `items`; `data` is settled."""
        ...

    def questions(self, rows: Rows) -> Sequence[Any]:
        """Return what `rows` ask.

        Raises:
            DataError: a row asks nothing.
        """
        ...

    def question(self, prompt: str) -> Any:
        """Return a single prompt as a question."""
        ...

    def answers(self, model: Trunk, questions: Sequence[Any], *, max_new_tokens: int | None) -> list[dict[str, Any]]:
        """Return for each question what `tenfold predict` prints: plain JSON values."""
        ...
