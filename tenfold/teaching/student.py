"""The student as a folder of its own: some blocks of another model, or a new configuration with random weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from tenfold.engine.runtime import Runtime
from tenfold.files import atomic_folder, sha256_text
from tenfold.models.blocks import random_model, take_blocks
from tenfold.models.heads import HeadSettings, TaskHead, head_key, save_heads
from tenfold.models.load import Tokenizer, load_network
from tenfold.models.save import save_model
from tenfold.models.sources import ModelFiles
from tenfold.paths import cache_folder
from tenfold.teaching.teacher import Teacher
from tenfold.tuning.identity import identify

FORMAT = 1
"""Raise it when the same settings would give another student."""


@dataclass(frozen=True)
class Origin:
    """The model that a student is made of, known by its hash before `load` reads its weights."""

    name: str
    folder: Path
    tokenizer: Tokenizer
    sha256: str
    load: Callable[[], nn.Module]


@dataclass(frozen=True)
class GivenHead:
    """A head that a student begins with: for its `task`, weight [C, H] and bias [C]."""

    task: str
    settings: HeadSettings
    weight: Tensor
    bias: Tensor

    @property
    def sha256(self) -> str:
        """The hash of all of it."""
        parts = [tensor.detach().cpu().contiguous().numpy().tobytes().hex() for tensor in (self.weight, self.bias)]
        return sha256_text(self.task, repr(self.settings), *parts)

    def module(self) -> TaskHead:
        """Return it as a layer."""
        with torch.random.fork_rng():
            head = TaskHead(self.settings, self.weight.shape[1])
        head.linear.load_state_dict({"weight": self.weight, "bias": self.bias})
        return head


def plain_origin(files: ModelFiles, tokenizer: Tokenizer) -> Origin:
    """Return the origin that a folder is; its weights keep their type."""

    def load() -> nn.Module:
        config = json.loads((files.folder / "config.json").read_text(encoding="utf-8"))
        dtype = getattr(torch, str(config.get("dtype") or config.get("torch_dtype") or "float32"))
        return load_network(files.folder, dtype=dtype, device=torch.device("cpu"))

    sha256 = identify(files.folder, tokenizer, name=files.name).sha256
    return Origin(files.name, files.folder, tokenizer, sha256, load)


def teacher_origin(teacher: Teacher, *, seed: int) -> Origin:
    """Return the origin that a teacher is; an adapter is summed into its base first, in fp32."""
    if not teacher.is_adapter:
        return plain_origin(teacher.files, teacher.tokenizer)
    runtime = Runtime(device=torch.device("cpu"), precision="fp32", threads=torch.get_num_threads(), seed=seed)
    return Origin(
        teacher.name,
        teacher.files.folder,
        teacher.tokenizer,
        teacher.sha256,
        lambda: teacher.load_merged(runtime).base,
    )


def student_of_blocks(origin: Origin, blocks: Sequence[int], *, head: GivenHead | None = None) -> ModelFiles:
    """Return the files of the student that has these blocks of `origin` and all else as it is there, made once.

    With `head` it begins with that one, too.
    """
    told = f"{origin.name}, layers {' '.join(map(str, blocks))}"
    key = sha256_text(str(FORMAT), origin.sha256, json.dumps(list(blocks)), *([] if head is None else [head.sha256]))
    return _made(key, told, origin, lambda: take_blocks(origin.load(), blocks), head)


def random_student(origin: Origin, changes: Mapping[str, object], *, seed: int) -> ModelFiles:
    """Return the files of a student with random weights and the configuration of `origin` with `changes`, made once."""
    told = f"{origin.name}, anew with {', '.join(f'{name} {value}' for name, value in changes.items())}"
    key = sha256_text(str(FORMAT), origin.sha256, json.dumps(dict(changes), sort_keys=True), str(seed))
    return _made(key, told, origin, lambda: random_model(origin.folder, changes, seed=seed))


def _made(
    key: str, told: str, origin: Origin, make: Callable[[], nn.Module], head: GivenHead | None = None
) -> ModelFiles:
    folder = cache_folder("models") / f"student-{key[:16]}"
    if not folder.is_dir():
        with atomic_folder(folder) as partial:
            save_model(make(), partial)
            origin.tokenizer.save_pretrained(partial)
            if head is not None:
                save_heads(nn.ModuleDict({head_key(head.task): head.module()}), partial)
    return ModelFiles(told, folder, f"made of {told}", is_made=True)
