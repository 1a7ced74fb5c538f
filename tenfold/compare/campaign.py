"""A comparison from its plan to its entries: learning rates are searched, then every seed is trained in full.

Everything that decides a run is in its recipe, written before it starts; what is finished is found again, so a
comparison that was stopped goes on where it was, and gives the same entries wherever its jobs are carried out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

from tenfold.compare.comparison import Comparison, Entry, Tried, last_score
from tenfold.compare.grid import Entrant, Entrants, Grid, entrants_of
from tenfold.compare.jobs import Executor, Hear, Job
from tenfold.compare.planning import SEARCH_SHARE, Allowance, Pace, allow, examine
from tenfold.compare.ranking import rank
from tenfold.compare.split import Sides, with_sides, write_split
from tenfold.errors import Problem, RecipeError
from tenfold.evaluation.scorecard import Measure
from tenfold.files import sha256_text, write_json
from tenfold.recipe import Recipe

CHECKS_A_RUN = 2
"""How often a run is judged on validation rows, to keep its best checkpoint."""


@dataclass(frozen=True)
class Plan:
    """What will be run: settled once, kept in the comparison's folder."""

    paces: Mapping[str, Pace]
    allowances: Mapping[str, Allowance]
    refused: Mapping[str, str]

    @property
    def expected_seconds(self) -> float:
        """What all of it is expected to take."""
        return sum(each.expected_seconds for each in self.allowances.values())


@dataclass(frozen=True)
class _Searched:
    """What a run of the search came to on validation rows."""

    rate: float
    measure: Measure
    seconds: float

    @property
    def worth(self) -> float:
        """How good it is: more is better."""
        return self.measure.value if self.measure.higher_is_better else -self.measure.value


@dataclass(frozen=True)
class Campaign:
    """A comparison in `folder`, by the terms of `grid`, of ways to do what `base` does."""

    grid: Grid
    base: Recipe
    folder: Path

    @cached_property
    def sides(self) -> dict[str, Sides]:
        """The files of each task's rows."""
        return write_split(self.base, self.folder / "rows")

    @cached_property
    def entrants(self) -> dict[str, Entrant]:
        """Those whose recipes can be written down, on the comparison's own rows."""
        return {entrant.name: entrant for entrant in self._entrants.recipes}

    @cached_property
    def _entrants(self) -> Entrants:
        return entrants_of(self.grid, self.base)

    @cached_property
    def plan(self) -> Plan:
        """What will be run: as it was settled by an earlier call in this folder, or settled now.

        Raises:
            RecipeError: the folder belongs to another comparison; the budget is too small.
        """
        path = self.folder / "plan.json"
        if path.is_file():
            return self._read_plan(path)
        examined = examine([Entrant(name, self._on_rows(each.recipe)) for name, each in self.entrants.items()])
        refused = {**self._entrants.refused, **examined.refused}
        found = Plan(examined.paces, allow(self.grid, examined.paces), refused)
        write_json(path, {"fingerprint": self.fingerprint, **asdict(found)})
        return found

    @property
    def fingerprint(self) -> str:
        """The hash of grid, recipe and rows."""
        rows = [path.read_text(encoding="utf-8") for each in self.sides.values() for path in (each.train, each.test)]
        settings = self.base.model_dump_json(exclude={"output", "log"})
        return sha256_text(self.grid.model_dump_json(exclude={"recipe"}), settings, *rows)

    def _read_plan(self, path: Path) -> Plan:
        tree = json.loads(path.read_text(encoding="utf-8"))
        if tree["fingerprint"] != self.fingerprint:
            found = "it belongs to another comparison: other rows, settings, techniques or terms"
            raise RecipeError(Problem(str(self.folder), found, remedy="choose another folder with --out"))
        return Plan(
            {name: Pace(**each) for name, each in tree["paces"].items()},
            {name: Allowance(**{**each, "rates": tuple(each["rates"])}) for name, each in tree["allowances"].items()},
            tree["refused"],
        )

    def carry_out(self, executor: Executor, hear: Hear) -> Comparison:
        """Run what is not finished yet and return the comparison."""
        searched = self.search_jobs()
        failed = executor.carry_out(searched, hear)
        pruned = self.pruned()
        failed |= executor.carry_out(self.final_jobs(pruned), hear)
        comparison = self.comparison(pruned, failed)
        return replace(comparison, rules=(*comparison.rules, *executor.terms))

    def search_jobs(self) -> list[Job]:
        """Return a short run for each learning rate that is to be tried, scored on validation rows."""
        return [
            self._job(name, f"{name} at rate x{factor:g}", self._searching(name, factor))
            for name, allowance in self.plan.allowances.items()
            for factor in allowance.rates
        ]

    def final_jobs(self, pruned: Mapping[str, str]) -> list[Job]:
        """Return a whole run for each entrant and seed, at the rate that was best: call it after the search.

        Of those that were `pruned` only the first seed's.
        """
        first = self.base.runtime.seed
        return [
            self._job(name, f"{name}, seed {seed}", self._whole(name, seed, self.best_factor(name)))
            for seed in range(first, first + self.grid.seeds)
            for name in self.plan.allowances
            if seed == first or name not in pruned
        ]

    def pruned(self) -> dict[str, str]:
        """Return the entrants that get one seed alone, and why: the search has shown them clearly behind.

        At most the worse half of those that were searched; what was not searched is not judged.
        """
        if not self.grid.prune or self.grid.seeds == 1:
            return {}
        searched = {name: (self._tried(name), self.best_factor(name)) for name in self.plan.allowances}
        found = {name: tried[best] for name, (tried, best) in searched.items() if best in tried}
        standings = rank({name: [each.measure] for name, each in found.items()})
        behind = [each for each in standings[math.ceil(len(standings) / 2) :] if not each.is_tied]
        told = f"clearly behind {standings[0].name} on validation rows after the search" if standings else ""
        return {each.name: f"1 of {self.grid.seeds} seeds: {told}" for each in behind}

    def best_factor(self, name: str) -> float | None:
        """Return the multiple of its learning rate at which `name` did best on validation rows, None without a search.

        Of equals the one nearest to the usual rate is taken. Where no run of the search has finished it is 1.
        """
        tried = self._tried(name)
        if not self.plan.allowances[name].rates:
            return None
        if not tried:
            return 1.0
        best = max(each.worth for each in tried.values())
        return min((factor for factor, each in tried.items() if each.worth == best), key=lambda factor: abs(factor - 1))

    def _tried(self, name: str) -> dict[float, _Searched]:
        """Return what the search has found at each factor."""
        found = {}
        for factor in self.plan.allowances[name].rates:
            artifact = self._job(name, f"{name} at rate x{factor:g}", self._searching(name, factor)).artifact
            score = None if artifact is None else last_score(artifact)
            if artifact is None or score is None:
                continue
            rate = artifact.recipe.optim.learning_rate
            assert rate is not None, "a resolved recipe has a rate"
            found[factor] = _Searched(rate, score.primary, artifact.cost.train_seconds)
        return found

    def comparison(self, pruned: Mapping[str, str], failed: Mapping[str, str]) -> Comparison:
        """Return what is finished as entries, with the reasons of what `failed`."""
        entries = []
        for name in self.plan.allowances:
            jobs = [job for job in self.final_jobs(pruned) if job.entrant == name]
            runs = tuple(artifact for job in jobs if (artifact := job.artifact) is not None)
            reasons = tuple(
                f"{job.name}: {failed[job.name]}" for job in (*self._searches(name), *jobs) if job.name in failed
            )
            search = tuple(Tried(each.rate, each.measure.value, each.seconds) for each in self._tried(name).values())
            entries.append(Entry(name, runs, reasons, pruned.get(name, ""), search))
        return Comparison(self._title(), tuple(entries), self.plan.refused, self.rules())

    def _searches(self, name: str) -> list[Job]:
        return [job for job in self.search_jobs() if job.entrant == name]

    def _title(self) -> str:
        names = ", ".join(str(data.train) for data in self.base.tasks.values())
        return f"{names} with {Path(self.base.model.name).name}"

    def rules(self) -> tuple[str, ...]:
        """Return the terms, a sentence each."""
        sides = next(iter(self.sides.values()))
        train, validation, test = sides.num_rows
        grid = self.grid
        rules = [
            f"One split for all: {train:,} training rows, {validation:,} validation rows, {test:,} test rows.",
            "Learning rates and checkpoints are chosen on validation rows; the table shows test rows.",
            f"{grid.seeds} seeds for each; a seed decides the order of rows and the starting values, never the split.",
        ]
        if len(grid.rates) > 1:
            listed = ", ".join(f"{factor:g}" for factor in grid.rates)
            share = f"{SEARCH_SHARE:.0%}"
            rules.append(
                f"Each tries {listed} times its usual learning rate with {share} of a run's updates; the best goes on."
            )
            if grid.prune and grid.seeds > 1:
                rules.append("What is clearly behind after the search gets one seed; at most the worse half does.")
        return (*rules, self._budget_rule())

    def _budget_rule(self) -> str:
        updates = {each.updates for each in self.plan.allowances.values() if each.updates is not None}
        if self.grid.budget is None and self.grid.per_run is None:
            return f"Every run has {', '.join(map(str, sorted(updates)))} updates: the recipe's own epochs."
        each = ", ".join(
            f"{name} {allowance.updates}" for name, allowance in self.plan.allowances.items() if allowance.updates
        )
        return f"Every run has equal {self.grid.binds}, which are so many updates: {each}."

    def _job(self, entrant: str, name: str, recipe: Recipe) -> Job:
        slug = "".join(sign if sign.isalnum() or sign in "._-" else "-" for sign in name.replace(" ", "_"))
        return Job(slug, entrant, recipe.model_copy(update={"output": str(self.folder / "runs" / slug)}), self.folder)

    def _on_rows(self, recipe: Recipe) -> Recipe:
        """Return `recipe` on the comparison's rows, as it will be trained in full."""
        return self._with(recipe, judged_on="test", every=None)

    def _searching(self, name: str, factor: float) -> Recipe:
        allowance = self.plan.allowances[name]
        recipe = self._with(self.entrants[name].recipe, judged_on="validation", every=None)
        evaluation = recipe.evaluation.model_copy(update={"retention": False, "samples": 0})
        optim = self._optim(recipe, allowance.search_updates, factor)
        return recipe.model_copy(update={"evaluation": evaluation, "optim": optim})

    def _whole(self, name: str, seed: int, factor: float | None) -> Recipe:
        updates = self.plan.allowances[name].updates
        every = None if updates is None else max(1, -(-updates // CHECKS_A_RUN))
        recipe = self._with(self.entrants[name].recipe, judged_on="test", every=every)
        runtime = recipe.runtime.model_copy(update={"seed": seed})
        return recipe.model_copy(update={"runtime": runtime, "optim": self._optim(recipe, updates, factor)})

    def _optim(self, recipe: Recipe, updates: int | None, factor: float | None) -> object:
        rate = recipe.optim.learning_rate or type(recipe.tuner).learning_rate
        changes: dict[str, object] = {"total_updates": updates}
        if factor is not None:
            changes["learning_rate"] = rate * factor
        return recipe.optim.model_copy(update=changes)

    def _with(self, recipe: Recipe, *, judged_on: str, every: int | None) -> Recipe:
        def of(data: object, sides: Sides) -> object:
            chosen_on = None if every is None else sides.validation
            return with_sides(data, sides, judged_on=getattr(sides, judged_on), chosen_on=chosen_on)  # type: ignore[arg-type]

        tasks = {name: of(data, self.sides[name]) for name, data in recipe.data.tasks.items()}
        data = recipe.data.model_copy(update={"tasks": tasks}) if tasks else of(recipe.data, *self.sides.values())
        evaluation = recipe.evaluation.model_copy(
            update={"every": every, "patience": None, "max_rows": self._most_items}
        )
        return recipe.model_copy(update={"data": data, "evaluation": evaluation})

    @cached_property
    def _most_items(self) -> int:
        return max(max(sides.num_rows[1:]) for sides in self.sides.values())
