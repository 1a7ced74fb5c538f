"""The line that moves while a run goes: what is being done, step, loss, tokens a second, time left."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tenfold.engine.log import Value


class ProgressLine:
    """A listener that draws a run's events as one progress bar per piece of work."""

    def __init__(self, console: Console | None = None) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<18}"),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[facts]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(compact=True),
            console=console or Console(),
        )
        self._tasks: dict[str, TaskID] = {}
        self.heard_anything = False

    def __enter__(self) -> ProgressLine:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def hear(self, event: Mapping[str, Value]) -> None:
        """Draw one event."""
        self.heard_anything = True
        match event["event"]:
            case "stage":
                task = self._task(f"train {event['stage']}", int(str(event["updates"])))
                self._progress.update(task, completed=int(str(event["resumed_at"])))
            case "update":
                self._update(event)
            case "scoring":
                self._task(f"score {event['stage']}", None)
            case "scored":
                self._progress.update(self._tasks[f"score {event['stage']}"], total=1, completed=1)
            case "evaluation":
                self._progress.console.print(
                    f"update {event['update']}: validation {float(str(event['value'])):.4f} "
                    f"(best {float(str(event['best'])):.4f} at {event['best_update']})"
                )
            case "stage_restored":
                self._progress.console.print(f"{event['stage']}: unchanged since an earlier run, taken from the store")
            case "score_restored":
                self._progress.console.print(f"score {event['stage']}: unchanged, remembered")
            case "note":
                self._progress.console.print(str(event["text"]))

    def _update(self, event: Mapping[str, Value]) -> None:
        task = self._tasks[f"train {event['stage']}"]
        speed = float(str(event["tokens"])) / max(1e-9, float(str(event["seconds"])))
        facts = f"loss {float(str(event['loss'])):.3f}, {speed:.0f} tok/s"
        facts = f"{event['update']}/{self._progress.tasks[task].total:.0f} {facts}"
        self._progress.update(task, completed=int(str(event["update"])), facts=facts)

    def _task(self, name: str, total: int | None) -> TaskID:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total, facts="")
        return self._tasks[name]
