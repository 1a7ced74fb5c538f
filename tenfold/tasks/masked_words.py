"""Raw text that an encoder learns: some tokens of each row are masked, and it tells which stood there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from tenfold.data.batch import IGNORED, Entry
from tenfold.data.gate import NOTE, Finding
from tenfold.data.identity import hash_of
from tenfold.data.masking import MaskedRenderer
from tenfold.data.prepare import Item, Prepared, chosen
from tenfold.data.sources import Rows
from tenfold.data.windows import pack_bins
from tenfold.errors import DataError, Problem
from tenfold.evaluation.scorecard import Measure, Score
from tenfold.models.generate import evaluating
from tenfold.models.heads import HeadSettings
from tenfold.models.processor import Processor
from tenfold.models.trunk import Trunk
from tenfold.objectives.masked_lm import MaskedLanguageModelling
from tenfold.recipe import DataSection, OptimSection

BATCH_TOKENS = 4096
"""Tokens in one batch while scoring."""

JUDGED = 2**32 - 1
"""In place of an epoch, for the one masking that a row is scored on, whatever the stage; no epoch has this number."""


class MaskedWords:
    """A task of masked language modelling: the loss and the score are on hidden tokens alone.

    Source: Devlin et al. 2018 (arXiv 1810.04805), section 3.1.
    """

    name = "masked_words"
    smooths_labels = True

    def __init__(self, processor: Processor, data: DataSection, *, task: str) -> None:
        self.data = data
        self.task = task
        self.processor = processor
        self.renderer = MaskedRenderer(processor.tokenizer, data)

    @property
    def facts(self) -> Mapping[str, Any]:
        """The format of the rows."""
        return {"kind": self.name, "format": "text"}

    @property
    def head(self) -> HeadSettings:
        """The layer that tells a hidden token."""
        vocabulary = len(self.processor.tokenizer)
        return HeadSettings(vocabulary, "none", shared_with=self.data.head, tells="masked_words")

    @property
    def notes(self) -> list[Finding]:
        """Where the layer comes from that tells masked words."""
        return [Finding(NOTE, Problem("model.name", told_by(self.processor)))]

    def objective(self, optim: OptimSection) -> MaskedLanguageModelling:
        """Return the cross entropy of hidden tokens."""
        return MaskedLanguageModelling(label_smoothing=optim.label_smoothing)

    def items(self, prepared: Prepared, *, max_rows: int, seed: int) -> list[Item]:
        """Return at most `max_rows` rows to judge the model by, chosen by content and seed."""
        places = chosen(prepared, max_rows=max_rows, seed=seed)
        entries = prepared.entries(places) if places else []
        return [Item(entry.row, [], "", "", entry.input_ids, entry.supervised) for entry in entries]

    def settled(self, items: Sequence[Item], data: DataSection) -> DataSection:
        """Return `data` as it is.

        Raises:
            DataError: it names a metric: raw text has the masked loss alone.
        """
        if data.metrics:
            found = f"{', '.join(data.metrics)} cannot be measured where words are masked"
            raise DataError(Problem("evaluation.metrics", found, remedy="remove it: raw text is scored by its loss"))
        return data

    def score(self, model: Trunk, items: Sequence[Item], *, stage: str, task: str, data: DataSection) -> Score:
        """Return `masked_loss` (nats a hidden token) and `masked_accuracy`, each hidden token weighing the same."""
        entries = [_judged(item) for item in items]
        losses, hits, counts = ([0.0] * len(entries) for _ in range(3))
        lengths = [entry.num_positions for entry in entries]
        with evaluating(model.network):
            for places in pack_bins(lengths, BATCH_TOKENS, is_padded=not model.route.packs):
                batch = self.renderer.collate([entries[place] for place in places], task=self.task)
                sizes = [int((row != IGNORED).sum()) for row in batch.targets.split(batch.lengths)]
                parts = zip(*(part.cpu().double().split(sizes) for part in model.judged(batch)), strict=True)
                for place, size, (loss, hit) in zip(places, sizes, parts, strict=True):
                    losses[place], hits[place], counts[place] = float(loss.mean()), float(hit.mean()), float(size)
        weights = tuple(counts)
        measures = (
            Measure("masked_loss", "nats per masked token", False, tuple(losses), weights),
            Measure("masked_accuracy", "share", True, tuple(hits), weights),
        )
        return Score(stage, task, {measure.name: measure for measure in measures})

    def questions(self, rows: Rows) -> Sequence[Any]:
        """Raise: raw text asks nothing.

        Raises:
            DataError: always.
        """
        _refuse(rows.name)

    def question(self, prompt: str) -> Any:
        """Raise: the model tells masked words, and answers nothing.

        Raises:
            DataError: always.
        """
        _refuse("--prompt")

    def answers(self, model: Trunk, questions: Sequence[Any], *, max_new_tokens: int | None) -> list[dict[str, Any]]:
        """Return nothing: there are no questions."""
        return []


def _judged(item: Item) -> Entry:
    """Return the item with a masking that its own tokens decide, whichever table they stand in."""
    return Entry(0, item.input_ids, item.supervised, draw=(hash_of(repr(item.input_ids)), JUDGED))


def told_by(processor: Processor) -> str:
    """Return in words where the layer comes from that tells masked words."""
    if processor.holds_masked_head:
        return "masked words are told by the layer that the checkpoint holds"
    return "the checkpoint holds no layer that tells masked words: a new one is made, tied to the embeddings"


def _refuse(where: str) -> NoReturn:
    found = "this task was learned from masked words, and answers nothing"
    raise DataError(Problem(where, found, remedy="score held-out text with `tenfold evaluate`"))
