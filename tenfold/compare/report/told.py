"""What is told in words: claims, answers side by side, who failed and why, how each run is made again."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tenfold.artifact import Artifact
from tenfold.compare.comparison import Comparison
from tenfold.compare.judged import Row
from tenfold.compare.report.figures import Figure, shown
from tenfold.compare.report.subjects import Subject
from tenfold.compare.verdict import joined, listed, plain
from tenfold.evaluation.duration import duration
from tenfold.evaluation.scorecard import RETENTION
from tenfold.recipe import dump_recipe

ANSWERS = 8
"""Rows whose answers are shown side by side."""

TONES = {"held": "good", "not held here": "bad"}


@dataclass(frozen=True)
class Claimed:
    """One claim of a technique: what became of it over the seeds, and by which figures."""

    claim: str
    source: str
    outcome: str
    tone: str
    figures: Sequence[str]


def claims(subjects: Sequence[Subject]) -> list[tuple[Subject, list[Claimed]]]:
    """Return the claims of every entry's technique, in the order of the entries."""
    found = [(subject, _claimed(subject)) for subject in subjects]
    return [(subject, claimed) for subject, claimed in found if claimed]


def _claimed(subject: Subject) -> list[Claimed]:
    by_text: dict[str, list[dict[str, str]]] = {}
    for run in subject.entry.runs:
        for row in run.claims:
            by_text.setdefault(row["claim"], []).append(row)
    found = []
    for text, rows in by_text.items():
        outcomes = Counter(row["outcome"] for row in rows)
        outcome = rows[0]["outcome"]
        if len(outcomes) > 1:
            outcome = ", ".join(f"{name} with {count} of {len(rows)} seeds" for name, count in outcomes.items())
        figures = list(dict.fromkeys(shown(row["because"]) for row in rows))
        found.append(Claimed(shown(text), shown(rows[0]["source"]), outcome, TONES.get(outcome, "even"), figures))
    return found


@dataclass(frozen=True)
class Answer:
    """What one entry answered to a row, and whether it is the reference word for word."""

    subject: Subject
    text: str
    is_exact: bool


@dataclass(frozen=True)
class Asked:
    """A held-out row and every entry's answer; `before` where the model before training said the same for all."""

    prompt: str
    reference: str
    before: str | None
    answers: Sequence[Answer]


def answers(subjects: Sequence[Subject]) -> list[Asked]:
    """Return rows that all first runs answered, those first that they answered most differently."""
    rows = {subject.place: _answered(subject) for subject in subjects}
    told = [subject for subject in subjects if rows[subject.place]]
    if not told:
        return []
    shared = [key for key in rows[told[0].place] if all(key in rows[subject.place] for subject in told)]
    ways = {key: len({rows[subject.place][key]["after"] for subject in told}) for key in shared}
    found = []
    for key in sorted(shared, key=lambda key: -ways[key])[:ANSWERS]:
        given = {subject.place: rows[subject.place][key] for subject in told}
        befores = {row["before"] for row in given.values()}
        reference = given[told[0].place]["reference"]
        each = [
            Answer(subject, shown(row["after"]), row["after"].strip() == reference.strip())
            for subject in told
            for row in [given[subject.place]]
        ]
        before = shown(befores.pop()) if len(befores) == 1 else None
        found.append(Asked(shown(given[told[0].place]["prompt"]), shown(reference), before, each))
    return found


def _answered(subject: Subject) -> dict[tuple[str, str, int], Row]:
    """Return the first run's answers by prompt, reference, and how often these were there before."""
    met = Counter[tuple[str, str]]()
    found = {}
    for row in subject.judged.rows:
        key = (row["prompt"], row["reference"])
        found[(*key, met[key])] = row
        met[key] += 1
    return found


@dataclass(frozen=True)
class Origin:
    """How one entry is made again: its recipe, the commands, and where its runs came from."""

    name: str
    recipe: str
    commands: Sequence[str]
    facts: Sequence[tuple[str, str]]
    search: Sequence[Sequence[Figure]]
    search_failures: Sequence[str]


def origins(comparison: Comparison) -> list[Origin]:
    """Return the origin of every entry with a finished run."""
    found = []
    for entry in comparison.entries:
        if not entry.runs:
            continue
        search = [
            (
                Figure(f"{tried.learning_rate:g}", tried.learning_rate),
                Figure(f"{tried.value:.4f}", tried.value),
                Figure(duration(tried.seconds), tried.seconds),
            )
            for tried in entry.search
        ]
        recipe = shown(dump_recipe(entry.runs[0].recipe), limit=100_000)
        commands = [_again(run) for run in entry.runs]
        failures = [shown(failure) for failure in entry.search_failures]
        found.append(Origin(plain(entry.name), recipe, commands, _facts(entry.runs), search, failures))
    return found


def _again(run: Artifact) -> str:
    recipe, output = str(run.folder / "recipe.yaml"), f"output={run.folder}-again"
    return f"tenfold run {shlex.quote(shown(recipe))} --set {shlex.quote(shown(output))}"


def _facts(runs: Sequence[Artifact]) -> list[tuple[str, str]]:
    first = runs[0].provenance
    seeds = ", ".join(str(run.provenance["seed"]) for run in runs)
    model = first["model"]
    git = first.get("git") or {}
    facts = [
        ("seeds", seeds),
        ("tenfold", _joined(first, "tenfold")),
        ("Python", _joined(first, "python")),
        ("packages", ", ".join(f"{name} {version}" for name, version in first["packages"].items())),
        ("machine", _joined(first, "platform", "device", "precision")),
        ("threads", ", ".join(str(run.provenance.get("processor_threads", "")) for run in runs)),
        ("load average", ", ".join(str(run.provenance.get("load_average", "")) for run in runs).strip(", ")),
        ("working copy", _joined(git, "commit", "state")),
        ("base model", _joined(model, "name", "origin")),
        ("base weights, SHA-256", str(model.get("base_weights_sha256", ""))),
        ("tokenizer, SHA-256", str(model.get("tokenizer_sha256", ""))),
        *(
            (f"{task}, {side}", f"{rows['source']}, {rows['rows']:,} rows, SHA-256 {rows['sha256']}")
            for task, sides in first["data"].items()
            for side, rows in sides.items()
        ),
        ("allowed by the gate", "; ".join(f"{row['rule']}: {row['found']}" for row in first.get("gate_allowed", []))),
        ("folders", ", ".join(str(run.folder) for run in runs)),
    ]
    return [(shown(name), shown(value)) for name, value in facts if value]


def _joined(tree: Mapping[str, object], *keys: str) -> str:
    return ", ".join(str(tree[key]) for key in keys if tree.get(key))


@dataclass(frozen=True)
class Missing:
    """Who has no score, or one of fewer seeds, and why."""

    name: str
    status: str
    reason: str


def missing(comparison: Comparison) -> list[Missing]:
    """Return who failed, wholly or with some seeds, or was not scored."""
    lines = [
        Missing(plain(entry.name), "failed", shown(failure))
        for entry in comparison.entries
        for failure in (*entry.failures, *(() if entry.runs else entry.search_failures))
    ]
    unscored = [entry for entry in comparison.entries if entry.runs and not entry.judged()]
    return lines + [
        Missing(plain(entry.name), "not scored", shown(_without_score(entry.runs[0], entry.tasks)))
        for entry in unscored
    ]


def _without_score(run: Artifact, tasks: Sequence[str]) -> str:
    """Return why what `run` scored is not what all are ranked by, as `judged` sees it."""
    last = {score.task: score for score in run.scorecard.scores if score.task != RETENTION}
    if not last:
        return "it has no test rows, so it has no score"
    own = listed(list(last))
    if len(tasks) > 1:
        return f"it was scored on {own}, and the others on {listed(list(tasks))}"
    metrics = dict.fromkeys(score.primary.title for score in last.values())
    if len(metrics) > 1:
        return f"{own} were scored by {joined(list(metrics))}, which make no one score for {listed(list(tasks))}"
    wanted = f"so it has no score of all rows of {listed(list(tasks))}"
    if not run.generations:
        return f"it kept no answers of {own}, {wanted}"
    return f"what it scored of {own} cannot be put together row by row, {wanted}"
