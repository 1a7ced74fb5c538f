"""What the literature promises of adapters, judged task by task."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from tenfold.evaluation.figures import share_text
from tenfold.techniques.technique import Claim, Evidence, Verdict

if TYPE_CHECKING:
    from tenfold.evaluation.scorecard import Score

ROUNDING = 1e-5
"""By how much scores of one model may differ where the route through it does, which an adapter may change."""


def trains_few_a_task(*, share: float, source: str) -> Claim:
    """Return the claim that each task's adapter has fewer than `share` of the base's parameters."""

    def judge(evidence: Evidence) -> Verdict:
        counts: dict[str, int] = evidence.reported.get("trained parameters", {})
        if not counts:
            return Verdict("unclear", "not told by the technique")
        base = evidence.cost.total_parameters - evidence.cost.trainable_parameters
        found = max(counts.values()) / base
        total = f"; {len(counts)} tasks {share_text(sum(counts.values()) / base)} together" if len(counts) > 1 else ""
        return Verdict("held" if found < share else "not held here", f"{share_text(found)} of the base's a task{total}")

    return Claim(f"a task trains fewer than {share:.0%} of the base's parameters", source, judge)


def every_task_rises(*, source: str) -> Claim:
    """Return the claim that every task is clearly better than with the base, each by its own adapter."""

    def judge(evidence: Evidence) -> Verdict:
        changes = {task: evidence.scorecard.primary_change(task) for task in evidence.lineage.taught()}
        found = {task: change for task, change in changes.items() if change is not None}
        if not found:
            return Verdict("unclear", "no held-out rows to measure it on")
        figure = "; ".join(f"{task} {change.figure}" for task, change in found.items())
        if any(change.is_worse for change in found.values()):
            return Verdict("not held here", figure)
        return Verdict("held" if all(change.is_better for change in found.values()) else "unclear", figure)

    return Claim("better than the base at every task", source, judge)


def tasks_do_not_touch(*, source: str) -> Claim:
    """Return the claim that later stages changed no adapter and no score of a task by its own adapter, to the bit."""

    def judge(evidence: Evidence) -> Verdict:
        card, touched = evidence.scorecard, evidence.reported.get("adapters changed by later stages")
        if touched is None or len(evidence.lineage.stages) < 2:
            return Verdict("unclear", "only one adapter was trained")
        last = evidence.lineage.stages[-1].name
        pairs = [(card.score(task, task), card.score(last, task)) for task in evidence.lineage.taught()]
        differences = [
            largest_difference(early, late)
            for (early, late), task in zip(pairs, evidence.lineage.taught(), strict=True)
            if early is not None and late is not None and last != task and not _is_fused(evidence, task)
        ]
        largest = max(differences, default=0.0)
        figure = (
            f"scores by their own adapter of {len(differences)} of {len(pairs)} tasks, after the others were trained: "
            f"largest difference of an item {largest:g}; adapters changed: {', '.join(touched) or 'none'}"
        )
        return Verdict("held" if largest == 0.0 and not touched else "not held here", figure)

    return Claim("no task touches another", source, judge)


def _is_fused(evidence: Evidence, task: str) -> bool:
    last = evidence.lineage.stages[-1]
    return last.tuner == "adapter_fusion" and task in last.tasks


def fusion_helps(*, source: str) -> Claim:
    """Return the claim that fused adapters are better on the fusion's task than the best of them alone."""

    def judge(evidence: Evidence) -> Verdict:
        card, last = evidence.scorecard, evidence.lineage.stages[-1]
        if last.tuner != "adapter_fusion":
            return Verdict("unclear", "not fused: set technique.fuse to two tasks or more")
        (task,) = last.tasks
        alone = [score for score in card.scores if score.task == task and score.stage.startswith(f"{task}@")]
        if not alone:
            return Verdict("unclear", "no held-out rows to measure it on")
        sign = 1.0 if alone[0].primary.higher_is_better else -1.0
        best = max(alone, key=lambda score: sign * score.primary.value)
        change = card.change(task, best.primary.name, before=best.stage, after=last.name)
        assert change is not None, "both stages were scored on the same rows"
        figure = f"{task}: {change.figure} against the adapter of {best.stage.partition('@')[2]}"
        return Verdict.on(change, figure)

    return Claim("fused adapters beat the best single one on their task", source, judge)


def base_is_restored(*, source: str) -> Claim:
    """Return the claim that without adapters the model is the base to the bit."""

    def judge(evidence: Evidence) -> Verdict:
        same = evidence.reported.get("base weights unchanged")
        difference = evidence.reported.get("largest difference of the bare base's scores")
        if same is None:
            return Verdict("unclear", "not told by the technique")
        figure = f"every base weight {'as' if same else 'not as'} before, by hash" + (
            ""
            if difference is None
            else f"; largest difference of an item's score with no adapter acting {difference:g}"
        )
        return Verdict("held" if same and (difference or 0.0) <= ROUNDING else "not held here", figure)

    return Claim("without its adapters the base is what it was", source, judge)


def largest_difference(first: Score, second: Score) -> float:
    """Return the largest difference of any item of any measure that both scores have."""
    pairs = [(first.measures[name], second.measures[name]) for name in first.measures.keys() & second.measures.keys()]
    numbers = [(chain(one.items, *one.statistics), chain(other.items, *other.statistics)) for one, other in pairs]
    return max(abs(one - other) for pair in numbers for one, other in zip(*pair, strict=True))
