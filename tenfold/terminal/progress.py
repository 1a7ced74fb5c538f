"""What moves while a run goes: what is being done, step, loss, tokens a second, time left.

A bar where someone is looking; where the output goes to a file, a plain line now and then.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from tenfold.engine.log import Value
from tenfold.evaluation.duration import duration
from tenfold.recipe import TASK
from tenfold.terminal.console import Console

SECONDS_BETWEEN_LINES = 60
"""A plain line comes at least this often, and at every tenth of a training."""


class ProgressLine:
    """A listener that tells a run's events, in lines: those that matter by themselves, and how far training is."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.heard_anything = False
        self._total = 1
        self._told_at = 0.0

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def hear(self, event: Mapping[str, Value]) -> None:
        """Tell one event."""
        self.heard_anything = True
        match event["event"]:
            case "stage":
                self._total = int(str(event["updates"]))
                self.begin(f"train {event['stage']}", self._total, int(str(event["resumed_at"])))
            case "update":
                self.advance(f"train {event['stage']}", event)
            case "scoring":
                self.begin(_scoring(event), None, 0)
            case "scored":
                self.end(_scoring(event), duration(float(str(event["seconds"]))))
            case "evaluation":
                metric = str(event["metric"]).replace("_", " ")
                self.say(
                    f"update {event['update']}: validation {metric} {float(str(event['value'])):.4f} "
                    f"(best {float(str(event['best'])):.4f} at {event['best_update']})"
                )
            case "stage_restored":
                self.say(f"train {event['stage']}: unchanged since an earlier run, taken from the store")
            case "score_restored":
                self.say(f"{_scoring(event)}: unchanged, remembered")
            case "note":
                self.say(str(event["text"]))

    def say(self, text: str) -> None:
        """Print a line."""
        self.console.print(escape(text), soft_wrap=True)

    def begin(self, name: str, total: int | None, done: int) -> None:
        """Say that a piece of work begins, `done` of its `total` steps behind it."""
        self.say(f"{name}: {'begun' if not done else f'going on after update {done} of {total}'}")

    def advance(self, name: str, event: Mapping[str, Value]) -> None:
        """Say how far a training is, if it is time to."""
        update, seconds = int(str(event["update"])), float(str(event["seconds"]))
        passes_tenth = update * 10 // self._total > (update - 1) * 10 // self._total
        if passes_tenth or seconds - self._told_at >= SECONDS_BETWEEN_LINES:
            self._told_at = seconds
            self.say(f"{name}: {self.facts(event)}")

    def end(self, name: str, took: str) -> None:
        """Say that a piece of work is done."""
        self.say(f"{name}: done, {took}")

    def facts(self, event: Mapping[str, Value]) -> str:
        """Return `12/40 loss 1.234, 2,345 tok/s, 3 min left`."""
        update, seconds = int(str(event["update"])), float(str(event["seconds"]))
        speed = float(str(event["tokens"])) / max(1e-9, seconds)
        left = self._total - update
        time = f"{duration(seconds / update * left)} left" if left else f"took {duration(seconds)}"
        return f"{update}/{self._total} loss {float(str(event['loss'])):.3f}, {speed:,.0f} tok/s, {time}"


class ProgressBar(ProgressLine):
    """The same with one moving bar for each piece of work."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._bars = Progress(
            TextColumn("{task.description:<18}"),
            BarColumn(bar_width=12),
            TextColumn("{task.fields[facts]}"),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def begin(self, name: str, total: int | None, done: int) -> None:
        """Draw a bar for the piece of work."""
        self._bars.start()
        self._tasks[name] = self._bars.add_task(name, total=total, completed=done, facts="")

    def advance(self, name: str, event: Mapping[str, Value]) -> None:
        """Move the bar."""
        self._bars.update(self._tasks[name], completed=int(str(event["update"])), facts=self.facts(event))

    def end(self, name: str, took: str) -> None:
        """Fill the bar."""
        self._bars.update(self._tasks[name], total=1, completed=1, facts=took)


def _scoring(event: Mapping[str, Value]) -> str:
    """Return `score before`, or `retention before` for any task but the recipe's own one."""
    return f"{'score' if event['task'] == TASK else event['task']} {event['stage']}"


def progress_on(console: Console) -> ProgressLine:
    """Return what fits the console: bars on a terminal, plain lines elsewhere."""
    return ProgressBar(console) if console.is_terminal else ProgressLine(console)
