"""What the literature promises of transfer between languages, judged language by language."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from tenfold.techniques.cross_lingual_options import ZERO_SHOT
from tenfold.techniques.technique import Claim, Evidence, Verdict

if TYPE_CHECKING:
    from tenfold.evaluation.scorecard import Scorecard
    from tenfold.evaluation.statistics import Interval

Outcome: TypeAlias = Literal["held", "not held here", "unclear"]

COMMONEST = "share of the commonest answer"
"""Under which name the technique tells, for each language, what always giving one answer would score."""

TOO_FEW = " (too few test rows to tell)"

_FEW = re.compile(r"(?P<language>.+)@(?P<rows>\d+)(?:\.\d+)?")


def transfers_zero_shot(*, source: str) -> Claim:
    """Return the claim that every language that was not trained is answered better than by the commonest answer."""

    def judge(evidence: Evidence) -> Verdict:
        from tenfold.evaluation.statistics import FEWEST_ROWS

        floors: Mapping[str, float] = evidence.reported.get(COMMONEST, {})
        trained = {task for stage in evidence.lineage.stages if stage.name == ZERO_SHOT for task in stage.tasks}
        scores = {name: evidence.scorecard.score(ZERO_SHOT, name) for name in floors if name not in trained}
        found = {name: score.primary for name, score in scores.items() if score is not None}
        if not found:
            return Verdict("unclear", "no held-out rows of another language")
        if any(measure.name not in ("exact_match", "accuracy") for measure in found.values()):
            return _against_before(evidence, list(found))
        enough = {name: measure for name, measure in found.items() if measure.num_items >= FEWEST_ROWS}
        above = [name for name, measure in enough.items() if measure.interval.low > floors[name]]
        below = [name for name, measure in enough.items() if measure.interval.high < floors[name]]
        each = "; ".join(
            f"{name} {_shown(measure.interval)} over {floors[name]:.2f}{'' if name in enough else TOO_FEW}"
            for name, measure in found.items()
        )
        figure = f"above the commonest answer's share in {len(above)} of {len(found)} languages: {each}"
        if len(above) == len(found):
            return Verdict("held", figure)
        return Verdict("not held here" if below else "unclear", figure)

    return Claim("languages that were not trained are answered above chance", source, judge)


def _shown(interval: Interval) -> str:
    return f"{interval.mean:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def _against_before(evidence: Evidence, languages: list[str]) -> Verdict:
    changes = {name: evidence.scorecard.primary_change(name, after=ZERO_SHOT) for name in languages}
    known = {name: change for name, change in changes.items() if change is not None}
    better = [name for name, change in known.items() if change.is_better]
    each = "; ".join(f"{name} {change.metric} {change.test.difference.mean:+.3f}" for name, change in known.items())
    figure = f"better than the base in {len(better)} of {len(known)} languages: {each}"
    if len(better) == len(known):
        return Verdict("held", figure)
    return Verdict("not held here" if any(change.is_worse for change in known.values()) else "unclear", figure)


def few_rows_add(*, source: str) -> Claim:
    """Return the claim that the most rows that were asked for add to zero-shot, on average over languages."""
    return _few_against("few rows of a language add to transfer without any", source, zero_shot=True)


def better_than_alone(*, source: str) -> Claim:
    """Return the claim that few rows after the source languages beat the same rows alone, on average over languages."""
    return _few_against("few rows after the source languages beat the same rows alone", source, zero_shot=False)


def _few_against(text: str, source: str, *, zero_shot: bool) -> Claim:
    def judge(evidence: Evidence) -> Verdict:
        from tenfold.evaluation.statistics import FEWEST_ROWS
        from tenfold.evaluation.transfer import Step, mean_gain, shared_metrics

        names = [stage.name for stage in evidence.lineage.stages]
        few = [match for name in names if (match := _FEW.fullmatch(name))]
        if not few:
            return Verdict("unclear", "not tried: set technique.few_shot, for example to [5, 20]")
        parts: list[str] = []
        outcome: Outcome = "unclear"
        metric = ""
        for rows in sorted({int(match["rows"]) for match in few}):
            of_rows = [match for match in few if int(match["rows"]) == rows]
            early = {match[0]: ZERO_SHOT if zero_shot else f"{match[0]}-alone" for match in of_rows}
            steps = [Step(match["language"], early[match[0]], match[0]) for match in of_rows]
            if not all(step.early in names for step in steps):
                return Verdict("unclear", "not compared: set technique.compare_alone: true")
            metrics = shared_metrics(_of(evidence.scorecard, ZERO_SHOT), {step.task for step in steps}) or {}
            gain = mean_gain(evidence.scorecard, steps, metrics)
            if gain is None:
                return Verdict("unclear", "the languages' metrics have no unit in common")
            parts.append(f"{rows} rows {gain.signed}")
            outcome = "held" if gain.low > 0 else "not held here" if gain.high < 0 else "unclear"
            scores = [evidence.scorecard.score(ZERO_SHOT, task) for task in {step.task for step in steps}]
            if sum(score.primary.num_items for score in scores if score is not None) < FEWEST_ROWS:
                parts[-1], outcome = parts[-1] + TOO_FEW, "unclear"
            metric = ", ".join(sorted(set(metrics.values())))
        figure = f"{metric}, mean over {len({match['language'] for match in few})} languages: {'; '.join(parts)}"
        return Verdict(outcome, figure)

    return Claim(text, source, judge)


def _of(scorecard: Scorecard, stage: str) -> Scorecard:
    return replace(scorecard, scores=tuple(score for score in scorecard.scores if score.stage == stage))
