"""Which finished runs make a comparison? Those that differ only in seed are one entry; all scored the same rows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tenfold.artifact import Artifact
from tenfold.compare.comparison import Comparison, Entry, last_score
from tenfold.errors import Problem, UserError
from tenfold.evaluation.scorecard import Score
from tenfold.files import sha256_text
from tenfold.recipe import FREE_TO_CHANGE

RULES = (
    "These runs were made before they were compared: each had the training rows, the learning rate and the time that "
    "its own recipe gave it, and no budget was shared.",
)


def comparison_of(artifacts: Sequence[Artifact]) -> Comparison:
    """Return the comparison of finished runs, an entry for those that differ only in seed and output, in given order.

    Raises:
        UserError: no run was given, or one twice, or their test rows, task or metric differ.
        ArtifactError: a file of a run is missing or damaged.
    """
    if not artifacts:
        raise UserError(Problem("report", "no artifact to report on", remedy="name the output folders of runs"))
    _check(artifacts)
    groups: dict[str, list[Artifact]] = {}
    for artifact in artifacts:
        groups.setdefault(json.dumps(_settings(artifact), sort_keys=True), []).append(artifact)
    runs = [tuple(sorted(group, key=_seed)) for group in groups.values()]
    names = _names([group[0] for group in runs])
    entries = tuple(Entry(name, group) for name, group in zip(names, runs, strict=True))
    bases = dict.fromkeys(str(artifact.facts["base"]).rstrip("/").rpartition("/")[2] for artifact in artifacts)
    ways = f"{len(entries)} way{'s' if len(entries) != 1 else ''} to fine-tune {', '.join(bases)}"
    return Comparison(ways, entries, rules=RULES)


def _check(artifacts: Sequence[Artifact]) -> None:
    problems = _repeated(artifacts)
    remedy = "give all runs one file of test rows as data.test, and evaluation.max_rows no fewer than it has"
    first: tuple[Artifact, Score] | None = None
    for artifact in artifacts:
        score, folder = last_score(artifact), str(artifact.folder)
        if score is None:
            problems.append(Problem(folder, "nothing was scored: it has no test rows", remedy="leave it out"))
        elif first is None:
            first = (artifact, score)
        elif found := _difference(*first, artifact, score):
            problems.append(Problem(folder, f"{found}, so it cannot be compared with {first[0].folder}", remedy=remedy))
    if problems:
        raise UserError(*problems)


def _repeated(artifacts: Sequence[Artifact]) -> list[Problem]:
    """Return a problem for each run that is there already: the same run again says nothing new of its seed."""
    met: dict[str, Artifact] = {}
    problems = []
    for artifact in artifacts:
        key = json.dumps([_settings(artifact), _seed(artifact)], sort_keys=True)
        if key in met:
            found = f"the same recipe and seed as {met[key].folder}"
            problems.append(Problem(str(artifact.folder), found, remedy="name it once"))
        met.setdefault(key, artifact)
    return problems


def _difference(first: Artifact, known: Score, other: Artifact, score: Score) -> str:
    """Return how what the other measured differs from what the first did; nothing where it does not."""
    if score.task != known.task:
        return f"scored on the task {score.task!r}, not {known.task!r}"
    if score.primary.name != known.primary.name:
        return f"scored by {score.primary.title}, not {known.primary.title}"
    if score.primary.num_items != known.primary.num_items:
        return f"scored on {score.primary.num_items:,} rows, not {known.primary.num_items:,}"
    if score.primary.weights != known.primary.weights:
        return f"rows weigh otherwise in its {score.primary.title}, as those of another tokenizer do"
    if not _marks(first, known) & _marks(other, score):
        return "scored on other test rows"
    return ""


def _marks(artifact: Artifact, score: Score) -> set[str]:
    """Return marks of the rows that were scored, in order: runs that share any of them scored the same rows."""
    marks = set()
    answers = [row for row in artifact.generations if row.get("task", score.task) == score.task]
    if answers:
        marks.add(sha256_text("answers", *(row[key] for row in answers for key in ("prompt", "reference"))))
    side = artifact.provenance["data"].get(score.task, {}).get("test")
    if side is not None:
        is_all = side["rows"] == score.primary.num_items
        # where not all rows were scored, the seed chose which
        marks.add(sha256_text("rows", side["sha256"], "all" if is_all else f"seed {_seed(artifact)}"))
    return marks


def _settings(artifact: Artifact) -> dict[str, Any]:
    """Return all of the recipe that makes it another way to fine-tune."""
    tree = artifact.recipe.model_dump(mode="json")
    runtime = {key: value for key, value in tree["runtime"].items() if key not in FREE_TO_CHANGE | {"seed"}}
    return {**{key: value for key, value in tree.items() if key not in ("output", "log")}, "runtime": runtime}


def _seed(artifact: Artifact) -> int:
    return artifact.recipe.runtime.seed


def _names(artifacts: Sequence[Artifact]) -> list[str]:
    """Return a name for each: technique and tuner, and where those are shared by several, what else differs."""
    short = [
        f"{artifact.recipe.technique.kind} · {artifact.recipe.tuner.kind}".replace("_", " ") for artifact in artifacts
    ]
    flat = [dict(_flat(_settings(artifact))) for artifact in artifacts]
    names = []
    for name, own in zip(short, flat, strict=True):
        rivals = [other for other_name, other in zip(short, flat, strict=True) if other_name == name]
        keys = [key for key in dict.fromkeys(key for rival in rivals for key in rival) if _differs(key, rivals)]
        names.append(", ".join([name, *(f"{_plain(key)} {own.get(key, 'unset')}" for key in keys)]))
    counts = Counter(names)
    numbers: Counter[str] = Counter()
    for place, name in enumerate(names):
        if counts[name] > 1:
            numbers[name] += 1
            names[place] = f"{name} ({numbers[name]})"
    return names


def _plain(key: str) -> str:
    return key.rpartition(".")[2].replace("_", " ")


def _differs(key: str, rivals: Iterable[Mapping[str, object]]) -> bool:
    return len({json.dumps(rival.get(key)) for rival in rivals}) > 1


def _flat(tree: Mapping[str, Any], path: str = "") -> Iterable[tuple[str, object]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value
