"""Recipes of tiny runs, for tests that carry one out in several processes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from reliability.crash.workloads import WORKLOADS, Workload, lay_out, write_recipe
from tests.engine.in_ranks import Begin


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny models without dropout, and rows."""
    folder = tmp_path_factory.mktemp("ranks")
    lay_out(folder)
    config = folder / "bert" / "config.json"
    no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config.write_text(json.dumps({**json.loads(config.read_text()), **no_dropout}))
    return folder


@pytest.fixture
def begin(laid_out: Path, tmp_path: Path) -> Begin:
    """Return a function to a new folder with a workload's recipe, beside what is laid out; no dropout unless asked."""

    def make(name: str, workload: Workload = WORKLOADS["instruction"], *, dropout: float = 0.0) -> Path:
        folder = laid_out / f"{tmp_path.name}-{name}"
        write_recipe(folder, workload)
        recipe = folder / "recipe.yaml"
        recipe.write_text(re.sub(r"dropout: [\d.]+", f"dropout: {dropout}", recipe.read_text()))
        return folder

    return make
