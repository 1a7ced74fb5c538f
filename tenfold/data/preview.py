"""What a person should see before training: lengths, the share that is learned, and rows token by token.

The rows are read back from the very batches that the engine trains on, so a wrong mask shows here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import numpy as np

from tenfold.data.batch import IGNORED, Batch, Entry
from tenfold.data.label_render import LabelRenderer
from tenfold.data.masking import MaskedRenderer
from tenfold.data.rendered import RowRenderer
from tenfold.data.source_render import SourceRenderer
from tenfold.data.speech_render import SpeechRenderer
from tenfold.data.windows import Windows


@dataclass(frozen=True)
class PreviewRow:
    """One row of a batch: where it stands, its text in runs, each with whether it is in the loss, and its label if any.

    Of a row with a label those tokens are in the loss that a tag or the answer lies on.
    """

    origin: str
    runs: tuple[tuple[str, bool], ...]
    label: str = ""

    @property
    def marked(self) -> str:
        """The text with ⟦ and ⟧ around what is in the loss."""
        return "".join(f"⟦{text}⟧" if in_loss else text for text, in_loss in self.runs)


@dataclass(frozen=True)
class Preview:
    """What all rows add up to, and some of them; `lengths` is (from, to, rows) in tokens, `to` included."""

    num_rows: int
    num_tokens: int
    supervised_share: float
    lengths: tuple[tuple[int, int, int], ...]
    rows: tuple[PreviewRow, ...]


def preview(windows: Windows, renderer: RowRenderer, *, num_rows: int = 3, num_bins: int = 8) -> Preview:
    """Return the preview of `windows`: figures of all rows, and the first `num_rows` that are trained on."""
    lengths = windows.prepared.column("length")
    num_tokens = int(lengths.sum())
    supervised = int(windows.prepared.column("num_supervised").sum())
    return Preview(
        num_rows=len(lengths),
        num_tokens=num_tokens,
        supervised_share=supervised / num_tokens,
        lengths=_histogram(lengths, num_bins),
        rows=tuple(_first_rows(windows, renderer, num_rows)),
    )


def _histogram(lengths: np.ndarray, num_bins: int) -> tuple[tuple[int, int, int], ...]:
    low, high = int(lengths.min()), int(lengths.max())
    width = (high - low) // num_bins + 1
    counts = np.bincount((lengths - low) // width, minlength=(high - low) // width + 1)
    return tuple((low + n * width, low + (n + 1) * width - 1, int(count)) for n, count in enumerate(counts))


def _first_rows(windows: Windows, renderer: RowRenderer, num_rows: int) -> Iterator[PreviewRow]:
    left = min(num_rows, len(windows.prepared))
    for update in range(windows.updates_per_epoch):
        for batch in windows.window(update).batches:
            for place in range(min(left, len(batch.rows))):
                row = batch.rows[place]
                label = renderer.shown(batch, place) if isinstance(renderer, LabelRenderer) else ""
                runs = (*_source(windows.prepared.row(row), renderer), *_runs(batch, place, renderer))
                yield PreviewRow(windows.origin(row), runs, label)
            left -= min(left, len(batch.rows))
        if left == 0:
            return


def _source(entry: Entry, renderer: RowRenderer) -> Iterator[tuple[str, bool]]:
    if entry.source is not None and isinstance(renderer, SourceRenderer | SpeechRenderer):
        yield f"{renderer.source_text(entry)} → ", False


def _runs(batch: Batch, place: int, renderer: RowRenderer) -> Iterator[tuple[str, bool]]:
    start, end = batch.cu_seqlens[place : place + 2].tolist()
    ids, targets = batch.input_ids[start:end].tolist(), batch.targets[start:end].tolist()
    if isinstance(renderer, LabelRenderer):
        marks = renderer.marks(batch, place)
    elif isinstance(renderer, MaskedRenderer):
        marks = [target != IGNORED for target in targets]
    else:  # a row's first token has no position before it that could predict it
        marks = [target != IGNORED for target in (IGNORED, *targets[:-1])]
    for is_marked, run in groupby(zip(ids, marks, strict=True), key=itemgetter(1)):
        yield renderer.text_of([token for token, _ in run]), is_marked
