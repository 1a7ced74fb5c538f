"""What may be said of a comparison, in a few sentences that a reader may repeat."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from tenfold.compare.bill import Bill, bill_of
from tenfold.compare.comparison import Comparison, Entry, by_reason
from tenfold.compare.judged import judged
from tenfold.compare.kept import GENERAL_TEXT, kept
from tenfold.compare.ranking import Standing, rank
from tenfold.evaluation.duration import duration
from tenfold.evaluation.scorecard import Measure
from tenfold.evaluation.scorecard_view import interval_text, too_few

NEARLY = 0.8
"""The least share of the best score that is worth naming beside what it saves."""

FRUGAL = 0.5
"""The most of the best one's time that is worth naming."""

RATIO_UNITS = ("share", "corpus BLEU / 100; 13a tokens")
"""Units of scores from 0 up, of which so many per cent may be said."""


def standings_of(comparison: Comparison) -> list[Standing]:
    """Return the standings of all entries that were scored, best first."""
    measured = {entry.name: entry.measures() for entry in comparison.entries}
    return rank({name: measures for name, measures in measured.items() if measures})


def verdict(comparison: Comparison, standings: Sequence[Standing]) -> list[str]:
    """Return short sentences: who leads or ties, what costs least, what is nearly as good for less, what forgets.

    `standings` are of the comparison's entries that were scored, best first.
    """
    return [f"{sentence[0].upper()}{sentence[1:]}" for sentence in _sentences(comparison, standings)]


def _sentences(comparison: Comparison, standings: Sequence[Standing]) -> Iterator[str]:
    ranked = [standing for standing in standings if standing.is_defined]
    if ranked:
        yield from _of_ranked({entry.name: entry for entry in comparison.entries}, ranked)
    else:
        yield "no way has a score, so nothing can be said of which to pick."
    undefined = [standing.name for standing in standings if not standing.is_defined]
    if undefined:
        yield f"the score of {listed(undefined)} is not defined on these rows, so {_has(undefined)} no place."
    yield from _failures(comparison)


def _has(names: Sequence[str]) -> str:
    return "it has" if len(names) == 1 else "they have"


def _of_ranked(entries: Mapping[str, Entry], standings: Sequence[Standing]) -> Iterator[str]:
    measure = entries[standings[0].name].measures()[0]
    bills = {standing.name: bill_of(entries[standing.name]) for standing in standings}
    tied = [standing for standing in standings if standing.is_tied]
    yield from _quality(standings, tied, measure)
    yield from _one_seed([entries[standing.name] for standing in standings])
    yield from _better_than_before(entries[standings[0].name])
    yield from _taught(bills)
    seconds = {name: bill.seconds for name, bill in bills.items() if bill.seconds is not None}
    yield from _cheapest(standings, tied, seconds)
    yield from _nearly(standings, seconds, measure)
    yield from _forgetting([entries[standing.name] for standing in standings])


def _quality(standings: Sequence[Standing], tied: Sequence[Standing], measure: Measure) -> Iterator[str]:
    leader = standings[0]
    figure = f"{measure.title} {interval_text(leader.score)}"
    behind = len(standings) - len(tied)
    if len(standings) == 1:
        yield f"Only {plain(leader.name)} was scored ({figure}), so there is nothing to compare it with."
    elif len(tied) == 1:
        others = "the other" if behind == 1 else f"all {behind} others"
        yield f"{plain(leader.name)} is best: {figure}, clearly ahead of {others}."
    elif all(standing.behind.low == standing.behind.high == 0 for standing in standings):
        rows = f"these {measure.num_items:,} test rows"
        yield f"nothing is clear: all {len(standings)} score the same on {rows}, {figure}."
    elif behind == 0:
        every = "the two" if len(standings) == 2 else f"the {len(standings)} ways"
        yield f"Nothing is clear: on these {measure.num_items:,} test rows {every} cannot be told apart on quality."
        yield (
            f"Highest is {plain(leader.name)} with {figure}."
            if measure.higher_is_better
            else (f"Lowest, which is better, is {plain(leader.name)} with {figure}.")
        )
    else:
        rest = listed([standing.name for standing in tied[1:]])
        are = "is not clearly worse: it ties" if len(tied) == 2 else "are not clearly worse: they tie"
        yield f"{plain(leader.name)} leads with {figure}; {rest} {are}."
    if note := too_few({"": measure.num_items}):
        yield f"{note}."


def _one_seed(entries: Sequence[Entry]) -> Iterator[str]:
    """Yield what no interval holds where nobody has a second seed: how much these scatter is unknown then."""
    if all(len(entry.measures()) == 1 for entry in entries):
        yield "one seed each: intervals tell what other test rows could give, not what another training seed could."


def _better_than_before(leader: Entry) -> Iterator[str]:
    """Yield that nothing was learned, where the leader is ranked by one task that was scored before training too."""
    changes = []
    for run in leader.runs:
        found = judged(run, leader.tasks)
        if found is not None and len(found.tasks) == 1:
            changes.append(run.scorecard.primary_change(found.tasks[0]))
    known = [change for change in changes if change is not None]
    if known and not any(change.is_better for change in known):
        yield f"Even {plain(leader.name)} is not clearly better than what was there before training."


def _taught(bills: Mapping[str, Bill]) -> Iterator[str]:
    """Yield of whose time a teacher's training is part, and of whom nothing is known of it."""
    for name, bill in bills.items():
        if bill.before_seconds:
            before = duration(bill.before_seconds)
            yield f"{plain(name)} needs a teacher that was trained before: {before}, which count as its time here."
    unknown = [name for name, bill in bills.items() if bill.before_seconds is None]
    if unknown:
        yield f"what the teacher of {listed(unknown)} took is not known, so nothing is said of the time of that."


def _cheapest(standings: Sequence[Standing], tied: Sequence[Standing], seconds: Mapping[str, float]) -> Iterator[str]:
    """Yield which of those that tie trains fastest, and by how much; of a leader alone, whether it is the fastest.

    `seconds` are of those whose time is known.
    """
    rivals = [standing.name for standing in (tied if len(tied) > 1 else standings) if standing.name in seconds]
    ordered = sorted(rivals, key=lambda name: seconds[name])
    if len(rivals) < 2 or (len(tied) == 1 and ordered[0] != standings[0].name):
        return
    cheapest, least, most = ordered[0], seconds[ordered[0]], seconds[ordered[-1]]
    if not least or most / least < 1.1:
        yield f"{'Those that tie' if len(tied) > 1 else 'All'} take about the same time to train: {duration(most)}."
        return
    against = ordered[1] if cheapest == rivals[0] else rivals[0]
    times = ratio(seconds[against] / least)
    who = f"of those that tie, {plain(cheapest)}" if len(tied) > 1 else "it also"
    yield f"{who} trains fastest: {duration(least)}, where {plain(against)} takes {times} as long."


def _nearly(standings: Sequence[Standing], seconds: Mapping[str, float], measure: Measure) -> Iterator[str]:
    """Yield what the best of the clearly worse ones gives at a fraction of the leader's time."""
    leader = standings[0]
    if not measure.higher_is_better or measure.unit not in RATIO_UNITS or leader.score.mean <= 0:
        return
    best_seconds = seconds.get(leader.name, 0.0)
    if not best_seconds:
        return
    for standing in standings:
        share = standing.score.mean / leader.score.mean
        time = seconds.get(standing.name, math.inf) / best_seconds
        if not standing.is_tied and share >= NEARLY and time <= FRUGAL:
            yield f"{plain(standing.name)} reaches {percent(share)} of the best score in {percent(time)} of the time."
            return


def _forgetting(entries: Sequence[Entry]) -> Iterator[str]:
    found = {entry.name: each for entry in entries if (each := kept(entry, GENERAL_TEXT)) is not None}
    if not found:
        return
    worse = {name: each.change for name, each in found.items() if each.change.is_worse}
    if not worse:
        whose = "after training" if len(found) == 1 else f"after any of the {len(found)} that measured it"
        yield f"general text does not clearly cost more bits a byte {whose}."
        return
    most = max(worse, key=lambda name: worse[name].test.difference.mean)
    figure = worse[most].test.difference.signed
    only = ", and it alone clearly forgets" if len(worse) == 1 and len(found) > 1 else ""
    yield f"{plain(most)} forgets most: general text costs {figure} bits a byte{only}."


def _failures(comparison: Comparison) -> Iterator[str]:
    failed = [entry.name for entry in comparison.entries if entry.failures and not entry.runs]
    if failed:
        yield f"{listed(failed)} did not finish."
    partly = [entry.name for entry in comparison.entries if entry.failures and entry.runs]
    if partly:
        yield f"{listed(partly)} finished only in part: fewer seeds stand behind the score."


def plain(name: str) -> str:
    """Return a name as people write it."""
    return name.replace("_", " ")


def listed(names: Sequence[str]) -> str:
    """Return the names as people write them: `a`, `a and b` or `a, b and c`."""
    return joined([plain(name) for name in names])


def joined(words: Sequence[str]) -> str:
    """Return `a`, `a and b` or `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def refusals(refused: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield who does not apply and that it does not and why; those with the same reason together."""
    for why, names in by_reason(refused).items():
        yield joined(names), f"{'does' if len(names) == 1 else 'do'} not apply: {why}"


def ratio(times: float) -> str:
    """Return `1.4 times` or `12 times`."""
    return f"{times:.1f} times" if times < 10 else f"{times:,.0f} times"


def percent(share: float) -> str:
    """Return `94 %`; a share that is not nothing is never told as 0 %."""
    return f"{share * 100:.0f} %" if share >= 0.01 else f"{share * 100:.1g} %"
