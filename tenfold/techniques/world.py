"""What a recipe meets: its model's files, tokenizer and tasks, opened and checked before any weight is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tenfold.data.gate import Finding
from tenfold.data.splits import Splits, open_splits
from tenfold.engine.trackers import require_trackers
from tenfold.errors import Problem, UserError, collecting
from tenfold.files import sha256_text
from tenfold.models.context import context_length
from tenfold.models.load import Tokenizer, load_tokenizer, outline
from tenfold.models.sources import ModelFiles, resolve
from tenfold.recipe import FREE_TO_CHANGE, DataSection, Recipe
from tenfold.tasks.task import Task, open_task
from tenfold.tuning.identity import Identity, identify
from tenfold.tuning.rehearsal import rehearse
from tenfold.tuning.tuner import make_tuner


@dataclass(frozen=True)
class World:
    """The recipe, resolved, beside the model files, tokenizer and tasks that it names."""

    recipe: Recipe
    files: ModelFiles
    tokenizer: Tokenizer
    identity: Identity
    tasks: Mapping[str, Task]

    @property
    def first(self) -> Task:
        """The task that stands first in the recipe: the only one, for most."""
        return next(iter(self.tasks.values()))

    @property
    def findings(self) -> list[Finding]:
        """What the gate found in any task and the recipe allows."""
        return [finding for task in self.tasks.values() for finding in task.findings]

    @property
    def fingerprint(self) -> str:
        """The hash of what decides the run: settings, model, tokenizer and rows; not the output folder or trackers."""
        settings = self.recipe.model_dump_json(exclude={"output": True, "log": True, "runtime": set(FREE_TO_CHANGE)})
        parts = [side.fingerprint for task in self.tasks.values() for side in task.sides.values()]
        return sha256_text(settings, self.identity.sha256, *parts)


def open_world(recipe: Recipe) -> World:
    """Open everything `recipe` names but the weights, and fill in what it left to `auto`.

    Raises:
        UserError: with every problem of model and data together.
    """
    problems: list[Problem] = []
    files, context = None, None
    splits: dict[str, Splits] = {}
    with collecting(problems):
        files = resolve(recipe.model)
        network = outline(files.folder, trust_remote_code=recipe.model.trust_remote_code)
        context = context_length(network)
        rehearse(make_tuner(recipe.tuner), network)
    for name, data in recipe.tasks.items():
        with collecting(problems):
            splits[name] = open_splits(
                data, seed=recipe.runtime.seed, with_validation=recipe.evaluation.every is not None
            )
            _require_validation(recipe, name, splits[name])
    with collecting(problems):
        require_trackers(recipe.log)
    if problems or files is None:
        raise UserError(*problems)
    tokenizer = load_tokenizer(files.folder, trust_remote_code=recipe.model.trust_remote_code)
    tasks = _open_tasks(splits, tokenizer, recipe, context)
    return World(
        recipe=_resolved(recipe, tasks),
        files=files,
        tokenizer=tokenizer,
        identity=identify(files.folder, tokenizer, name=files.name),
        tasks=tasks,
    )


def _require_validation(recipe: Recipe, name: str, splits: Splits) -> None:
    if recipe.evaluation.every is not None and splits.validation is None:
        where = f"data.tasks.{name}" if recipe.data.tasks else "data"
        remedy = f"set {where}.validation, or a {where}.validation_share above 0"
        raise UserError(Problem("evaluation.every", "there are no validation rows to evaluate on", remedy=remedy))


def _open_tasks(
    splits: Mapping[str, Splits], tokenizer: Tokenizer, recipe: Recipe, context: int | None
) -> dict[str, Task]:
    """Return all tasks; of one task the error keeps its type, of several their problems are told together."""
    if len(splits) == 1:
        return {name: open_task(name, split, tokenizer, recipe, context=context) for name, split in splits.items()}
    problems: list[Problem] = []
    tasks = {}
    for name, split in splits.items():
        with collecting(problems):
            tasks[name] = open_task(name, split, tokenizer, recipe, context=context)
    if problems:
        raise UserError(*problems)
    return tasks


def _resolved(recipe: Recipe, tasks: Mapping[str, Task]) -> Recipe:
    rate = recipe.optim.learning_rate or type(recipe.tuner).learning_rate
    settled = {
        name: {"metrics": task.data.metrics, "max_new_tokens": task.data.max_new_tokens} for name, task in tasks.items()
    }
    update: dict[str, object] = {"optim": recipe.optim.model_copy(update={"learning_rate": rate})}
    if recipe.data.tasks:
        sections: dict[str, DataSection] = {
            name: data.model_copy(update=settled[name]) for name, data in recipe.data.tasks.items()
        }
        update["data"] = recipe.data.model_copy(update={"tasks": sections})
    else:
        (found,) = settled.values()
        update["evaluation"] = recipe.evaluation.model_copy(update=found)
    return recipe.model_copy(update=update)
