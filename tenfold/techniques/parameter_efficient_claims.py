"""What the literature promises of a small addition beside full tuning of the same model on the same rows."""

from __future__ import annotations

from tenfold.techniques.technique import Claim, Evidence, Verdict

FULL = "full"
"""The stage that tunes every weight, to compare with; its cost is reported under this name."""

NOT_COMPARED = "not compared: set technique.compare_full: true"


def cheaper_than_full(*, source: str) -> Claim:
    """Return the claim that training takes less memory and less time than full tuning.

    Full tuning runs first, in the same process, so what its memory leaves behind counts against the claim.
    """

    def judge(evidence: Evidence) -> Verdict:
        full = evidence.reported.get(FULL)
        if not isinstance(full, dict):
            return Verdict("unclear", NOT_COMPARED)
        time = evidence.cost.train_seconds / float(full["seconds"])
        memory = evidence.cost.peak_memory_bytes / float(full["peak_memory_bytes"])
        figure = f"{time:.2f} of the time, {memory:.2f} of the peak memory"
        return Verdict("held" if time < 1 and memory < 1 else "not held here", figure)

    return Claim("less memory and less time than full tuning", source, judge)


def keeps_more_than_full(*, source: str) -> Claim:
    """Return the claim that general text suffers less than under full tuning, at no clearly worse task score."""

    def judge(evidence: Evidence) -> Verdict:
        task = next(iter(evidence.lineage.taught()), "")
        kept = evidence.scorecard.change("retention", "general_bits_per_byte", before=FULL)
        score = evidence.scorecard.primary_change(task, before=FULL)
        if kept is None or score is None:
            is_compared = FULL in evidence.scorecard.stages
            return Verdict("unclear", f"not measured: {evidence.without_retention}" if is_compared else NOT_COMPARED)
        figures = [change.figure for change in (kept, score)]
        figure = f"against full tuning: {'; '.join(figures)}"
        if kept.is_better and not score.is_worse:
            return Verdict("held", figure)
        return Verdict("not held here" if kept.is_worse or score.is_worse else "unclear", figure)

    return Claim("general text is kept better than by full tuning, at no worse a task score", source, judge)
