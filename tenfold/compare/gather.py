"""Which finished runs make a comparison? Those that differ only in seed are one entry; all scored the same rows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tenfold.artifact import Artifact
from tenfold.compare.comparison import Comparison, Entry
from tenfold.compare.judged import Judged, difference, judged
from tenfold.errors import Problem, UserError
from tenfold.evaluation.scorecard import RETENTION
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
    tasks = _shared_tasks(artifacts)
    _check(artifacts, tasks)
    groups: dict[str, list[Artifact]] = {}
    for artifact in artifacts:
        groups.setdefault(json.dumps(_settings(artifact), sort_keys=True), []).append(artifact)
    runs = [tuple(sorted(group, key=_seed)) for group in groups.values()]
    names = _names([group[0] for group in runs])
    entries = tuple(Entry(name, group, tasks=tasks) for name, group in zip(names, runs, strict=True))
    bases = dict.fromkeys(str(artifact.facts["base"]).rstrip("/").rpartition("/")[2] for artifact in artifacts)
    ways = f"{len(entries)} way{'s' if len(entries) != 1 else ''} to fine-tune {', '.join(bases)}"
    return Comparison(ways, entries, rules=RULES)


def _shared_tasks(artifacts: Sequence[Artifact]) -> tuple[str, ...]:
    """Return the tasks that all runs were scored on; where there are none, that of a run which kept it whole."""
    scored = [tasks for each in artifacts if (tasks := [task for task in each.scorecard.tasks if task != RETENTION])]
    shared = [task for task in scored[0] if all(task in tasks for tasks in scored)] if scored else []
    return tuple(shared or min(scored, key=len, default=[])[:1])


def _check(artifacts: Sequence[Artifact], tasks: Sequence[str]) -> None:
    problems = _repeated(artifacts)
    remedy = "give all runs one file of test rows as data.test, and evaluation.max_rows no fewer than it has"
    first: tuple[Artifact, Judged] | None = None
    for artifact in artifacts:
        found, folder = judged(artifact, tasks), str(artifact.folder)
        if found is None:
            problems.append(_unjudged(artifact, tasks))
        elif first is None:
            first = (artifact, found)
        elif apart := difference(first[1], found):
            problems.append(Problem(folder, f"{apart}, so it cannot be compared with {first[0].folder}", remedy=remedy))
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


def _unjudged(artifact: Artifact, tasks: Sequence[str]) -> Problem:
    folder = str(artifact.folder)
    others = [task for task in artifact.scorecard.tasks if task != RETENTION]
    if not others:
        return Problem(folder, "nothing was scored: it has no test rows", remedy="leave it out")
    wanted, scored = " and ".join(map(repr, tasks)), ", ".join(map(repr, others))
    return Problem(folder, f"scored on the task {scored}, not {wanted}", remedy="leave it out")


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
