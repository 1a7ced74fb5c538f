from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tenfold.engine.log import Log
from tenfold.engine.trackers import Tracker, TrackerListener, flat, make_trackers
from tenfold.errors import RecipeError
from tenfold.recipe import LogSection

ALL = ("tensorboard", "wandb", "mlflow", "trackio")
SETTINGS = {"optim": {"epochs": 1.0, "betas": [0.9, 0.999]}, "output": "runs/a"}


class Stub:
    def __init__(self) -> None:
        self.calls: list[object] = []

    def start(self, run_name: str, settings: Mapping[str, object]) -> None:
        self.calls.append((run_name, dict(settings)))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.calls.append((step, dict(values)))

    def finish(self) -> None:
        self.calls.append("finish")


def test_numbers_of_updates_and_evaluations_reach_every_tracker() -> None:
    stubs = [Stub(), Stub()]
    trackers: list[Tracker] = [*stubs]
    listener = TrackerListener(trackers, Log(None))
    listener.hear({"event": "stage", "stage": "instruction", "updates": 9, "resumed_at": 0})
    listener.hear({"event": "update", "stage": "instruction", "update": 3, "loss": 0.5, "tokens": 100, "ok": True})
    listener.hear(
        {
            "event": "evaluation",
            "stage": "instruction",
            "update": 3,
            "value": 0.8,
            "note": "text",
            "best": None,
        }
    )
    listener.hear({"event": "note", "text": "out of memory"})
    expected = [
        (3, {"instruction/loss": 0.5, "instruction/tokens": 100.0}),
        (3, {"instruction/evaluation/value": 0.8}),
    ]
    assert [stub.calls for stub in stubs] == [expected, expected]


def test_steps_go_on_over_stages_whether_trained_restored_or_resumed() -> None:
    stub = Stub()
    listener = TrackerListener([stub], Log(None))
    listener.hear({"event": "stage_restored", "stage": "first", "updates": 4, "seconds": 1.0})
    listener.hear({"event": "stage", "stage": "second", "updates": 9, "resumed_at": 2})
    listener.hear({"event": "update", "stage": "second", "update": 3, "loss": 0.5})
    listener.hear({"event": "stage", "stage": "third", "updates": 9, "resumed_at": 0})
    listener.hear({"event": "update", "stage": "third", "update": 1, "loss": 0.25})
    listener.hear({"event": "evaluation", "stage": "third", "update": 1, "value": 1.0})
    assert stub.calls == [
        (7, {"second/loss": 0.5}),
        (8, {"third/loss": 0.25}),
        (8, {"third/evaluation/value": 1.0}),
    ]


def test_trackers_are_made_as_the_recipe_names_them_and_import_nothing_yet(tmp_path: Path) -> None:
    made = make_trackers(LogSection(trackers=ALL), tmp_path)
    assert [type(tracker).__name__ for tracker in made] == [
        "TensorBoard",
        "WeightsAndBiases",
        "MLflow",
        "Trackio",
    ]
    assert make_trackers(LogSection(), tmp_path) == ()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ALL)
def test_a_missing_package_says_what_to_install(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    [tracker] = make_trackers(LogSection.model_validate({"trackers": (name,)}), tmp_path)
    with pytest.raises(
        RecipeError, match=rf"log\.trackers: the package '{name}' .*\n  do: pip install \"tenfold\[{name}\]\""
    ):
        tracker.start("run", SETTINGS)


def test_nested_settings_become_one_level() -> None:
    assert flat(SETTINGS) == {"optim.epochs": 1.0, "optim.betas": [0.9, 0.999], "output": "runs/a"}


def test_tensorboard_keeps_curves_and_settings(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(("tensorboard",), tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard" / "first"))
    events.Reload()
    assert [(point.step, point.value) for point in events.Scalars("loss")] == [(1, 0.5), (2, 0.25)]


# mlflow 3.17 uses what SQLAlchemy 2.1 advises against
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_mlflow_keeps_curves_and_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")  # the small mlflow package comes without it
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    run(("mlflow",), tmp_path)
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("tenfold")
    [kept] = client.search_runs([experiment.experiment_id])
    assert kept.data.params["optim.epochs"] == "1.0"
    assert kept.info.status == "FINISHED"
    assert [(point.step, point.value) for point in client.get_metric_history(kept.info.run_id, "loss")] == [
        (1, 0.5),
        (2, 0.25),
    ]


def test_wandb_keeps_an_offline_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run(("wandb",), tmp_path)
    [kept] = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    assert b"loss" in kept.read_bytes()


def test_trackio_keeps_a_local_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    pytest.importorskip("trackio")
    run(("trackio",), tmp_path)
    assert list(tmp_path.rglob("*.db"))


def run(names: tuple[str, ...], folder: Path) -> None:
    [tracker] = make_trackers(LogSection.model_validate({"trackers": names}), folder)
    tracker.start("first", SETTINGS)
    tracker.log(1, {"loss": 0.5})
    tracker.log(2, {"loss": 0.25})
    tracker.finish()
