"""How the stages of a sequence are made: what each trains, what holds it, and which earlier rows it meets again."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

from tenfold.data.mixture import Mixture, apportioned
from tenfold.engine.stage import Stage, StageResult
from tenfold.errors import Problem, RecipeError
from tenfold.evaluation.scorecard import BEFORE
from tenfold.models.layout import hidden_size
from tenfold.models.load import outline
from tenfold.objectives.anchors import Anchor, copied, fisher_diagonal
from tenfold.objectives.causal_lm import CausalLanguageModelling
from tenfold.objectives.mixed import MixedObjective, TaskLoss, units_per_row
from tenfold.objectives.objective import Objective
from tenfold.objectives.self_distillation import SelfDistillation
from tenfold.tasks.task import Task
from tenfold.techniques.context import Run
from tenfold.techniques.sequential_check import tuners_of
from tenfold.techniques.sequential_options import Cure, SequentialOptions
from tenfold.tuning.rehearsal import rehearse
from tenfold.tuning.tuner import Tuner, make_tuner


class Course:
    """The stages of one sequence, made one at a time as the model comes along."""

    def __init__(self, run: Run, options: SequentialOptions) -> None:
        self.run = run
        self.options = options
        tasks = {task.name: task for task in run.tasks}
        self.names = [stage.stage_name for stage in options.stages]
        self.tasks: list[Task] = [tasks[stage.task] for stage in options.stages]
        self.untrained = [task for task in run.tasks if task not in self.tasks]
        self.tuners = self._tuners()
        self._anchors: dict[str, Anchor] = {}

    def _tuners(self) -> list[Tuner]:
        """Return each stage's tuner: one object for as long as it stays the same, so that nothing is merged."""
        found = [self.run.tuner]
        for settings in tuners_of(self.run.recipe, self.options)[1:]:
            found.append(found[-1] if settings == found[-1].settings else make_tuner(settings))
        return found

    def require_fit(self) -> None:
        """Check what needs the opened model and tasks.

        Raises:
            ModelError: a stage's tuner names modules that the model does not have.
            RecipeError: PEFT does not accept a stage's tuner, or a task has no answers to distil.
        """
        world = self.run.world
        for tuner in {id(tuner): tuner for tuner in self.tuners[1:] if tuner is not self.tuners[0]}.values():
            rehearse(tuner, outline(world.files.folder, trust_remote_code=world.recipe.model.trust_remote_code))
        if self.options.self_distillation > 0:
            others = [
                task.name
                for task in self.tasks[1:]
                if not isinstance(task.objective(self.run.recipe), CausalLanguageModelling)
            ]
            if others:
                found = f"it compares distributions over tokens, and {', '.join(others)} has none"
                raise RecipeError(Problem("technique.self_distillation", found, remedy="use replay, ewc or l2_sp"))

    def outline(self) -> list[Stage]:
        """Return all stages in the order of training, without what only a trained model can tell."""
        later = [
            self._stage(place, mark=mark, cures=cures)
            for mark, cures in (*self.options.compared.items(), ("", self.options.cures))
            for place in range(1, len(self.names))
        ]
        straight = [self.straight()] if self.options.compare_straight else []
        return [*straight, self.first(), *later]

    def first(self) -> Stage:
        """Return the first stage; no cure acts in it."""
        return self._stage(0)

    def straight(self) -> Stage:
        """Return the last stage as it would be without the ones before."""
        last = len(self.names) - 1
        return replace(self._stage(last), name=f"{self.names[last]}@straight", starts_from=BEFORE)

    def later(self, cures: tuple[Cure, ...], *, mark: str) -> Generator[Stage, StageResult, None]:
        """Yield the stages after the first with `cures`; those with a `mark` are there to be compared with."""
        for place in range(1, len(self.names)):
            stage = self.run.attach(self._stage(place, mark=mark, cures=cures))
            stage = self._held(stage, place, mark=mark, cures=cures)
            yield stage
            if "ewc" in cures and place < len(self.names) - 1:
                self.remember(stage.name, place)

    def remember(self, stage: str, place: int) -> None:
        """Estimate what mattered for the task of `stage`, which has just been trained, if EWC is to hold it."""
        if self.options.ewc == 0 or len(self.names) == 1:
            return
        model, task = self.run.model, self.tasks[place]
        parameters = self.tuners[place].trainable(model.network)
        if not parameters:  # heads alone train, and that of an earlier task is left alone by the others' rows
            return
        windows = task.windows.padded(not model.route.packs)
        rows = windows.stream(0, min(self.options.fisher_rows, len(task.train)))
        batches = (batch for row in rows for batch in windows.cut([row]).batches)
        importance = fisher_diagonal(model, task.objective(self.run.recipe), batches, parameters)
        origin = f"ewc after {stage}, from {len(rows)} rows"
        self._anchors[stage] = Anchor(self.options.ewc, origin, copied(parameters), importance)

    def _stage(self, place: int, *, mark: str = "", cures: tuple[Cure, ...] = ()) -> Stage:
        """Return the stage at `place` with its rows and budget."""
        run, settings, task = self.run, self.options.stages[place], self.tasks[place]
        stage = run.stage(_marked(self.names[place], mark), task)
        optim = stage.optim.model_copy(
            update={
                "epochs": settings.epochs or stage.optim.epochs,
                "max_updates": settings.updates or stage.optim.max_updates,
            }
        )
        has_own_tuner = settings.tuner is not None and place > 0
        usual = self.tuners[place].settings.usual_rate(hidden_size(run.model.base))
        rate = usual if has_own_tuner else stage.learning_rate
        windows = self._mixed(task, place) if "replay" in cures else task.windows
        return replace(
            stage,
            tuner=self.tuners[place],
            optim=optim,
            learning_rate=settings.learning_rate or rate,
            windows=windows,
            total_updates=windows.total_updates(optim.epochs, optim.max_updates),
            starts_from=self._beginning(place, mark),
        )

    def _beginning(self, place: int, mark: str) -> str:
        if place == 0:
            return BEFORE
        # the first stage has no cures, so all sequences share it
        return _marked(self.names[place - 1], mark if place > 1 else "")

    def _mixed(self, task: Task, place: int) -> Mixture:
        """Return all rows of `task` with earlier tasks' rows among them, evenly, in the share that is asked for."""
        earlier = self._earlier(place)
        share = self.options.replay if earlier else 0.0
        replayed = max(len(earlier), round(len(task.train) * share / (1 - share)))
        counts = apportioned(replayed, [1 / len(earlier)] * len(earlier)) if earlier else ()
        return Mixture(
            (task.windows, *(each.windows for each in earlier)),
            (len(task.train), *counts),
            batch_size=self.run.recipe.optim.batch_size,
            seed=self.run.runtime.seed,
        )

    def _held(self, stage: Stage, place: int, *, mark: str, cures: tuple[Cure, ...]) -> Stage:
        """Return `stage`, at whose beginning the model now is, with the penalties and the loss of its cures."""
        options, penalties = self.options, list(stage.penalties)
        origin = f"where {stage.name} begins"
        if "ewc" in cures:
            before = [_marked(self.names[each], mark if each else "") for each in range(place)]
            penalties += [self._anchors[name] for name in before if name in self._anchors]
        if "l2_sp" in cures:
            penalties.append(Anchor(options.l2_sp, origin, copied(stage.trainable(self.run.model))))
        objective = stage.objective
        if "self_distillation" in cures:
            assert isinstance(objective, CausalLanguageModelling), "checked before the first stage"
            values = copied(stage.trainable(self.run.model))
            objective = SelfDistillation(
                objective, options.self_distillation, options.distillation_temperature, origin, values
            )
        if "replay" in cures:
            objective = self._mixed_loss(objective, place)
        return replace(stage, penalties=tuple(penalties), objective=objective)

    def _mixed_loss(self, own: Objective, place: int) -> MixedObjective:
        """Return the loss in which a row counts by its own task's: `own` for the stage's, and as they were learned."""
        recipe, task = self.run.recipe, self.tasks[place]
        losses = {each.name: each.objective(recipe) for each in self._earlier(place)} | {task.name: own}
        tasks = {each.name: each for each in self.tasks[: place + 1]}
        return MixedObjective(
            {name: TaskLoss(loss, units_per_row(loss, tasks[name].windows)) for name, loss in losses.items()}
        )

    def _earlier(self, place: int) -> list[Task]:
        """Return the tasks of earlier stages, but not that of the stage at `place`, each once."""
        return list({each.name: each for each in self.tasks[:place] if each is not self.tasks[place]}.values())


def _marked(name: str, mark: str) -> str:
    return f"{name}@{mark}" if mark else name
