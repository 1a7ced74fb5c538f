"""What the literature promises of stages that keep what earlier ones learned, judged by stage × task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenfold.techniques.technique import Claim, Evidence, Verdict

if TYPE_CHECKING:
    from tenfold.evaluation.transfer import Transfer

MARGIN = 0.05
"""Forgetting, in the metric's own unit, that still counts as kept."""


def earlier_tasks_are_kept(*, source: str) -> Claim:
    """Return the claim that earlier tasks lose at most `MARGIN` from their best: held if all the interval says so.

    Unclear where there is nothing to lose: no clear gain over the model as it came, or too few rows to show one.
    """

    def judge(evidence: Evidence) -> Verdict:
        from tenfold.evaluation.transfer import transfer

        found = transfer(evidence.scorecard, evidence.lineage.trained_tasks())
        if found is None:
            return Verdict("unclear", "fewer than two trained tasks with scores in one unit")
        lost = found.forgetting
        names = ", ".join(dict.fromkeys(found.metrics.values()))
        figure = f"forgetting {lost.signed} of {names}"
        few, unlearned = _without_proof(evidence, found)
        if few:
            return Verdict("unclear", f"{figure}; too few test rows to show a change: {', '.join(few)}")
        if lost.low > MARGIN:
            return Verdict("not held here", figure)
        if unlearned:
            told = "; nothing was learned that could be lost, as the best is not clearly above the model as it came: "
            return Verdict("unclear", f"{figure}{told}{', '.join(unlearned)}")
        return Verdict("held" if lost.high <= MARGIN else "unclear", figure)

    return Claim(f"earlier tasks lose at most {MARGIN} of their best score", source, judge)


def _without_proof(evidence: Evidence, found: Transfer) -> tuple[list[str], list[str]]:
    """Return the earlier tasks with too few rows to show any change, and those that no stage has clearly improved."""
    gains = {
        task: evidence.scorecard.change(task, found.metrics[task], after=stage) for task, stage in found.best.items()
    }
    few = [task for task, gain in gains.items() if gain is not None and not gain.test.can_be_clear]
    return few, [task for task, gain in gains.items() if gain is None or not gain.is_better]


def cures_help(*, source: str) -> Claim:
    """Return the claim that each cure leaves earlier tasks better than the same stages without any."""

    def judge(evidence: Evidence) -> Verdict:
        from tenfold.evaluation.transfer import Step, mean_gain, shared_metrics

        trained = evidence.lineage.trained_tasks()
        last = list(trained)[-1] if trained else ""
        ends = [name for name in evidence.scorecard.stages if name.startswith(f"{last}@") and trained]
        without = f"{last}@none"
        if without not in ends:
            return Verdict("unclear", "not compared: set technique.compare_cures: true to train without them too")
        earlier = [task for task in dict.fromkeys(trained.values()) if task != trained[last]]
        metrics = shared_metrics(evidence.scorecard, earlier)
        figures, intervals = [], []
        for name in [name for name in ends if name not in (without, f"{last}@straight")] + [last]:
            interval = mean_gain(evidence.scorecard, [Step(task, without, name) for task in earlier], metrics or {})
            if interval is None:
                return Verdict("unclear", "the earlier tasks' scores have no unit in common, or are missing")
            label = "as in the recipe" if name == last else name.partition("@")[2]
            figures.append(f"{label} {interval.signed}")
            intervals.append(interval)
        figure = f"earlier tasks against no cure: {'; '.join(figures)}"
        if all(interval.low > 0 for interval in intervals):
            return Verdict("held", figure)
        return Verdict("not held here" if any(interval.high < 0 for interval in intervals) else "unclear", figure)

    return Claim("each cure leaves earlier tasks better than none", source, judge)


def the_way_helps(*, source: str) -> Claim:
    """Return the claim that the last task is clearly better after the stages before it than straight from the base."""

    def judge(evidence: Evidence) -> Verdict:
        trained = evidence.lineage.trained_tasks()
        last = list(trained)[-1] if trained else ""
        task = trained.get(last, "")
        change = evidence.scorecard.primary_change(task, before=f"{last}@straight", after=last)
        if change is None:
            return Verdict("unclear", "not compared: set technique.compare_straight: true to train it straight too")
        figure = f"{task} {change.figure}"
        return Verdict.on(change, figure)

    return Claim("the last task is better for the stages before it", source, judge)
