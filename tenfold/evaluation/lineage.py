"""Which stage came from which: what sits on what, by hash, and which task each stage trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tenfold.errors import ArtifactError, Problem


@dataclass(frozen=True)
class Ancestor:
    """One trained stage: what it trained, where it began, and the hashes of what sits on what.

    `weights_sha256` is of all that the stage's tuner trained. `base_sha256` is of the weights that this sits on:
    those of the base model's file, or, after another tuner was merged into them, of the merged tensors.
    """

    name: str
    tasks: tuple[str, ...]
    starts_from: str
    tuner: str
    base_sha256: str
    weights_sha256: str


@dataclass(frozen=True)
class Lineage:
    """All stages of a run in the order they were trained; `saved` names those that made what was saved, in order."""

    stages: tuple[Ancestor, ...] = ()
    saved: tuple[str, ...] = ()

    def trained_tasks(self) -> dict[str, str]:
        """Return the task of each saved stage that trained just one, by the stage's name, in order."""
        tasks = {stage.name: stage.tasks for stage in self.stages}
        return {name: tasks[name][0] for name in self.saved if len(tasks[name]) == 1}

    def taught(self) -> tuple[str, ...]:
        """Return the tasks that what was saved has been taught, in order."""
        return tuple(dict.fromkeys(task for stage in self.stages if stage.name in self.saved for task in stage.tasks))

    def to_json(self) -> dict[str, Any]:
        """Return the lineage as plain values; `from_json` gives an equal one back."""
        return {"saved": list(self.saved), "stages": [asdict(stage) for stage in self.stages]}

    @classmethod
    def from_json(cls, tree: Mapping[str, Any], *, where: str = "lineage.json") -> Lineage:
        """Return the lineage that `to_json` gave.

        Raises:
            ArtifactError: something is missing from it.
        """
        try:
            stages = tuple(Ancestor(**{**stage, "tasks": tuple(stage["tasks"])}) for stage in tree["stages"])
            saved = tuple(str(name) for name in tree["saved"])
            if set(saved) <= {stage.name for stage in stages}:
                return cls(stages, saved)
        except (KeyError, TypeError) as error:
            raise ArtifactError(Problem(where, f"not a lineage ({error!r})", remedy="run the recipe again")) from None
        raise ArtifactError(Problem(where, "it names stages that it does not hold", remedy="run the recipe again"))
