"""What lessons take on disk, for more rows than a student meets here: python -m bench.ours.lessons JOB RESULT."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from bench.ours.train import Watch, open_run
from tenfold.objectives.distillation import Distillation
from tenfold.paths import cache_at
from tenfold.recipe import Recipe
from tenfold.teaching.targets import LessonFile
from tenfold.techniques.context import Run
from tenfold.techniques.distillation_lessons import Lessons
from tenfold.techniques.distillation_options import DistillationOptions


def lessons_of(run: Run, recipe: dict[str, dict[str, object]]) -> Lessons:
    """Return the lessons that the recipe's technique asks for."""
    options = {name: value for name, value in recipe["technique"].items() if name != "kind"}
    return Lessons(run, DistillationOptions(**options))  # type: ignore[arg-type]


def stored(objective: object) -> dict[str, float]:
    """Return what the lessons of a stage's objective take, and of how many supervised tokens they are."""
    assert isinstance(objective, Distillation) and isinstance(objective.teacher, LessonFile)
    file = objective.teacher
    return {"bytes": file.num_bytes, "positions": file.num_tokens, "kept_mass": file.kept_mass}


def main(job_folder: Path, result: Path) -> None:
    job = json.loads((job_folder / "job.json").read_text())
    recipe = job["recipe"]
    recipe["data"]["max_rows"] = job["rows_stored"]
    with tempfile.TemporaryDirectory(dir=job_folder) as scratch, cache_at(Path(scratch)):
        run = open_run(Recipe(**recipe), Path(scratch), Watch())
        found = stored(lessons_of(run, recipe).stage(run).objective)
    result.write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
