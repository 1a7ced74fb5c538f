"""The claims that several techniques share, each bound to columns of the scorecard or of the cost."""

from __future__ import annotations

from tenfold.evaluation.figures import share_text
from tenfold.techniques.technique import Claim, Evidence, Verdict


def task_metric_rises(*, source: str) -> Claim:
    """Return the claim that the task metric on held-out rows is better after than before."""

    def judge(evidence: Evidence) -> Verdict:
        return Verdict.on(evidence.scorecard.task_change())

    return Claim("better than the base model on held-out rows", source, judge)


MARGIN = 0.02
"""Bits per byte by which general text may cost more and still count as kept."""


def keeps_general_text(*, source: str) -> Claim:
    """Return the claim that general text costs at most `MARGIN` bits a byte more: held if all the interval says so."""

    def judge(evidence: Evidence) -> Verdict:
        change = evidence.scorecard.change("retention", "general_bits_per_byte")
        if change is None:
            return Verdict("unclear", f"not measured: {evidence.without_retention}")
        interval = change.test.difference
        figure = f"bits per byte {interval.signed}"
        if interval.high <= MARGIN:
            return Verdict("held", figure)
        return Verdict("not held here" if interval.low > MARGIN else "unclear", figure)

    return Claim(f"general text costs at most {MARGIN} bits a byte more than before", source, judge)


def trains_few_parameters(*, share: float, source: str) -> Claim:
    """Return the claim that less than `share` of the parameters train."""

    def judge(evidence: Evidence) -> Verdict:
        found = evidence.cost.trainable_share
        return Verdict("held" if found < share else "not held here", f"{share_text(found)} of the parameters")

    return Claim(f"fewer than {share:.0%} of the parameters train", source, judge)


def small_on_disk(*, share: float, source: str) -> Claim:
    """Return the claim that what is saved takes less than `share` of the base model's bytes."""

    def judge(evidence: Evidence) -> Verdict:
        found = evidence.cost.bytes_on_disk / evidence.cost.base_bytes
        return Verdict("held" if found < share else "not held here", f"{found:.1%} of the base model's bytes")

    return Claim(f"what is saved is under {share:.0%} of the base model's size", source, judge)
