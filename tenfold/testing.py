"""The promises that every technique and every objective keeps, as checks that anyone can run on one of their own.

    from tenfold.testing import check_technique
    check_technique(tenfold.load_recipe("recipe.yaml"), tmp_path)      # a recipe that takes seconds

Each raises an `AssertionError` that names the promise. The ten techniques of the package pass the same checks.
"""

from __future__ import annotations

import inspect
import io
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from tenfold.answering import predict_rows
from tenfold.artifact import Artifact
from tenfold.data.batch import Batch
from tenfold.errors import Interrupted
from tenfold.evaluation.scorecard import BEFORE
from tenfold.files import sha256_file
from tenfold.models.trunk import Trunk
from tenfold.objectives.objective import Objective
from tenfold.paths import cache_at
from tenfold.recipe import Recipe
from tenfold.running import run
from tenfold.techniques.technique import NOT_JUDGED, Technique, find_technique
from tenfold.terminal.console import Console
from tenfold.terminal.progress import ProgressLine


def check_technique(recipe: Recipe, folder: Path) -> Artifact:
    """Check the technique of `recipe` by running it several times in `folder`, and return the first run's artifact.

    It says what it is (idea, source, when, costs); its events can be told by the command line; its claims are judged
    with a figure; what it leaves behind answers as it did in the run; the same recipe gives the same result from the
    store without training; stopped after each of its first updates and run again, it ends with the same bits.
    """
    technique = find_technique(recipe.technique.kind)
    _says_what_it_is(technique)
    with cache_at(folder / "cache"):
        terminal = ProgressLine(Console(file=io.StringIO()))
        artifact = run(_into(recipe, folder / "straight"), listeners=(terminal,))
        _claims_are_judged(technique, artifact)
        _answers_as_in_the_run(artifact)
        again = run(_into(recipe, folder / "again"))
        assert not _updates(again), "the same recipe trains nothing a second time"
        assert _result(again) == _result(artifact), "what the store gives is what was trained"
    with cache_at(folder / "cache-2"):
        stopped = _stopped_again_and_again(_into(recipe, folder / "stopped"))
    assert _result(stopped) == _result(artifact), "stopped and run again, it ends as if it had never stopped"
    return artifact


def check_objective(objective: Objective, model: Trunk, batch: Batch, rows: Sequence[Batch]) -> None:
    """Check that `objective` is a sum over exactly what it counts: a batch's is that of its `rows`, one by one.

    Its `repr` must tell it from others, or no stage that has it could be stored.
    """
    assert " at 0x" not in repr(objective), "its repr says what it is: make it a frozen dataclass"
    whole, parts = objective(model, batch).total, [objective(model, row).total for row in rows]
    assert whole.ndim == 0 and whole.requires_grad, "the total is a scalar with a gradient"
    assert objective.weight(batch) == sum(objective.weight(row) for row in rows), "a batch weighs what its rows weigh"
    # sums in another order: fp32 keeps 24 bits
    assert torch.allclose(whole, torch.stack(parts).sum(), rtol=1e-4, atol=1e-5), "a batch's total is its rows' sum"


def _says_what_it_is(technique: Technique) -> None:
    module = inspect.getmodule(technique.stages)
    told = (module.__doc__ if module else "") or ""
    missing = [word for word in ("Idea:", "Source:", "When:", "Costs:") if word not in told]
    assert not missing, f"the module's docstring says {', '.join(missing)}"
    assert technique.summary and technique.when, "it says in a line what it does and when"
    for name, field in technique.options.model_fields.items():
        assert not field.is_required(), f"the option {name} has a default"


def _claims_are_judged(technique: Technique, artifact: Artifact) -> None:
    assert len(artifact.claims) == len(technique.claims), "every claim is judged"
    for claim in artifact.claims:
        assert claim["outcome"] in ("held", "not held here", "unclear"), "a claim is held, not held here, or unclear"
        assert claim["because"] and claim["source"], "a claim has a figure (or why there is none) and a source"
        assert NOT_JUDGED not in claim["because"], claim["because"]
    assert artifact.scorecard.stages[0] == BEFORE, "row 0 is the model as it came"


def _answers_as_in_the_run(artifact: Artifact) -> None:
    """Check the answers to test rows that the artifact keeps, task by task."""
    for task in artifact.facts["tasks"]:
        kept = [row for row in artifact.generations if row.get("task", task) == task]
        if kept and artifact.facts["tasks"][task]["kind"] == "generation":
            limit = artifact.recipe.tasks[task].max_new_tokens
            prompts = [row["prompt"] for row in kept]
            lines = predict_rows(
                artifact.folder, prompts=prompts, data=None, out=None, max_new_tokens=limit, base=None, task=task
            )
            answers = [json.loads(line)["response"] for line in lines]
            assert answers == [row["after"] for row in kept], "what was saved answers as the trained model did"


def _stopped_again_and_again(recipe: Recipe, *, times: int = 3) -> Artifact:
    """Run `recipe`, each of the first `times` times asking it to stop after one more update."""
    for number in range(1, times + 1):
        counter = _Counter(number)
        try:
            return run(recipe, listeners=(counter,), stop_asked=counter.has_enough)
        except Interrupted:
            pass
    return run(recipe)


class _Counter:
    """A listener that has had enough after so many updates."""

    def __init__(self, enough: int) -> None:
        self.left = enough

    def has_enough(self) -> bool:
        return self.left <= 0

    def hear(self, event: object) -> None:
        assert isinstance(event, dict)
        self.left -= event["event"] == "update"


def _into(recipe: Recipe, output: Path) -> Recipe:
    return recipe.model_copy(update={"output": str(output)})


def _updates(artifact: Artifact) -> int:
    lines = (artifact.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return sum(json.loads(line)["event"] == "update" for line in lines)


def _result(artifact: Artifact) -> tuple[dict[str, str], object]:
    """Return the hash of every trained weight file, and all scores."""
    weights = {path.name: sha256_file(path) for path in sorted(artifact.weights.glob("*.safetensors"))}
    return weights, artifact.scorecard.to_json()
