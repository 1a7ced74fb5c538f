"""What a recipe meets: its model's files, tokenizer and tasks, opened and checked before any weight is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from tenfold.data.gate import Finding, check_across
from tenfold.data.splits import Splits, open_splits
from tenfold.engine.trackers import require_trackers
from tenfold.errors import Problem, RecipeError, UserError, collecting, nearest
from tenfold.files import sha256_text
from tenfold.models.architecture import Family, family_of
from tenfold.models.context import context_length
from tenfold.models.layout import hidden_size
from tenfold.models.load import Tokenizer, load_tokenizer, outline
from tenfold.models.processor import Processor, open_processor
from tenfold.models.sources import ModelFiles, resolve
from tenfold.recipe import FREE_TO_CHANGE, DataSection, Recipe
from tenfold.tasks.task import Task, open_task
from tenfold.techniques.sharded import require_shardable
from tenfold.techniques.start import Start, own_code
from tenfold.tuning.identity import Identity, identify
from tenfold.tuning.rehearsal import rehearse
from tenfold.tuning.tuner import make_tuner


@dataclass(frozen=True)
class World:
    """The recipe, resolved, beside the model files, tokenizer and tasks that it names."""

    recipe: Recipe
    files: ModelFiles
    family: Family
    tokenizer: Tokenizer
    processor: Processor
    identity: Identity
    tasks: Mapping[str, Task]
    starts_from: str
    """The hash of the adapters of earlier runs that the recipe names, if it names any."""
    needs: Mapping[str, str] = field(default_factory=dict)
    """What else decides the run, such as a teacher: a hash under each name."""
    across: Sequence[Finding] = ()
    """What the gate found between tasks and the recipe allows."""

    @property
    def first(self) -> Task:
        """The task that stands first in the recipe: the only one, for most."""
        return next(iter(self.tasks.values()))

    @property
    def without_retention(self) -> str:
        """Why general text is not measured before and after; empty where it is."""
        if not self.recipe.evaluation.retention:
            return "evaluation.retention is off"
        asked = "general text is asked of decoders alone"
        return "" if self.family == "decoder" else f"{asked}, and the model is of the family {self.family}"

    @property
    def findings(self) -> list[Finding]:
        """What the gate noted in any task, or found and the recipe allows."""
        return [*(finding for task in self.tasks.values() for finding in task.findings), *self.across]

    @property
    def allowed(self) -> list[Finding]:
        """What the gate found in any task and the recipe allows."""
        return [finding for finding in self.findings if not finding.is_note]

    @property
    def parts(self) -> dict[str, str]:
        """The hashes of the files that the recipe names, each under what a message calls it."""
        sides = [(task, name, side) for task in self.tasks.values() for name, side in task.sides.items()]
        of_task = {task.name: f" of {task.name}" if len(self.tasks) > 1 else "" for task in self.tasks.values()}
        # of speech the files' sound counts too, which only its tokens' fingerprint tells
        rows = {
            f"{name} rows{of_task[task.name]} ({side.rows.name})": side.fingerprint
            if side.rows.format == "speech"
            else side.rows.fingerprint
            for task, name, side in sides
        }
        return {f"model ({self.files.name})": self.identity.sha256, **self.needs, **rows}

    @property
    def fingerprint(self) -> str:
        """The hash of what decides the run: settings, model, tokenizer and rows; not the output folder or trackers."""
        settings = self.recipe.model_dump_json(exclude={"output": True, "log": True, "runtime": set(FREE_TO_CHANGE)})
        parts = [side.fingerprint for task in self.tasks.values() for side in task.sides.values()]
        needs = [f"{name} {sha256}" for name, sha256 in self.needs.items()]
        return sha256_text(settings, self.identity.sha256, self.starts_from, *parts, *needs)


def open_world(recipe: Recipe, start: Callable[[], Start] | None = None) -> World:
    """Open everything `recipe` names but the weights, and fill in what it left to `auto`.

    `start` gives the model to train where that is not the recipe's as it is.

    Raises:
        UserError: with every problem of model and data together.
    """
    problems: list[Problem] = []
    files, family, context, starts_from = None, None, None, ""
    needs: Mapping[str, str] = {}
    splits: dict[str, Splits] = {}
    with collecting(problems):
        if start is None:
            files = resolve(recipe.model)
        else:
            begun = start()
            files, needs = begun.files, begun.needs
        network = outline(files.folder, trust_remote_code=recipe.model.trust_remote_code)
        family, context = family_of(network.config), context_length(network)
        require_shardable(recipe, family)
        tuner = make_tuner(recipe.tuner)
        starts_from = tuner.starts_from
        rehearse(tuner, network)
    for name, data in recipe.tasks.items():
        with collecting(problems):
            splits[name] = open_splits(
                data, seed=recipe.runtime.seed, with_validation=recipe.evaluation.every is not None
            )
            _require_validation(recipe, name, splits[name])
    with collecting(problems):
        require_trackers(recipe.log)
    if problems or files is None or family is None:
        raise UserError(*problems)
    tokenizer = load_tokenizer(files.folder, trust_remote_code=recipe.model.trust_remote_code)
    processor = open_processor(files.folder, network.config, tokenizer, family)
    opened = partial(open_task, processor=processor, recipe=recipe, context=context)
    tasks = _open_tasks(splits, opened)
    _require_shared_heads(tasks)
    _require_something_to_train(recipe, tasks)
    _require_something_to_smooth(recipe, tasks)
    return World(
        recipe=_resolved(recipe, tasks, width=hidden_size(network)),
        files=files,
        family=family,
        tokenizer=tokenizer,
        processor=processor,
        identity=identify(files.folder, tokenizer, name=files.name),
        tasks=tasks,
        starts_from=starts_from,
        across=check_across({name: task.sides for name, task in tasks.items()}, recipe.gate),
        needs={**needs, **own_code(recipe.technique.kind)},
    )


def _require_validation(recipe: Recipe, name: str, splits: Splits) -> None:
    if recipe.evaluation.every is not None and splits.validation is None:
        where = f"data.tasks.{name}" if recipe.data.tasks else "data"
        remedy = f"set {where}.validation, or a {where}.validation_share above 0"
        raise UserError(Problem("evaluation.every", "there are no validation rows to evaluate on", remedy=remedy))


def _open_tasks(splits: Mapping[str, Splits], open_one: Callable[[str, Splits], Task]) -> dict[str, Task]:
    """Return all tasks; of one task the error keeps its type, of several their problems are told together."""
    if len(splits) == 1:
        return {name: open_one(name, split) for name, split in splits.items()}
    problems: list[Problem] = []
    tasks = {}
    for name, split in splits.items():
        with collecting(problems):
            tasks[name] = open_one(name, split)
    if problems:
        raise UserError(*problems)
    return tasks


def _require_shared_heads(tasks: Mapping[str, Task]) -> None:
    """Check that a head that answers another task too has as many outputs, for the same labels."""
    problems = []
    for name, task in tasks.items():
        head, owner = task.kind.head, tasks.get(task.data.head or name)
        if task.data.head is None or (owner and owner.data.head is None and _same_answers(task, owner) and head):
            continue
        known = ", ".join(other for other, each in tasks.items() if each.kind.head and each.data.head is None)
        found = f"{task.data.head!r} is no task with a head of its own for the same labels"
        remedy = nearest(task.data.head, tasks) or "list the same data.labels for both tasks"
        problems.append(Problem(f"data.tasks.{name}.head", found, known or "none", remedy))
    if problems:
        raise RecipeError(*problems)


def _same_answers(task: Task, owner: Task) -> bool:
    labels = [each.kind.facts.get("labels", {}).get("names") for each in (task, owner)]
    return task.kind.name == owner.kind.name and labels[0] == labels[1]


def _require_something_to_train(recipe: Recipe, tasks: Mapping[str, Task]) -> None:
    if recipe.tuner.kind == "frozen" and all(task.kind.head is None for task in tasks.values()):
        found = "frozen trains heads alone, and no task has one: all are answered in words"
        raise RecipeError(Problem("tuner.kind", found, remedy="choose another tuner, or rows with labels"))


def _require_something_to_smooth(recipe: Recipe, tasks: Mapping[str, Task]) -> None:
    if recipe.optim.label_smoothing and not any(task.kind.smooths_labels for task in tasks.values()):
        kinds = ", ".join(dict.fromkeys(task.kind.name for task in tasks.values()))
        found = f"would be read by nothing: the loss of {kinds} is not over classes or tokens"
        raise RecipeError(Problem("optim.label_smoothing", found, "0", "remove it"))


def _resolved(recipe: Recipe, tasks: Mapping[str, Task], *, width: int) -> Recipe:
    rate = recipe.optim.learning_rate or recipe.tuner.usual_rate(width)
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
