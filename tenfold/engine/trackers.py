"""Where a run's numbers go beside `log.jsonl`: optional trackers behind one small protocol.

Each imports its package when it starts, so none is needed by those who do not ask for it.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from tenfold.engine.log import Log, Value
from tenfold.errors import Problem, RecipeError
from tenfold.recipe import LogSection, Recipe

Settings = Mapping[str, object]


class Tracker(Protocol):
    """Someone who keeps the numbers of a run."""

    def start(self, run_name: str, settings: Settings) -> None:
        """Open a run; `settings` is the resolved recipe as a tree of plain values."""
        ...

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Keep the values of one update; `step` counts updates over all stages, and never falls."""
        ...

    def finish(self) -> None:
        """Close the run; everything is written when this returns."""
        ...


class TensorBoard:
    """Writes event files that `tensorboard --logdir FOLDER` shows."""

    def __init__(self, *, project: str, folder: Path) -> None:
        self.folder = folder

    def start(self, run_name: str, settings: Settings) -> None:
        """Open `folder/tensorboard/run_name`, with the settings as text."""
        _imported("tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(self.folder / "tensorboard" / run_name)
        lines = [f"    {key}: {value}" for key, value in flat(settings).items()]
        self._writer.add_text("recipe", "\n".join(lines))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add one point to each curve."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def finish(self) -> None:
        """Write out and close."""
        self._writer.close()


class WeightsAndBiases:
    """Sends to Weights & Biases; `WANDB_MODE=offline` keeps the run in `folder/wandb` until `wandb sync`."""

    def __init__(self, *, project: str, folder: Path) -> None:
        self.project = project
        self.folder = folder

    def start(self, run_name: str, settings: Settings) -> None:
        """Open a run of the project."""
        wandb = _imported("wandb")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._run: Any = wandb.init(project=self.project, name=run_name, config=dict(settings), dir=str(self.folder))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add one step."""
        self._run.log(dict(values), step=step)

    def finish(self) -> None:
        """Write out and close."""
        self._run.finish()


class MLflow:
    """Keeps to MLflow: at `MLFLOW_TRACKING_URI` if set, else in the SQLite file `folder/mlflow.db`."""

    def __init__(self, *, project: str, folder: Path) -> None:
        self.project = project
        self.folder = folder

    def start(self, run_name: str, settings: Settings) -> None:
        """Open a run of the experiment named after the project."""
        mlflow = _imported("mlflow")
        self.folder.mkdir(parents=True, exist_ok=True)
        folder = self.folder.resolve()
        own = f"sqlite:///{folder / 'mlflow.db'}"
        self._client: Any = mlflow.MlflowClient(tracking_uri=None if mlflow.is_tracking_uri_set() else own)
        experiment = self._client.get_experiment_by_name(self.project)
        if experiment is None:
            place = None if mlflow.is_tracking_uri_set() else (folder / "mlruns").as_uri()
            key = self._client.create_experiment(self.project, artifact_location=place)
        else:
            key = experiment.experiment_id
        self._run_id = self._client.create_run(key, run_name=run_name).info.run_id
        for name, value in flat(settings).items():
            self._client.log_param(self._run_id, name, value)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add one step."""
        for name, value in values.items():
            self._client.log_metric(self._run_id, name, value, step=step)

    def finish(self) -> None:
        """Mark the run as finished."""
        self._client.set_terminated(self._run_id)


class Trackio:
    """Keeps to Trackio's local SQLite file; `trackio show` opens it."""

    def __init__(self, *, project: str, folder: Path) -> None:
        self.project = project

    def start(self, run_name: str, settings: Settings) -> None:
        """Open a run of the project."""
        trackio = _imported("trackio")
        self._run: Any = trackio.init(project=self.project, name=run_name, config=dict(settings), embed=False)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add one step."""
        self._run.log(dict(values), step=step)

    def finish(self) -> None:
        """Write out and close."""
        self._run.finish()


_TRACKERS: dict[str, type[TensorBoard] | type[WeightsAndBiases] | type[MLflow] | type[Trackio]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
    "trackio": Trackio,
}


def make_trackers(section: LogSection, folder: Path) -> tuple[Tracker, ...]:
    """Return the trackers that the recipe names, not yet started; local files go under `folder`."""
    return tuple(_TRACKERS[name](project=section.project, folder=folder) for name in section.trackers)


class TrackerListener:
    """Hands the numbers of the log's events on to trackers; one that fails is told in `log` and left out from there."""

    def __init__(self, trackers: Sequence[Tracker], log: Log) -> None:
        self.trackers = tuple(trackers)
        self.log = log
        self._updates_before = 0
        """Updates of the stages before the one that trains now."""
        self._updates_now = 0

    def hear(self, event: Mapping[str, Value]) -> None:
        """Log every number of an `update` or `evaluation` event as `stage/name` (`stage/evaluation/name`)."""
        kind, update = event.get("event"), event.get("update")
        if kind in ("stage", "stage_restored"):
            self._updates_before += self._updates_now
            self._updates_now = int(str(event["resumed_at" if kind == "stage" else "updates"]))
        if kind not in ("update", "evaluation") or not isinstance(update, int):
            return
        self._updates_now = update
        prefix = f"{event['stage']}/" if kind == "update" else f"{event['stage']}/evaluation/"
        values = {
            f"{prefix}{name}": float(value)
            for name, value in event.items()
            if isinstance(value, (int, float)) and not isinstance(value, bool) and name != "update"
        }
        for tracker in self.trackers:
            self._try(tracker, lambda each: each.log(self._updates_before + update, values))

    def finish(self) -> None:
        """Close the trackers' runs."""
        for tracker in self.trackers:
            self._try(tracker, lambda each: each.finish())

    def _try(self, tracker: Tracker, act: Callable[[Tracker], None]) -> None:
        try:
            act(tracker)
        except Exception as error:  # whatever it is: no training may end because nobody took note of it
            self.trackers = tuple(each for each in self.trackers if each is not tracker)
            self.log.write("note", text=f"{type(tracker).__name__} failed ({_told(error)}): the run goes on without it")


@contextmanager
def tracked(recipe: Recipe, folder: Path, log: Log) -> Iterator[None]:
    """Let the recipe's trackers hear `log` inside the block, and finish them whatever happens.

    Raises:
        RecipeError: one of them cannot be started.
    """
    listener = TrackerListener((), log)
    try:
        for name, tracker in zip(recipe.log.trackers, make_trackers(recipe.log, folder), strict=True):
            _start(name, tracker, folder.name, recipe.model_dump(mode="json"))
            listener.trackers += (tracker,)
        log.listeners += (listener,)
        yield
    finally:
        listener.finish()


def _start(name: str, tracker: Tracker, run_name: str, settings: Settings) -> None:
    try:
        tracker.start(run_name, settings)
    except RecipeError:
        raise
    except Exception as error:  # a service's own: nobody there, nobody logged in
        found = f"{name} cannot be started: {_told(error)}"
        remedy = f"mend that, or take {name!r} out of log.trackers"
        raise RecipeError(Problem("log.trackers", found, remedy=remedy)) from error


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".split("\n")[0]


def flat(settings: Settings, prefix: str = "") -> dict[str, object]:
    """Return nested settings as one level, `{"optim.epochs": 1}`."""
    result: dict[str, object] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            result |= flat(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = value
    return result


def require_trackers(section: LogSection) -> None:
    """Check that the package of every tracker is installed, without importing any.

    Raises:
        RecipeError: some are not; all at once.
    """
    missing = [name for name in section.trackers if importlib.util.find_spec(name) is None]
    if missing:
        raise RecipeError(*(_not_installed(name) for name in missing))


def _imported(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError:
        raise RecipeError(_not_installed(package)) from None


def _not_installed(package: str) -> Problem:
    return Problem(
        "log.trackers",
        f"the package {package!r} is not installed",
        remedy=f'pip install "tenfold[{package}]", or take {package!r} out of log.trackers',
    )
