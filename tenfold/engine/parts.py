"""How tensors that lie in parts on several ranks are written and read again, by any number of ranks.

It is torch's distributed checkpoint over safetensors: files of each rank's own, each of which says what rows of which
tensor it holds. No file is a pickle, and nobody reads more than its own parts.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from tenfold.engine.ranks import Ranks


def write_parts(folder: Path, tensors: Mapping[str, Tensor], ranks: Ranks) -> None:
    """Write what this rank holds of `tensors` into `folder`; every rank calls this alike.

    Of what is whole on every rank one of them writes it.
    """
    writer = HuggingFaceStorageWriter(str(folder), _files(tensors), save_distributed=True)
    with _plainly():
        save(dict(tensors), storage_writer=writer, process_group=ranks.beside)


FILE_BYTES = 2**28
"""Of tensors whose parts go into one file of every rank: torch holds a copy of what it writes, a file at a time."""


def _files(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Return the number of the file, from 1 on, that each tensor goes into."""
    ends = accumulate(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    return {name: 1 + end // FILE_BYTES for name, end in zip(tensors, ends, strict=True)}


def read_parts(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Fill `tensors`, each whole or this rank's part, with what `folder` holds under their names."""
    with _plainly():
        load(dict(tensors), storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=True)


def sizes_in(folder: Path) -> dict[str, tuple[torch.Size, torch.dtype]]:
    """Return the shape and type of every tensor in `folder`, by name."""
    known = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    return {
        name: (each.size, each.properties.dtype)
        for name, each in known.items()
        if isinstance(each, TensorStorageMetadata)
    }


@contextmanager
def _plainly() -> Iterator[None]:
    """Raise what went wrong on a rank in place of torch's bundle, and keep back what torch says of its insides."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except CheckpointException as bundle:
            cause, _ = next(iter(bundle.failures.values()))
            raise cause from bundle
