"""Ten techniques in one comparison, beside ten comparisons of one."""

from __future__ import annotations

from bench.sharing import SharingRow
from bench.training import ROOT

ROW = SharingRow(
    name="compare_cost",
    title="Ten techniques in one comparison",
    grid=ROOT / "recipes/compare/flagship.yaml",
    needs=ROOT / "recipes/compare/parts/teacher.yaml",
    updates_a_run=8,
    seeds=2,
    rates=(1.0, 3.0),
)
