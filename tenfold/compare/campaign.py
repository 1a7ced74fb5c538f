"""A comparison from its plan to its entries: learning rates are searched, then every seed is trained in full.

Everything that decides a run is in its recipe, written before it starts; what is finished is found again, so a
comparison that was stopped goes on where it was, and gives the same entries wherever its jobs are carried out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from tenfold.artifact import Artifact
from tenfold.compare.beforehand import Beforehand, Taught, beforehand, taught_rows
from tenfold.compare.comparison import Comparison, Entry, Tried
from tenfold.compare.grid import Entrant, Entrants, Grid, entrants_of, slug
from tenfold.compare.jobs import Executor, Hear, Job
from tenfold.compare.judged import difference, judged
from tenfold.compare.planning import allow, examine
from tenfold.compare.search import Searched, alike, best_of, clearly_behind, only_searching
from tenfold.compare.settled import Plan, Settled, keep_plan, kept_plan, settle
from tenfold.compare.split import Side, Sides, slices_of, with_rows
from tenfold.compare.terms import terms
from tenfold.compare.verdict import refusals
from tenfold.errors import Problem, RecipeError
from tenfold.recipe import Recipe, load_recipe

CHECKS_A_RUN = 2
"""How often a run is judged on validation rows, to keep its best checkpoint."""


@dataclass(frozen=True)
class Campaign:
    """A comparison in `folder`, by the terms of `grid`, of ways to do what `base` does."""

    grid: Grid
    base: Recipe
    folder: Path

    @cached_property
    def sides(self) -> dict[str, Sides]:
        """The files of each task's rows: another comparison's, in the same folder, stay as they are.

        Raises:
            DataError: rows that cannot be read, or none left for a side.
            RecipeError: the folder belongs to another comparison.
        """
        return dict(self._settled.sides[""])

    def _sides_of(self, name: str) -> dict[str, Sides]:
        """The files of the rows of the way's own tasks, and of the comparison's."""
        return {**self._settled.sides.get(name, {}), **self.sides}

    @property
    def lost(self) -> str:
        """Why the rows cannot be read any more where they came from; it goes on from its own."""
        return self._settled.lost

    @cached_property
    def _settled(self) -> Settled:
        own = {name: self.entrants[name].recipe for name in self.grid.own_recipes}
        return settle(self.grid, self.base, own, self.folder)

    @cached_property
    def slices(self) -> dict[str, str]:
        """What test rows have in the column by which the report scores too, by their prompts.

        Raises:
            DataError: they have no such column.
        """
        task, sides = next(iter(self.sides.items()))
        column = self.grid.slice_by
        return {} if column is None else slices_of(sides, self.base.tasks[task], column)

    @property
    def _ranked_by(self) -> tuple[str, ...]:
        return tuple(self.base.tasks)

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
            RecipeError: the folder belongs to another comparison; no way applies; the budget is too small.
        """
        fingerprint = self._settled.fingerprint
        _ = self.slices  # a column that is not there is told now
        kept = kept_plan(self.folder, fingerprint)
        if kept is not None:
            return kept
        examined = examine([Entrant(name, self._on_rows(name)) for name in self.entrants], self._ranked_by)
        refused = {**self._entrants.refused, **examined.refused}
        if not examined.paces:
            raise RecipeError(*(Problem("", f"{names} {told}") for names, told in refusals(refused)))
        try:
            allowances = allow(self.grid, examined.paces)
        except RecipeError as error:
            told = (Problem("", f"{names} {why}") for names, why in refusals(refused))
            raise RecipeError(*error.problems, *told) from None
        found = Plan(examined.paces, allowances, refused)
        keep_plan(found, self.folder, fingerprint)
        return found

    def carry_out(self, executor: Executor, hear: Hear) -> Comparison:
        """Run what is not finished yet and return the comparison."""
        searched = self.search_jobs()
        failed = executor.carry_out(searched, hear)
        pruned = self._decided()
        for job in searched:
            job.shed()  # nobody asks for their weights again, and they may fill a disk
        failed |= executor.carry_out(self.final_jobs(pruned), hear)
        comparison = self.comparison(pruned, failed)
        return replace(comparison, rules=(*comparison.rules, *executor.terms))

    def search_jobs(self) -> list[Job]:
        """Return a short run for each learning rate that is to be tried, scored on validation rows."""
        return [
            self._search_job(name, factor)
            for name, allowance in self.plan.allowances.items()
            for factor in allowance.rates
        ]

    def _search_job(self, name: str, factor: float) -> Job:
        return self._job(name, f"{name} at rate x{factor:g}", self._searching(name, factor))

    def final_jobs(self, pruned: Mapping[str, str]) -> list[Job]:
        """Return a whole run for each entrant and seed, at the rate that was best: call it after the search.

        Of those that were `pruned` only the first seed's.
        """
        factors = {name: self.best_factor(name) for name in self.plan.allowances}
        return [
            self._job(name, f"{name}, seed {seed}", self._whole(name, seed, factor))
            for seed in self._seeds
            for name, factor in factors.items()
            if seed == self._seeds[0] or name not in pruned
        ]

    def _decided(self) -> Mapping[str, str]:
        """Return what is pruned, which stays from the first whole run on, though the search may be made good later."""
        fingerprint = self._settled.fingerprint
        kept = kept_plan(self.folder, fingerprint)
        if kept is not None and kept.pruned is not None:
            return kept.pruned
        pruned = self.pruned()
        keep_plan(replace(self.plan, pruned=pruned), self.folder, fingerprint)
        return pruned

    def pruned(self) -> dict[str, str]:
        """Return the entrants that get one seed alone, and why: the search has shown them clearly behind.

        At most the worse half of those that were searched; what was not searched is not judged.
        """
        if not self.grid.prune or self.grid.seeds == 1:
            return {}
        searched = {name: (self._tried(name), self.best_factor(name)) for name in self.plan.allowances}
        found = {name: tried[best] for name, (tried, best) in searched.items() if best in tried}
        return clearly_behind(found, seeds=self.grid.seeds)

    def best_factor(self, name: str) -> float | None:
        """Return the multiple of its learning rate at which `name` did best on validation rows, None if nothing trains.

        Of equals the one nearest to the usual rate is taken. Where no run of the search has finished it is 1. Once a
        whole run has begun it stays: a run of the search that is made good later does not part the seeds. A rate that
        is named alone is taken without a search.
        """
        allowance = self.plan.allowances[name]
        if not allowance.rates:
            return None if allowance.updates is None else self.grid.rates[0]
        begun = self._begun_at(name)
        return best_of(self._tried(name)) if begun is None else begun

    def _begun_at(self, name: str) -> float | None:
        """Return the multiple of its learning rate in the recipes of whole runs, None where none has begun."""
        for seed in self._seeds:
            job = self._job(name, f"{name}, seed {seed}", self.entrants[name].recipe)
            if job.recipe_path.is_file():
                rate = load_recipe(job.recipe_path).optim.learning_rate or 0.0
                usual = self.plan.paces[name].usual_rate
                factors = {factor: usual * factor for factor in (*self.plan.allowances[name].rates, 1.0)}
                return min(factors, key=lambda factor: abs(factors[factor] - rate))
        return None

    @property
    def _seeds(self) -> range:
        first = self.base.runtime.seed
        return range(first, first + self.grid.seeds)

    def _tried(self, name: str) -> dict[float, Searched]:
        """Return what the search has found at each factor."""
        found = {}
        for factor in self.plan.allowances[name].rates:
            artifact = self._search_job(name, factor).artifact
            score = None if artifact is None else judged(artifact, self._ranked_by)
            if artifact is None or score is None:
                continue
            rate = artifact.recipe.optim.learning_rate
            assert rate is not None, "a resolved recipe has a rate"
            found[factor] = Searched(rate, score.measure, artifact.cost.train_seconds)
        return alike(found)

    def comparison(self, pruned: Mapping[str, str], failed: Mapping[str, str]) -> Comparison:
        """Return what is finished as entries, with the reasons of what `failed`."""
        entries: list[Entry] = []
        finals = self.final_jobs(pruned)
        for name, allowance in self.plan.allowances.items():
            jobs = [job for job in finals if job.entrant == name]
            runs, apart = self._comparable(jobs, entries)
            reasons = tuple(f"{job.name}: {failed[job.name]}" for job in jobs if job.name in failed) + apart
            search = tuple(Tried(each.rate, each.measure.value, each.seconds) for each in self._tried(name).values())
            untried = tuple(
                f"at rate x{factor:g}: {failed[tried.name]}"
                for factor in allowance.rates
                if (tried := self._search_job(name, factor)).name in failed
            )
            entries.append(Entry(name, runs, reasons, pruned.get(name, ""), search, untried, self._ranked_by))
        by = self.grid.slice_by or ""
        return Comparison(self._title(), tuple(entries), self.plan.refused, self.rules(), by, self.slices)

    def _comparable(self, jobs: Sequence[Job], before: Sequence[Entry]) -> tuple[tuple[Artifact, ...], tuple[str, ...]]:
        """Return those finished runs of `jobs` that can stand beside the entries `before`, and why others cannot."""
        first = next((found for entry in before for found in entry.judged()), None)
        runs, apart = [], []
        for job in jobs:
            artifact = job.artifact
            found = None if artifact is None else judged(artifact, self._ranked_by)
            told = "" if found is None or first is None else difference(first, found)
            first = first or found
            if told:
                apart.append(f"{job.name}: {told}")
            elif artifact is not None:
                runs.append(artifact)
        return tuple(runs), tuple(apart)

    def _title(self) -> str:
        names = ", ".join(str(data.train) for data in self.base.tasks.values())
        return f"{names} with {Path(self.base.model.name).name}"

    def rules(self) -> tuple[str, ...]:
        """Return the terms, a sentence each."""
        return terms(self.grid, self.plan.allowances, self.sides, self._teachers)

    @cached_property
    def _teachers(self) -> dict[str, tuple[Beforehand, Taught]]:
        """The teachers of ways that have one, and what these have seen of the validation rows."""
        recipes = {name: self._with(name, judged_on="validation", every=None) for name in self.plan.allowances}
        found = {name: (recipe, beforehand(recipe)) for name, recipe in recipes.items()}
        return {
            name: (teacher, taught_rows(recipe, teacher))
            for name, (recipe, teacher) in found.items()
            if teacher is not None
        }

    def _job(self, entrant: str, name: str, recipe: Recipe) -> Job:
        called = slug(name)
        return Job(
            called,
            entrant,
            recipe.model_copy(update={"output": str(self.folder / "runs" / called)}),
            self.folder,
            self._ranked_by,
        )

    def _on_rows(self, name: str) -> Recipe:
        """Return the recipe of `name` on the comparison's rows, as it will be trained in full."""
        return self._with(name, judged_on="test", every=None)

    def _searching(self, name: str, factor: float) -> Recipe:
        allowance = self.plan.allowances[name]
        recipe = self._with(name, judged_on="validation", every=None)
        optim = self._optim(name, recipe, allowance.search_updates, factor)
        return only_searching(recipe.model_copy(update={"optim": optim}))

    def _whole(self, name: str, seed: int, factor: float | None) -> Recipe:
        updates = self.plan.allowances[name].updates
        every = None if updates is None else max(1, -(-updates // CHECKS_A_RUN))
        recipe = self._with(name, judged_on="test", every=every)
        runtime = recipe.runtime.model_copy(update={"seed": seed})
        return recipe.model_copy(update={"runtime": runtime, "optim": self._optim(name, recipe, updates, factor)})

    def _optim(self, name: str, recipe: Recipe, updates: int | None, factor: float | None) -> object:
        changes: dict[str, object] = {"total_updates": updates}
        if factor is not None:
            changes["learning_rate"] = self.plan.paces[name].usual_rate * factor
        return recipe.optim.model_copy(update=changes)

    def _with(self, name: str, *, judged_on: Side, every: int | None) -> Recipe:
        return with_rows(self.entrants[name].recipe, self._sides_of(name), judged_on=judged_on, every=every)
