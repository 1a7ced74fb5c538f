"""A model with more words: how `tenfold extend` makes one, and what that gains in tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from tenfold.data.examples import Example
from tenfold.data.fields import RowFault
from tenfold.data.identity import hash_of
from tenfold.data.sources import Rows
from tenfold.data.splits import open_splits
from tenfold.errors import DataError, Problem
from tenfold.files import atomic_folder
from tenfold.models.load import load_network, load_tokenizer
from tenfold.models.save import save_model
from tenfold.models.sources import resolve
from tenfold.models.vocabulary import Fertility, Init, extend_embeddings, extended_tokenizer, fertility
from tenfold.places import require_free
from tenfold.recipe import DataSection, ModelSection

HELD_OUT = 10
"""One text in so many is held out: fertility is measured where the new tokens were not chosen."""


@dataclass(frozen=True)
class Extension:
    """A model folder with more words, and what they do on texts they were not chosen from."""

    folder: Path
    added: tuple[str, ...]
    before: Fertility
    after: Fertility


def extend(
    model: str,
    data: str,
    *,
    num_tokens: int,
    init: Init,
    out: Path,
    columns: dict[str, str] | None = None,
    where: dict[str, tuple[str, ...]] | None = None,
    seed: int = 0,
) -> Extension:
    """Write `model` with at most `num_tokens` new tokens, learned from the rows of `data`, into the folder `out`.

    `where` keeps only rows whose column has one of its values. Of a sample, only its training rows are read.

    Raises:
        UserError: `out` exists; the model, its tokenizer or the rows cannot be used.
    """
    require_free(out)
    files = resolve(ModelSection(name=model))
    old = load_tokenizer(files.folder)
    section = DataSection(train=data, columns=columns or {}, where=where or {}, test_share=0.0)
    learned, held_out = _texts(open_splits(section, seed=seed, with_validation=False).train)
    new = extended_tokenizer(old, learned, num_tokens=num_tokens)
    base = load_network(files.folder, dtype=torch.float32, device=torch.device("cpu"))
    extend_embeddings(base, old, new, init=init, seed=seed)
    with atomic_folder(out) as partial:
        save_model(base, partial)
        new.save_pretrained(partial)
    added = new.convert_ids_to_tokens(range(len(old), len(new)))
    shown = tuple(new.convert_tokens_to_string([token]) for token in added)
    return Extension(out, shown, fertility(old, held_out), fertility(new, held_out))


def _texts(rows: Rows) -> tuple[list[str], list[str]]:
    """Return the texts to learn from and those held out; which is which, a text's own hash decides."""
    texts = {text for index in range(len(rows)) for text in _texts_of(rows, index)}
    ordered = sorted(texts, key=hash_of)
    cut = max(1, len(ordered) // HELD_OUT)
    if len(ordered) < 2:
        raise DataError(Problem(rows.name, "holds fewer than two texts", remedy="give more rows"))
    return ordered[cut:], ordered[:cut]


def _texts_of(rows: Rows, index: int) -> list[str]:
    try:
        example = rows.example(index)
    except RowFault as fault:
        raise DataError(Problem(rows.origin(index), str(fault), remedy=fault.remedy)) from None
    if not isinstance(example, Example):
        remedy = "name the column with the text: --columns text=COLUMN"
        raise DataError(Problem(rows.name, f"rows of format {rows.format}", "text, or prompts with responses", remedy))
    return [example.text] if example.text is not None else [turn.content for turn in example.turns]
