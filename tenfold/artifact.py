"""The folder a run leaves behind: everything that predict, chat, evaluate and compare need.

recipe.yaml        the recipe with every `auto` replaced by what it became
adapter/ or model/ weights (safetensors), tokenizer, identity.json; opened by peft and transformers as they are
                   (bottleneck adapters by us); estimators/ over a frozen model, with the table of all that were tried;
                   heads.safetensors beside them for tasks answered with labels (alone in heads/ over a frozen model)
scorecard.json     every score of every stage, item by item
cost.json          seconds, tokens/s, peak memory, parameters, bytes; beside it timings.json, of what was timed
claims.json        what the technique promises, and whether it held here
lineage.json       which stage came from which: what sits on what, by hash
provenance.json    versions, platform, git state, hashes of model, template and data, seed, allowed gate rules
preview.txt        rows as the trainer saw them, supervised tokens marked; training_rows.npz: keys of all of them
generations.jsonl  prompts, references, and answers before and after
README.md          the model card
log.jsonl          one line an event
artifact.json      written last: its presence says that the artifact is complete; hashes of the files, and of itself
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenfold.errors import ArtifactError, Problem, RecipeError, nearest, shown
from tenfold.evaluation.cost import Cost
from tenfold.evaluation.lineage import Lineage
from tenfold.evaluation.scorecard import Scorecard
from tenfold.files import sealed_json, sha256_file
from tenfold.recipe import Recipe, load_recipe
from tenfold.records import checked_rows, damaged, parsed, read_json, read_text, require_sound

if TYPE_CHECKING:
    from tenfold.engine.runtime import Runtime
    from tenfold.models.trunk import Trunk

FORMAT = 1
"""Version of the folder's layout."""

_CHANGED = "not the file that was saved: its hash does not hold"

FACTS = ("weights", "technique", "tuner", "base", "tasks", "reported")
"""What `artifact.json` says, among other things."""


@dataclass(frozen=True)
class Artifact:
    """A finished run on disk."""

    folder: Path

    @classmethod
    def open(cls, folder: str | Path) -> Artifact:
        """Return the artifact in `folder`.

        Raises:
            ArtifactError: no artifact there, an unfinished one, or one of a newer layout.
        """
        folder = Path(folder)
        if not os.path.isdir(folder):  # unlike `is_dir` no error for a name that is too long
            raise ArtifactError(Problem(str(folder), "no such folder", remedy="make one with `tenfold run RECIPE`"))
        marker = folder / "artifact.json"
        if not marker.is_file():
            unfinished = (folder / "run.json").is_file()
            what = "an unfinished run" if unfinished else "not a Tenfold artifact (no artifact.json)"
            remedy = "run its recipe again to finish it" if unfinished else "give the `output` folder of a run"
            raise ArtifactError(Problem(str(folder), what, remedy=remedy))
        facts = read_json(marker, "format", *FACTS)
        if "sealed" in facts and sealed_json(marker) is None:
            raise damaged(marker, _CHANGED)
        if facts["format"] != FORMAT:
            raise ArtifactError(
                Problem(str(marker), f"layout {shown(facts['format'])}", allowed=str(FORMAT), remedy="upgrade tenfold")
            )
        require_sound(marker, facts)
        return cls(folder)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What `artifact.json` holds."""
        return read_json(self.folder / "artifact.json")

    @cached_property
    def recipe(self) -> Recipe:
        """The resolved recipe."""
        path = self._as_saved("recipe.yaml")
        try:
            return load_recipe(path)
        except RecipeError as error:
            raise damaged(path, "; ".join(problem.found for problem in error.problems[:3])) from None

    @cached_property
    def scorecard(self) -> Scorecard:
        """Stage × task × metric; row 0 is before training."""
        path = self._as_saved("scorecard.json")
        return Scorecard.from_json(read_json(path), where=str(path))

    @cached_property
    def cost(self) -> Cost:
        """What the run took."""
        path = self._as_saved("cost.json")
        told = read_json(path, *(field.name for field in fields(Cost)))
        unlike = [name for name, value in told.items() if not isinstance(value, int | float | None)]
        if unlike or len(told) > len(fields(Cost)):
            raise damaged(path, f"damaged: {', '.join(unlike) or 'it says more than a cost'}")
        return Cost(**told)

    @cached_property
    def claims(self) -> list[dict[str, str]]:
        """What the technique promises: `claim`, `source`, `outcome` and `because` of each."""
        path = self._as_saved("claims.json")
        return checked_rows(path, parsed(path, read_text(path)), ("claim", "source", "outcome", "because"))

    @cached_property
    def lineage(self) -> Lineage:
        """Which stage came from which."""
        path = self._as_saved("lineage.json")
        return Lineage.from_json(read_json(path), where=str(path))

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """Versions, platform, hashes of model and rows, seed."""
        return read_json(self._as_saved("provenance.json"), "data", "packages", "model", "seed")

    @cached_property
    def generations(self) -> list[dict[str, str]]:
        """The answers to held-out rows: `prompt`, `reference`, `before` and `after` of each."""
        path = self._as_saved("generations.jsonl")
        # not splitlines(), which takes more than a line feed for the end of a line
        lines = [line for line in read_text(path).split("\n") if line]
        rows = [parsed(path, line) for line in lines]
        return checked_rows(path, rows, ("prompt", "reference", "before", "after"))

    @property
    def weights(self) -> Path:
        """The folder with what was learned: `adapter/`, `model/`, or over a frozen one `heads/` or `estimators/`."""
        return self.folder / str(self.facts["weights"])

    def require_saved(self) -> None:
        """Read every file that the run has saved to be opened again, and compare its hash.

        Raises:
            ArtifactError: one is missing, or has another content than it was saved with.
        """
        for name in self.facts.get("sha256", {}):
            if not self._as_saved(name).is_file():
                raise damaged(self.folder / name, "missing", run=self.folder)

    def _as_saved(self, name: str) -> Path:
        """Return the path of a file that `artifact.json` has the hash of, unless there is another content there now."""
        path = self.folder / name
        wanted = self.facts.get("sha256", {}).get(name)  # absent in artifacts of before there were hashes
        if wanted is not None and path.is_file() and sha256_file(path) != wanted:
            raise damaged(path, _CHANGED, run=self.folder)
        return path

    def load(self, *, base: str | None = None, runtime: Runtime | None = None) -> Trunk:
        """Return the tuned model, ready to answer; `base` names another copy of the base, no `runtime`: measured anew.

        Raises:
            ArtifactError: the base is not the one that the adapter was trained on, or the weights are damaged.
        """
        from tenfold.loading import load_tuned  # brings torch and transformers along

        if not self.weights.is_dir():
            raise damaged(self.weights, "missing")
        for path in sorted(self.weights.rglob("*")):
            self._as_saved(str(path.relative_to(self.folder)))
        return load_tuned(
            self.recipe,
            self.weights,
            is_whole=self.facts["weights"] == "model",
            heads={name: task["head"] for name, task in self.facts["tasks"].items() if task["head"] is not None},
            fitted=list(self.facts["tasks"]) if self.facts["weights"] == "estimators" else (),
            base=base,
            runtime=runtime,
        )

    def answer_as(self, model: Trunk, task: str, *, adapter: str | None = None, drop_blocks: int = 0) -> None:
        """Let the loaded `model` answer `task` by its own adapters, or by `adapter` as `choose_adapters` reads it."""
        from tenfold.loading import choose_adapters

        choose_adapters(model, self.facts["tasks"][task].get("answered_by"), adapter, drop_blocks=drop_blocks)

    def task(self, name: str | None = None) -> str:
        """Return `name`, or the name of the artifact's first task where none is given.

        Raises:
            RecipeError: the artifact has no such task.
        """
        tasks = self.recipe.tasks
        if name is not None and name not in tasks:
            raise RecipeError(Problem("--task", f"no task {name!r}", ", ".join(tasks), nearest(name, tasks)))
        return name or next(iter(tasks))
