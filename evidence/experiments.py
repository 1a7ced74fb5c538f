"""What `make evidence` runs: each technique's reference recipe, and with how many seeds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tenfold.recipe import Recipe, load_recipe

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Experiment:
    """One technique on real rows. `needs` are recipes that must have run before, such as a teacher's."""

    technique: str
    seeds: tuple[int, ...] = (0,)
    needs: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """The reference recipe, from the repository's root."""
        return f"recipes/{self.technique}/reference.yaml"

    @property
    def recipe(self) -> Recipe:
        """The reference recipe, read."""
        return load_recipe(ROOT / self.path)

    @property
    def about(self) -> str:
        """The comment at the head of the recipe, without the commands in it."""
        head = (ROOT / self.path).read_text(encoding="utf-8").split("\n\n")[0]
        lines = (line.removeprefix("#") for line in head.splitlines())
        return " ".join(line.strip() for line in lines if not line.startswith("   "))

    @property
    def pieces(self) -> list[str]:
        """Names of the models and tables that `python -m evidence.prepare` has to make for it."""
        found = re.findall(r"evidence/data/(?:models|tables)/([\w-]+)", (ROOT / self.path).read_text(encoding="utf-8"))
        return sorted(set(found))

    def output(self, seed: int) -> str:
        """Return the folder of the run with that seed, from the repository's root."""
        return f"runs/evidence/{self.technique}-{seed}"

    def command(self, seed: int) -> list[str]:
        """Return the command that makes the run."""
        return ["tenfold", "run", self.path, "--set", f"runtime.seed={seed}", "--set", f"output={self.output(seed)}"]


EXPERIMENTS = {
    experiment.technique: experiment
    for experiment in (
        Experiment("instruction"),
        Experiment("parameter_efficient"),
        Experiment("task_specific", seeds=(0, 1, 2)),
        Experiment("transfer", seeds=(0, 1, 2)),
        Experiment("multi_task"),
        Experiment("sequential"),
        Experiment("feature_based"),
        Experiment("adapters"),
        Experiment("distillation", needs=("recipes/demo.yaml",)),
        Experiment("cross_lingual"),
    )
}
"""In the order of the README's table. Three seeds where a run takes a few minutes, else one."""
