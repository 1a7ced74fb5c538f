"""A run's memory, foretold by `tenfold check` or taken by its first stage: python -m bench.ours.memory JOB RESULT.

`asks` in job.json says which of the two; each is a fresh process, so neither finds the other's memory.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from tenfold.engine.log import Log
from tenfold.engine.runtime import open_runtime
from tenfold.engine.stage import Stage
from tenfold.paths import cache_at
from tenfold.recipe import Recipe
from tenfold.techniques.context import Run
from tenfold.techniques.fits import carry_out
from tenfold.techniques.technique import Plan, find_technique
from tenfold.techniques.trial import try_reading, try_updates
from tenfold.techniques.world import open_world


def main(job_folder: Path, result: Path) -> None:
    job = json.loads((job_folder / "job.json").read_text())
    with tempfile.TemporaryDirectory(dir=job_folder) as scratch, cache_at(Path(scratch)):
        recipe = Recipe(**job["recipe"])
        technique = find_technique(recipe.technique.kind)
        options = technique.require_fit(recipe)
        recipe = technique.expand(recipe, options)
        world = open_world(recipe, technique.starting(recipe, options))
        technique.meet(world, options)
        run = Run(world, folder=Path(scratch) / "run", runtime=open_runtime(recipe.runtime), log=Log(None))
        if job["asks"] == "estimate":
            peak = _foretold(run, technique.plan(run, options))
        else:
            first = next(technique.stages(run, options))
            peak = (run.train(first) if isinstance(first, Stage) else carry_out(run, first)).peak_memory_bytes
    result.write_text(json.dumps({"peak_bytes": peak}))


def _foretold(run: Run, plan: Plan) -> int:
    if not plan.stages:
        return try_reading(run.model, run.tasks[0].windows).peak_memory_bytes
    stage = run.attach(plan.stages[plan.tried])
    return try_updates(run.model, stage).peak_memory_bytes + plan.held_bytes


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
