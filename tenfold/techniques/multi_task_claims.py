"""What the literature promises of one model for several tasks, judged against the base and against a model a task."""

from __future__ import annotations

from tenfold.techniques.technique import Claim, Evidence, Verdict

MARGIN = 0.02
"""By how much of a metric a task, or the mean over them, may lie below that of a model a task and be no worse."""

ALONE = "not compared: set technique.compare_alone: true to train a model for each task"


def one_model_for_all(*, source: str) -> Claim:
    """Return the claim that the one model is clearly better than the base at every task."""

    def judge(evidence: Evidence) -> Verdict:
        changes = {task: evidence.scorecard.primary_change(task) for task in evidence.lineage.taught()}
        found = {task: change for task, change in changes.items() if change is not None}
        if not found:
            return Verdict("unclear", "no held-out rows to measure it on")
        better = [task for task, change in found.items() if change.is_better]
        worse = [task for task, change in found.items() if change.is_worse]
        size = f"{evidence.cost.bytes_on_disk / 1e6:.1f} MB in place of {len(found)} such files"
        figure = f"better at {len(better)} of {len(found)} tasks; {size}"
        if worse:
            return Verdict("not held here", f"{figure}; worse at {', '.join(worse)}")
        return Verdict("held" if len(better) == len(found) else "unclear", figure)

    return Claim("one model is better than the base at every task", source, judge)


def no_worse_on_average(*, source: str) -> Claim:
    """Return the claim that the mean over tasks is at most `MARGIN` below that of a model for each task."""

    def judge(evidence: Evidence) -> Verdict:
        from tenfold.evaluation.transfer import Step, mean_gain, shared_metrics

        compared = _compared(evidence)
        metrics = shared_metrics(evidence.scorecard, compared)
        if metrics is None:
            return Verdict("unclear", "the tasks' metrics have no unit in common" if compared else ALONE)
        last = evidence.lineage.saved[-1]
        interval = mean_gain(evidence.scorecard, [Step(task, alone, last) for task, alone in compared.items()], metrics)
        if interval is None:
            return Verdict("unclear", ALONE)
        names = ", ".join(dict.fromkeys(metrics.values()))
        figure = f"{names} {interval.signed}"
        if interval.low >= -MARGIN:
            return Verdict("held", figure)
        return Verdict("not held here" if interval.high < -MARGIN else "unclear", figure)

    return Claim("on average over tasks no worse than a model for each of them", source, judge)


def no_task_loses(*, source: str) -> Claim:
    """Return the claim that no task is worse than alone: each that clearly is suffers negative transfer.

    It is held only where the intervals leave out a loss of more than `MARGIN`: few rows prove no absence of one.
    """

    def judge(evidence: Evidence) -> Verdict:
        last = evidence.lineage.saved[-1] if evidence.lineage.saved else None
        changes = {
            task: evidence.scorecard.primary_change(task, before=alone, after=last)
            for task, alone in _compared(evidence).items()
        }
        found = {task: change for task, change in changes.items() if change is not None}
        if not found:
            return Verdict("unclear", ALONE)
        figures = []
        for task, change in found.items():
            flag = " negative transfer" if change.is_worse else ""
            figures.append(f"{task} {change.figure}{flag}")
        figure = "; ".join(figures)
        if any(change.is_worse for change in found.values()):
            return Verdict("not held here", figure)
        return Verdict("held" if all(change.rules_out_loss(MARGIN) for change in found.values()) else "unclear", figure)

    return Claim("no task is clearly worse than with a model of its own", source, judge)


def _compared(evidence: Evidence) -> dict[str, str]:
    """Return for each task the stage that trained it alone."""
    return {stage.tasks[0]: stage.name for stage in evidence.lineage.stages if stage.name.endswith("@alone")}
