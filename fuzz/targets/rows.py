"""Files of rows, of every kind: from the file's bytes to what each row says."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from itertools import islice

import pyarrow as pa
from datasets import Dataset

from fuzz.promise import Target
from fuzz.targets.place import scratch, with_one_replaced
from tenfold.data.examples import to_example, to_question, to_unlabelled
from tenfold.data.fields import RowFault
from tenfold.data.formats import LABELLED, detect_format
from tenfold.data.readers import KINDS, read_file, read_tables
from tenfold.data.sources import load_saved

MOST_ROWS = 200
"""Read of one input: a small file may hold very many rows."""


def _read(ending: str, content: bytes) -> None:
    path = scratch() / f"rows{ending}"
    path.write_bytes(content)
    rows = [json.loads(row) for _, row in islice(read_file(path, path.name), MOST_ROWS)]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    format = detect_format(columns, "auto", {}, path.name)
    for row in rows:
        for understand in (to_example, to_unlabelled if format in LABELLED else to_question):
            with suppress(RowFault):
                understand(row, format, {})


def _read_saved(content: bytes) -> None:
    folder = scratch() / "saved"
    with_one_replaced(folder, _saved(), content)
    dataset = load_saved(folder)
    assert isinstance(dataset, Dataset)
    for _ in islice(read_tables(dataset.with_format("arrow").iter(100), "saved"), MOST_ROWS):
        pass


@cache
def _saved() -> dict[str, bytes]:
    folder = scratch() / "sound"
    table = pa.table({"prompt": ["a", "b"], "completion": ["c", "d"]})
    Dataset(table).save_to_disk(str(folder))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _target(ending: str, read: Callable[[str, bytes], None] = _read) -> Target:
    return Target(f"rows{ending.replace('.', '_')}", f"a file of rows, `{ending}`", partial(read, ending))


TARGETS = (
    *(_target(ending) for ending in KINDS if ending not in (".ndjson", ".md")),
    _target(".jsonl.gz"),
    Target("rows_saved", "a data set as `save_to_disk` writes it", _read_saved, share=0.2),
)
