"""What the literature promises of a model for one task, judged on the same test rows as what costs less."""

from __future__ import annotations

from tenfold.evaluation.scorecard import BEFORE, RETENTION, Change, Scorecard
from tenfold.techniques.task_specific_names import ALONE, CALIBRATED, TASK, WORDS, ZERO_SHOT
from tenfold.techniques.technique import Claim, Evidence, Verdict


def better_than(baseline: str, called: str, *, source: str) -> Claim:
    """Return the claim that the tuned model's task metric is clearly better than the `baseline`'s."""

    def judge(evidence: Evidence) -> Verdict:
        card = evidence.scorecard
        before = BEFORE if baseline == ZERO_SHOT and _writes(card) else baseline
        change = _change(card, before, card.stages[-1])
        if change is None:
            return Verdict("unclear", _why_not(card, baseline))
        return Verdict.on(change)

    return Claim(f"better than {called}", source, judge)


def probabilities_can_be_trusted(*, source: str) -> Claim:
    """Return the claim that temperature scaling makes the labels of test rows more likely."""

    def judge(evidence: Evidence) -> Verdict:
        card = evidence.scorecard
        change = _change(card, TASK, CALIBRATED, "negative_log_likelihood")
        if change is None:
            why = str(evidence.reported.get("calibration", "it needs classes or sets of labels"))
            return Verdict("unclear", f"not calibrated: {why.removeprefix('none: ')}")
        verdict = Verdict.on(change)
        error = _change(card, TASK, CALIBRATED, "calibration_error")
        also = "" if error is None else f"; calibration error {error.test.difference.mean:+.3f}"
        return Verdict(verdict.outcome, verdict.because + also)

    return Claim("a temperature chosen on validation rows makes probabilities more honest", source, judge)


def domain_helps(*, source: str) -> Claim:
    """Return the claim that the task is learned better after the domain's raw text."""

    def judge(evidence: Evidence) -> Verdict:
        change = _change(evidence.scorecard, ALONE, TASK)
        if change is None:
            return Verdict("unclear", "not compared: set technique.domain and technique.compare_domain: true")
        return Verdict.on(change)

    return Claim("better than without going on with the domain's text first", source, judge)


def _task(card: Scorecard) -> str | None:
    return next((task for task in card.tasks if task != RETENTION), None)


def _writes(card: Scorecard) -> bool:
    """Return whether the task is answered in words: then row 0 is the model asked as it is."""
    score = card.score(BEFORE, _task(card) or "")
    return score is not None and "response_loss" in score.measures


def _change(card: Scorecard, before: str, after: str, metric: str | None = None) -> Change | None:
    task = _task(card)
    late = None if task is None else card.score(after, task)
    if task is None or late is None:
        return None
    return card.change(task, metric or late.primary.name, before=before, after=after)


def _why_not(card: Scorecard, baseline: str) -> str:
    if _task(card) is None:
        return "no held-out rows to measure it on"
    if baseline == WORDS:
        return "not measured: technique.baselines is off, or rows are answered in words or parts of a context"
    return "not measured: technique.baselines is off, or rows have no classes to choose among by name"
