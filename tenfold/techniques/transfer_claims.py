"""What the literature promises of transfer: fewer labelled rows than training from random weights."""

from __future__ import annotations

from tenfold.techniques.technique import Claim, Evidence, Verdict

PRETRAINED, SCRATCH = "pretrained-", "scratch-"
"""What the names of the curve's stages begin with; the number of rows follows."""

ROWS_MET = "rows met by the curve"
"""The name under which a run reports how many rows each stage of its curve has met."""


def fewer_rows_than_from_scratch(*, source: str) -> Claim:
    """Return the claim that fewer rows give at least what all of them give from random weights.

    Held when with fewer rows the start from the model as it came is clearly better; unclear when it is only not worse.
    As both train for equal epochs, so many times fewer rows are as many times fewer updates. Rows that the updates were
    too few to meet are not counted.
    """

    def judge(evidence: Evidence) -> Verdict:
        sizes = curve_sizes(evidence)
        if not sizes:
            return Verdict("unclear", "not compared: set technique.curve, for example [32, 64, 128, 256]")
        most = sizes[-1]
        task = next(iter(evidence.lineage.taught()))
        as_good = None
        for size in sizes:
            few, many = f"{PRETRAINED}{size}", f"{SCRATCH}{most}"
            change = evidence.scorecard.primary_change(task, before=many, after=few)
            if change is None:
                return Verdict("unclear", "no held-out rows to measure it on")
            own, all_rows = rows_met(evidence, few), rows_met(evidence, many)
            told = f"{own} rows against {all_rows} from scratch: {change.figure}"
            if change.is_better and own < all_rows:
                return Verdict("held", f"{told}, {all_rows / own:.0f} times fewer")
            as_good = as_good or (None if change.is_worse else told)
        return Verdict("unclear" if as_good else "not held here", as_good or told)

    return Claim("fewer labelled rows and updates than from scratch for the same score", source, judge)


def curve_sizes(evidence: Evidence) -> list[int]:
    """Return the numbers of rows that both ways of starting were trained on."""
    stages = evidence.scorecard.stages
    sizes = [int(name.removeprefix(SCRATCH)) for name in stages if name.startswith(SCRATCH)]
    return sorted(size for size in sizes if f"{PRETRAINED}{size}" in stages)


def rows_of_curve(stage: str) -> int:
    """Return the number of rows that the name of a stage of the curve tells; 0 of any other."""
    start = next((name for name in (PRETRAINED, SCRATCH) if stage.startswith(name)), None)
    return int(stage.removeprefix(start)) if start else 0


def rows_met(evidence: Evidence, stage: str) -> int:
    """Return how many rows the stage has met: fewer than its name tells where its updates were too few."""
    return int(evidence.reported.get(ROWS_MET, {}).get(stage, rows_of_curve(stage)))
