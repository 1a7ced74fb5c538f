"""What the literature promises of features from a frozen model, each bound to what a run measured."""

from __future__ import annotations

from tenfold.evaluation.statistics import FEWEST_ROWS, paired_test
from tenfold.techniques.technique import Claim, Evidence, Verdict

FASTER = 10
"""How many times faster than fine-tuning counts as seconds instead of minutes."""

NEAR = 0.05
"""How far below fine-tuning's score the whole interval may reach for features to count as near it."""

FINE_TUNING = "fine_tuning"
"""The name of fine-tuning the same model, among stages and in what is reported."""

UNASKED = "not measured: set technique.compare to true"


def _beats_no_features(evidence: Evidence) -> Verdict:
    return Verdict.on(evidence.scorecard.task_change())


def _trains_nothing(evidence: Evidence) -> Verdict:
    count = evidence.cost.trainable_parameters
    return Verdict("held" if count == 0 else "not held here", f"{count:,} parameters of the model trained")


def _is_faster(evidence: Evidence) -> Verdict:
    reading, tuning = 0.0, 0.0
    for name, seconds in evidence.reported.items():
        if name.startswith("seconds of ") and FINE_TUNING in seconds:
            tuning += seconds[FINE_TUNING]
            reading += sum(value for part, value in seconds.items() if part != FINE_TUNING)
    if not tuning:
        return Verdict("unclear", UNASKED)
    figure = f"{reading:.1f} s with reading, choosing and fitting; fine-tuning {tuning:.1f} s"
    return Verdict("held" if tuning >= FASTER * reading else "not held here", figure)


def _is_near_fine_tuning(evidence: Evidence) -> Verdict:
    card = evidence.scorecard
    task = card.tasks[0] if card.scores else ""
    tuned = next((stage for stage in card.stages if stage.startswith(FINE_TUNING)), None)
    score = None if tuned is None else card.score(tuned, task)
    if tuned is None or score is None:
        return Verdict("unclear", UNASKED)
    change = card.change(task, score.primary.name, before=tuned)
    assert change is not None, "both stages scored the task"
    figure = f"{change.figure} against fine-tuning"
    if change.rules_out_loss(NEAR):
        return Verdict("held", figure)
    return Verdict("not held here" if change.is_worse else "unclear", figure)


def _wins_with_few_rows(evidence: Evidence) -> Verdict:
    points = [
        (name, point)
        for name, point in evidence.reported.items()
        if name.endswith(" rows a class") and FINE_TUNING in point
    ]
    if not points:
        return Verdict("unclear", "not measured: set technique.curve, and technique.compare to true")
    name, point = points[0]
    ours, theirs = point["features"], point[FINE_TUNING]
    better = sum(one > other for one, other in zip(ours, theirs, strict=True))
    means = [sum(side) / len(side) for side in (ours, theirs)]
    figure = f"{name}: {means[0]:.3f} against {means[1]:.3f}, better with {better} of {len(ours)} draws of rows"
    if len(ours) < FEWEST_ROWS:
        return Verdict("unclear", f"{figure}; fewer than {FEWEST_ROWS} draws can show nothing")
    verdict = paired_test(theirs, ours).verdict
    return Verdict({"rose": "held", "fell": "not held here"}.get(verdict, "unclear"), figure)  # type: ignore[arg-type]


CLAIMS = (
    Claim(
        "better than without features (majority class, or mean)",
        "Peters et al. 2019, arXiv 1903.05987, table 1",
        _beats_no_features,
    ),
    Claim("trains no parameter of the model", "Peters et al. 2019, arXiv 1903.05987, section 2", _trains_nothing),
    Claim(
        f"at least {FASTER} times faster than fine-tuning the same model on the same rows",
        "Tunstall et al. 2022, arXiv 2209.11055, section 5 (speed of training with few rows)",
        _is_faster,
    ),
    Claim(
        f"scores at most {NEAR} below fine-tuning on all rows",
        "Peters et al. 2019, arXiv 1903.05987, abstract",
        _is_near_fine_tuning,
    ),
    Claim(
        "better than fine-tuning with few rows a class",
        "Tunstall et al. 2022, arXiv 2209.11055, section 4",
        _wins_with_few_rows,
    ),
)
