"""One rank of a full tuning whose weights are shared out: python -m bench.ours.shard JOB_FOLDER RESULT.json.

Its place among the others stands in the environment, as `torchrun` puts it there.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from bench.ours.train import Watch
from bench.peak import OwnMemory, own_bytes, resident_bytes
from tenfold.engine.checkpoint import Checkpoint, CheckpointFolder
from tenfold.engine.fit import fit
from tenfold.engine.log import Log
from tenfold.engine.ranks import ALONE, Ranks
from tenfold.engine.runtime import open_ranks, open_runtime
from tenfold.recipe import Recipe
from tenfold.techniques.context import Run
from tenfold.techniques.world import open_world


class Watched(CheckpointFolder):
    """Checkpoints, and the memory that the last one took to write."""

    def save(self, checkpoint: Checkpoint, ranks: Ranks = ALONE) -> Path:
        """Write one."""
        with OwnMemory() as self.saving:
            return super().save(checkpoint, ranks)


def main(job_folder: Path, result: Path) -> None:
    job = json.loads((job_folder / "job.json").read_text())
    recipe = Recipe(**job["recipe"])
    watch = Watch()
    with open_ranks(recipe.runtime) as ranks, tempfile.TemporaryDirectory() as scratch:
        shared = ranks.first(lambda: Path(tempfile.mkdtemp(dir=job_folder)))
        with ranks.first_ahead():
            world = open_world(recipe)
        runtime = open_runtime(recipe.runtime, ranks)
        libraries = {"own": own_bytes(), "resident": resident_bytes()}
        run = Run(world, folder=Path(scratch), runtime=runtime, log=Log(None, (watch,)))
        with OwnMemory() as loading:
            stage = run.attach(run.stage("bench"))
        checkpoints = Watched(shared, keep=1)
        with OwnMemory() as training:
            every = stage.total_updates
            fit(run.model, stage, log=run.log, checkpoints=checkpoints, checkpoint_every=every, ranks=ranks)
    phases = {"loading": loading, "training": training, "saving": checkpoints.saving}
    peaks = {name: {"own": of.peak_bytes, "resident": of.peak_resident_bytes} for name, of in phases.items()}
    facts = {"libraries": libraries, "peaks": peaks, "ends": watch.ends, "losses": watch.losses, "tokens": watch.tokens}
    result.write_text(json.dumps(facts))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
