"""What the literature promises of a student, each promise bound to what the run measured."""

from __future__ import annotations

from collections.abc import Mapping

from tenfold.evaluation.scorecard import RETENTION, Measure, Score, Scorecard
from tenfold.evaluation.statistics import FEWEST_ROWS, Interval
from tenfold.techniques.distillation_floor import guessing_told
from tenfold.techniques.technique import Claim, Evidence, Verdict

TEACHER, ALONE, STUDENT = "teacher", "alone", "distillation"
"""The stages' names: the teacher's scores, the same student without it, and the student."""

SERVING = "serving"
"""The name under which timings are kept, beside the tasks' scores."""

KEPT = 0.9
"""The share of the teacher's score that a student must keep; DistilBERT kept 0.97 of BERT's."""


def smaller(*, source: str) -> Claim:
    """Return the claim that the student has fewer parameters than its teacher."""

    def judge(evidence: Evidence) -> Verdict:
        found = {name: _timed(evidence, name) for name in (TEACHER, STUDENT)}
        if None in found.values():
            return Verdict("unclear", "not measured: there are no test rows")
        (many, teacher), (few, student) = (
            (measures["parameters"].value, measures["weight_bytes"].value) for measures in found.values() if measures
        )
        figure = (
            f"{few / 1e6:.1f} of {many / 1e6:.1f} million parameters ({few / many:.2f}), "
            f"{student / 1e6:.0f} of {teacher / 1e6:.0f} MB in memory"
        )
        return Verdict("held" if few < many else "not held here", figure)

    return Claim("smaller than its teacher", source, judge)


def faster(*, source: str) -> Claim:
    """Return the claim that the student answers faster, both timed in turn on the same prompts."""

    def judge(evidence: Evidence) -> Verdict:
        timings = evidence.timings or Scorecard()
        change = timings.change(SERVING, "answer_seconds", before=TEACHER, after=STUDENT)
        slow, fast = _timed(evidence, TEACHER), _timed(evidence, STUDENT)
        if change is None or slow is None or fast is None:
            return Verdict("unclear", "not measured: there are no test rows")
        ratio = slow["answer_seconds"].ratio_to(fast["answer_seconds"])
        assert ratio is not None, "an answer takes time"
        speeds = [per_second(each) for each in (fast, slow)]
        figure = (
            f"{ratio.mean:.2f} [{ratio.low:.2f}, {ratio.high:.2f}] times as fast for one answer; "
            f"in batches {speeds[0].value:.0f} and {speeds[1].value:.0f} {speeds[0].unit}"
        )
        return Verdict.on(change, figure)

    return Claim("faster than its teacher, on this machine", source, judge)


def keeps_quality(*, source: str) -> Claim:
    """Return the claim that the student keeps at least `KEPT` of the teacher's score on test rows."""

    def judge(evidence: Evidence) -> Verdict:
        student, teacher = (_score(evidence.scorecard, stage) for stage in (STUDENT, TEACHER))
        if student is None or teacher is None:
            return Verdict("unclear", "not measured: there are no test rows")
        name = teacher.primary.title
        first, second = student.primary, teacher.primary
        if first.weights != second.weights:
            return Verdict("unclear", f"{name} counts tokens of two tokenizers")
        ratio = share_kept(first, second)
        if ratio is None:
            return Verdict("unclear", f"{name} of the teacher is not above 0: there is nothing to keep")
        figure = f"{ratio.mean:.2f} [{ratio.low:.2f}, {ratio.high:.2f}] of its {name} ({_both(first, second)})"
        why = guessing_told(evidence.reported) or _too_few(ratio, first.num_items)
        if why:
            return Verdict("unclear", f"{figure}; {why}")
        if ratio.low >= KEPT:
            return Verdict("held", figure)
        return Verdict("not held here" if ratio.high < KEPT else "unclear", figure)

    return Claim(f"keeps at least {KEPT:.0%} of its teacher's score on test rows", source, judge)


def better_than_alone(*, source: str) -> Claim:
    """Return the claim that the same student, from the same start, is worse without its teacher."""

    def judge(evidence: Evidence) -> Verdict:
        student = _score(evidence.scorecard, STUDENT)
        if student is None or _score(evidence.scorecard, ALONE) is None:
            return Verdict("unclear", "not measured: technique.compare is off")
        likelihood = ("response_loss", "negative_log_likelihood")
        names = list(dict.fromkeys([student.primary.name, *(name for name in likelihood if name in student.measures)]))
        changes = [evidence.scorecard.change(student.task, name, before=ALONE, after=STUDENT) for name in names]
        figures = []
        for change in changes:
            assert change is not None, "both stages answered the same rows"
            figures.append(change.figure)
        first = changes[0]
        assert first is not None
        return Verdict.on(first, "; ".join(figures))

    return Claim("better than the same student without its teacher", source, judge)


def share_kept(student: Measure, teacher: Measure) -> Interval | None:
    """Return which share of the teacher's quality the student has, of the same rows; None where there is none."""
    above, below = (student, teacher) if student.higher_is_better else (teacher, student)
    return above.ratio_to(below)


def _too_few(kept: Interval, num_items: int) -> str:
    """Return why so few rows show nothing, or an empty string.

    An interval of no width says only that no row lost anything: of N rows, 1 of 20 such draws hides a loss of
    1 - 0.05^(1/N). Source: Hanley & Lippman-Hand 1983, JAMA 249(13), "If nothing goes wrong, is everything all right?"
    """
    if num_items < FEWEST_ROWS:
        return f"{num_items} test rows are too few to show it"
    could_be = 0.05 ** (1 / num_items)
    if kept.low == kept.high >= KEPT > could_be:
        return f"no row differs, and of {num_items} such rows it could still be {could_be:.2f}"
    return ""


def per_second(timed: Mapping[str, Measure]) -> Measure:
    """Return of what was timed how much is answered in a second, in its own unit."""
    return next(measure for name, measure in timed.items() if name.endswith("_per_second"))


def _score(scorecard: Scorecard, stage: str) -> Score | None:
    task = next((task for task in scorecard.tasks if task != RETENTION), None)
    return None if task is None else scorecard.score(stage, task)


def _timed(evidence: Evidence, stage: str) -> dict[str, Measure] | None:
    score = evidence.timings.score(stage, SERVING) if evidence.timings else None
    return None if score is None else score.measures


def _both(student: Measure, teacher: Measure) -> str:
    return f"{student.value:.3f}, the teacher's {teacher.value:.3f}"
