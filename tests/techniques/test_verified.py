"""The first stage of every technique keeps what `tenfold verify` asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tenfold.recipe import parse_recipe
from tenfold.verify.verifying import verify_recipe
from tests.techniques.test_behaviour import RECIPES, technique_of

OTHERS = [kind for kind in RECIPES if kind != "feature_based"]
"""Those that train something of the model."""


@pytest.mark.parametrize("kind", OTHERS)
def test_its_first_stage_keeps_every_invariant(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    own: dict[str, Any] = dict(RECIPES[kind])
    basis = request.getfixturevalue(own.pop("basis", "settings"))
    verification = verify_recipe(parse_recipe({**basis, **own, "technique": technique_of(kind, tmp_path)}))
    outcomes = {finding.check: finding.outcome for finding in verification.findings}
    assert verification.is_passed, [finding for finding in verification.findings if finding.outcome == "FAIL"]
    trained = {"moved", "repeated", "resumed", "accumulation", "packing", "kernels", "recomputation"}
    assert all(outcomes[check] == "pass" for check in trained)
