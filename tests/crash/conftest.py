"""A folder with tiny models, rows and recipes, beside which commands are given in processes that may be struck."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reliability.crash.campaign import run_in_peace
from reliability.crash.workloads import WORKLOADS, lay_out, write_recipe

Begin = Callable[..., Path]


@pytest.fixture(scope="session")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models and rows, and in `straight` an instruction run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("crash")
    lay_out(folder)
    write_recipe(folder / "straight", WORKLOADS["instruction"])
    run_in_peace(folder / "straight")
    return folder


@pytest.fixture
def begin(laid_out: Path, tmp_path_factory: pytest.TempPathFactory) -> Begin:
    """Return a function to a new folder with a workload's recipe, beside what is laid out."""
    count = 0

    def make(workload: str = "instruction", **sections: Any) -> Path:
        nonlocal count
        count += 1
        folder = laid_out / f"{tmp_path_factory.mktemp('of').name}-{count}"
        known = WORKLOADS[workload]
        write_recipe(folder, replace(known, sections={**known.sections, **sections}))
        return folder

    return make


@pytest.fixture
def small_disk(begin: Begin) -> Iterator[Path]:
    """A recipe's folder on a disk of 1 MB that is its own; skipped where nobody may mount one."""
    folder = begin()
    recipe = (folder / "recipe.yaml").read_text(encoding="utf-8")
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no small disk can be mounted: {done.stderr.strip()}")
    try:
        (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
