"""What the literature promises of transfer: fewer labelled rows than training from random weights."""

from __future__ import annotations

from tenfold.techniques.technique import Claim, Evidence, Verdict


def fewer_rows_than_from_scratch(*, source: str) -> Claim:
    """Return the claim that fewer rows give at least what all of them give from random weights.

    Held when with fewer rows the start from the model as it came is clearly better; unclear when it is only not worse.
    As both train for equal epochs, so many times fewer rows are as many times fewer updates.
    """

    def judge(evidence: Evidence) -> Verdict:
        sizes = curve_sizes(evidence)
        if not sizes:
            return Verdict("unclear", "not compared: set technique.curve, for example [32, 64, 128, 256]")
        most = sizes[-1]
        task = next(iter(evidence.lineage.taught()))
        as_good = None
        for size in sizes:
            change = evidence.scorecard.primary_change(task, before=f"scratch-{most}", after=f"pretrained-{size}")
            if change is None:
                return Verdict("unclear", "no held-out rows to measure it on")
            figure = change.figure
            told = f"{size} rows against {most} from scratch: {figure}"
            if change.is_better and size < most:
                return Verdict("held", f"{told}, {most / size:.0f} times fewer")
            as_good = as_good or (None if change.is_worse else told)
        return Verdict("unclear" if as_good else "not held here", as_good or told)

    return Claim("fewer labelled rows and updates than from scratch for the same score", source, judge)


def curve_sizes(evidence: Evidence) -> list[int]:
    """Return the numbers of rows that both ways of starting were trained on."""
    stages = evidence.scorecard.stages
    sizes = [int(name.removeprefix("scratch-")) for name in stages if name.startswith("scratch-")]
    return sorted(size for size in sizes if f"pretrained-{size}" in stages)
