"""What training and evaluation read: all rows of a split as tokens with a loss mask, on disk, made once.

The table is kept under the fingerprints of the rows and of the renderer, and is written and read in chunks,
so its memory does not grow with the rows.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from tenfold.data.arrow_cache import Columns, cached_table
from tenfold.data.batch import Batch, Entry, LabelForm
from tenfold.data.examples import Example
from tenfold.data.fields import RowFault
from tenfold.data.identity import hash_of, prompt_keys, row_key
from tenfold.data.labelled import Labelled
from tenfold.data.rendered import Rendered, RowRenderer, WordRenderer
from tenfold.data.sources import Rows
from tenfold.errors import DataError, Problem

FAULTS_TOLD = 5
"""How many faulty rows a message names; the rest are counted."""

_SCHEMA = pa.schema(
    [
        ("input_ids", pa.list_(pa.int32())),
        ("supervised", pa.list_(pa.bool_())),
        ("labels", pa.list_(pa.float64())),
        ("length", pa.int32()),
        ("num_supervised", pa.int32()),
        ("source", pa.int64()),
        ("end_supervised", pa.bool_()),
        ("truncated", pa.bool_()),
        ("response_cut", pa.bool_()),
        ("prompt_keys", pa.list_(pa.int64())),
        ("row_key", pa.int64()),
        ("source_ids", pa.list_(pa.int32())),
        ("audio", pa.string()),
        ("source_length", pa.int32()),
        ("notes", pa.list_(pa.string())),
    ]
)


class Collate(Protocol):
    """What makes a batch of entries: a renderer's own `collate`."""

    def __call__(self, entries: Sequence[Entry], *, task: str) -> Batch:
        """Return `entries` as one batch."""
        ...


@dataclass(frozen=True)
class Prepared:
    """The tokens of `rows`: one entry a row, but several for long raw text; `source` is an entry's row.

    Columns: `input_ids`, `supervised` (whether that token itself is in the loss), `labels`, `length` in tokens,
    `num_supervised` (tokens in the loss, or labels), `source`, the flags of `Rendered`, and the keys of `identity.py`.
    `form` says what the labels are; None where words are learned. Where the model has an encoder and a decoder, the
    tokens are the decoder's; what the encoder reads is `source_ids` or the file `audio`.
    """

    rows: Rows
    table: Dataset
    fingerprint: str
    collate: Collate
    task: str = "main"
    form: LabelForm | None = None

    def __len__(self) -> int:
        """How many entries."""
        return len(self.table)

    def row(self, index: int) -> Entry:
        """Return one entry."""
        return self.entries([index])[0]

    def entries(self, indices: Sequence[int]) -> list[Entry]:
        """Return the entries at `indices`, read in one go."""
        chunk = self._read[list(indices)]
        # a row without a source has no tokens and no file
        sources = [audio or ids or None for audio, ids in zip(chunk["audio"], chunk["source_ids"], strict=True)]
        columns = (chunk["input_ids"], chunk["supervised"], chunk["labels"], sources, chunk["source_length"])
        return [Entry(*each) for each in zip(indices, *columns, strict=True)]

    @cached_property
    def _read(self) -> Dataset:
        """The columns of entries alone: to read the others would take as long again."""
        return self.table.select_columns(["input_ids", "supervised", "labels", "source_ids", "audio", "source_length"])

    def batch(self, entries: Sequence[Entry]) -> Batch:
        """Return `entries` as one batch of this table's task."""
        return self.collate(entries, task=self.task)

    def select(self, indices: Sequence[int]) -> Prepared:
        """Return a few entries, those at `indices`, as a table of their own in memory."""
        digest = hashlib.sha256(f"{self.fingerprint} {list(indices)}".encode()).hexdigest()
        chosen = self.table.with_format("arrow")[list(indices)]
        return replace(self, table=Dataset(chosen), fingerprint=digest)

    def column(self, name: str) -> np.ndarray:
        """Return one column of numbers or flags for all entries."""
        return cast(np.ndarray, self.table.data.column(name).to_numpy())

    def prompts(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the keys of all entries' prompts, and for each key the entry that it belongs to."""
        keys = self.table.data.column("prompt_keys").combine_chunks()
        return keys.flatten().to_numpy(), pc.list_parent_indices(keys).to_numpy()

    def origin(self, index: int) -> str:
        """Where the entry's row stands, for messages: `orders.jsonl, line 3`."""
        return self.rows.origin(int(self.table[index]["source"]))


@dataclass(frozen=True)
class Item:
    """A row to judge the model by: what it is given, and the reply that the row holds.

    `prompt` is the text of the last turn before the reply, for people to read; `prompt_ids` is the whole
    prompt. Raw text asks nothing: both are empty, and so is `reference`. A row with a label has it as text in
    `reference`, and `prompt_ids` is empty: all of its tokens ask. Where the model has an encoder and a decoder, the one
    reads `source` (as in `Entry`), and the other starts from `prompt_ids`.
    """

    row: int
    prompt_ids: list[int]
    prompt: str
    reference: str
    input_ids: list[int]
    supervised: list[bool]
    source: Sequence[int] | str | None = None
    source_length: int = 0


def prepare(rows: Rows, renderer: RowRenderer, *, task: str = "main", side: str = "") -> Prepared:
    """Return all `rows` of `task` as tokens, from the cache when the same rows were rendered the same way before.

    `side` is what messages call these rows where a source has others too, such as `train`.

    Raises:
        DataError: rows that cannot be learned from; the first five with their place, and how many there are. Or a
            template that can render nothing.
    """
    try:
        key = hashlib.sha256(f"{rows.fingerprint} {renderer.fingerprint} {_files(rows)}".encode()).hexdigest()
    except RowFault as fault:  # not even the question and the reply that the fingerprint tries
        raise DataError(Problem("chat template", str(fault), remedy="set data.chat_template to another one")) from None
    table = cached_table(f"tokens-{key}", _SCHEMA, lambda: _chunks(rows, renderer, side))
    if rows.format == "speech":
        # where the files lie and when they were written decides what is cached; what they hold decides the result
        content = cast(np.ndarray, table.data.column("row_key").to_numpy()).tobytes()
        key = hashlib.sha256(f"{rows.fingerprint} {renderer.fingerprint}".encode() + content).hexdigest()
    return Prepared(rows, table, key, renderer.collate, task, renderer.form)


def _files(rows: Rows) -> str:
    """Return a hash of the audio files that the rows name: path, size and time of change; empty without any."""
    if rows.format != "speech":
        return ""
    digest = hashlib.sha256()
    column = rows.columns.get("audio", "audio")
    for _, chunk in rows.chunks():
        for row in chunk:
            path = Path(rows.folder) / Path(str(row.get(column))).expanduser()
            try:
                status = path.stat()
                digest.update(f"{path.absolute()} {status.st_size} {status.st_mtime_ns}\n".encode())
            except (OSError, ValueError):
                digest.update(b"missing\n")  # told when the rows are rendered
    return digest.hexdigest()


def items(prepared: Prepared, renderer: WordRenderer, *, max_rows: int, seed: int) -> list[Item]:
    """Return at most `max_rows` items, as `chosen` chooses them."""
    return [_item(prepared, renderer, index) for index in chosen(prepared, max_rows=max_rows, seed=seed)]


def chosen(prepared: Prepared, *, max_rows: int, seed: int) -> list[int]:
    """Return at most `max_rows` entries, the first in an order that only `seed` and the rows' content decide."""
    keys = prepared.column("row_key")
    ranks = [hash_of(f"items {seed} {key}") for key in keys.tolist()]
    return sorted(sorted(range(len(keys)), key=lambda index: (ranks[index], index))[:max_rows])


def _item(prepared: Prepared, renderer: WordRenderer, index: int) -> Item:
    entry = prepared.row(index)
    if prepared.rows.format == "text":
        return Item(index, [], "", "", entry.input_ids, entry.supervised)
    example = prepared.rows.example(index)
    assert isinstance(example, Example), "rows with labels are other items"
    return Item(
        row=index,
        prompt_ids=list(renderer.ask(example).input_ids),
        prompt=example.turns[-2].content,
        reference=renderer.reference(example),
        input_ids=entry.input_ids,
        supervised=entry.supervised,
        source=entry.source,
        source_length=entry.source_length,
    )


def _chunks(rows: Rows, renderer: RowRenderer, side: str) -> Iterator[Columns]:
    faults: list[Problem] = []
    num_faults = 0
    first = 0
    for origins, chunk in rows.chunks():
        with _uncollected():
            results = _rendered(rows, renderer, chunk)
        for origin, (_, rendered) in zip(origins, results, strict=True):
            if isinstance(rendered, RowFault):
                num_faults += 1
                if len(faults) < FAULTS_TOLD:
                    faults.append(Problem(origin, str(rendered), remedy=rendered.remedy))
        if not num_faults:
            with _uncollected():
                columns = _columns(renderer, first, cast(list[tuple[Example | Labelled, Rendered]], results))
            yield columns
        first += len(chunk)
    if num_faults:
        found = f"{num_faults} of {len(rows)} {f'{side} rows'.lstrip()} cannot be used (format {rows.format})"
        told = f"the first {FAULTS_TOLD} are named above; " if num_faults > FAULTS_TOLD else ""
        raise DataError(*faults, Problem(rows.name, found, remedy=f"{told}mend or remove them"))


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keep the garbage collector out: a chunk's objects die without it, and it would walk all that is loaded."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _rendered(
    rows: Rows, renderer: RowRenderer, chunk: list[dict[str, object]]
) -> list[tuple[Example | Labelled | None, Rendered | RowFault]]:
    read: list[Example | Labelled | RowFault] = []
    for row in chunk:
        try:
            read.append(rows.read(row))
        except RowFault as fault:
            read.append(fault)
    rendered = iter(renderer.render_all([example for example in read if not isinstance(example, RowFault)]))
    return [(None, each) if isinstance(each, RowFault) else (each, next(rendered)) for each in read]


def _columns(renderer: RowRenderer, first: int, results: list[tuple[Example | Labelled, Rendered]]) -> Columns:
    columns: Columns = {name: [] for name in _SCHEMA.names}
    for number, (example, rendered) in enumerate(results, first):
        keys = _keys(example, rendered, renderer)
        for piece in renderer.cut(example, rendered):
            entry = (
                piece.input_ids,
                piece.supervised,
                piece.labels,
                len(piece.input_ids),
                piece.num_supervised,
                number,
                piece.end_supervised,
                piece.truncated,
                piece.response_cut,
                *keys,
                piece.source if isinstance(piece.source, list) else [],
                piece.source if isinstance(piece.source, str) else None,
                piece.source_length,
                list(piece.notes),
            )
            for name, value in zip(columns, entry, strict=True):
                columns[name].append(value)
    return columns


def _keys(example: Example | Labelled, rendered: Rendered, renderer: RowRenderer) -> tuple[list[int], int]:
    """Return the keys of the row's prompts and of the row; sound counts by its bytes, whatever its file is called."""
    prompts = prompt_keys(example, renderer.data.train_on)
    if rendered.source_key is None or isinstance(example, Labelled):
        return prompts, row_key(example)
    return [*prompts, rendered.source_key], hash_of(f"{rendered.source_key} {example.turns[-1].content}")
