"""The checks in their order, and how each is carried out: timed, and its failure kept to itself."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tenfold.artifact import Artifact
from tenfold.errors import TenfoldError
from tenfold.files import unfinished
from tenfold.garbage import only_new_garbage
from tenfold.paths import cache_folder, shows_tracebacks
from tenfold.recipe import Recipe
from tenfold.verify import generation, gradients, ranks, saved, templates, updates
from tenfold.verify.finding import Compared, Finding, Skipped, Verification
from tenfold.verify.finished import Finished, kept_answers
from tenfold.verify.specimen import Specimen

Tell = Callable[[Finding], None]


@dataclass(frozen=True)
class Check:
    """One invariant, and how it is looked at."""

    name: str
    promise: str
    """What holds where it passes; one line."""
    run: Callable[[Specimen], Compared | Skipped]
    trains: bool = False
    """Whether it needs something that trains."""


CHECKS = (
    Check("template", "training text = the tokenizer's own template", templates.template),
    Check("prompt", "a prompt = the beginning of its training row", templates.prompt),
    Check("moved", "what trains moved, what is frozen did not", updates.moved, trains=True),
    Check("repeated", "same seed = same bits", updates.repeated, trains=True),
    Check("resumed", "resumed = never stopped", updates.resumed, trains=True),
    Check("accumulation", "1 x N micro-batches = N x 1", gradients.accumulation, trains=True),
    Check("ranks", "1 process = 2 processes", ranks.ranks, trains=True),
    Check("packing", "rows together = the same rows alone", gradients.packing, trains=True),
    Check("kernels", "fused = the model's own plain forward", gradients.kernels, trains=True),
    Check("kernels, own precision", "the same as it trains, in bf16", gradients.kernels_in_own_precision, trains=True),
    Check("recomputation", "activation checkpointing = plain", gradients.recomputation, trains=True),
    Check("cache", "answers with a cache = without", generation.cached, trains=True),
    Check("batch", "answers in a batch = alone", generation.batched, trains=True),
    Check("reloaded", "trained = saved and reloaded", saved.reloaded, trains=True),
    Check("merged", "adapter = merged into its base", saved.merged, trains=True),
    Check("exported", "Tenfold = plain transformers and PEFT", saved.exported, trains=True),
)
"""What is checked of a recipe, in this order."""

OF_ARTIFACT = ("template", "prompt", "cache", "batch", "reloaded", "merged", "exported")
"""Which of them are checked of a finished run, beside the answers that it keeps."""

KEPT = Check("answers", "answers kept by the run = answers now", kept_answers)


def verify_recipe(recipe: Recipe, *, tell: Tell = lambda finding: None) -> Verification:
    """Check every invariant on the recipe's own model, first stage and rows; `tell` hears each finding at once.

    Raises:
        UserError: the recipe, its data or its model cannot be used as asked.
    """
    with unfinished(cache_folder("verify") / "verify") as folder:
        specimen = Specimen(recipe, folder)
        return _verified(specimen, CHECKS, subject=recipe.output, tell=tell)


def verify_artifact(artifact: Artifact, *, tell: Tell = lambda finding: None) -> Verification:
    """Check what a finished run has saved; `tell` hears each finding at once.

    Raises:
        UserError: the artifact, its base or its rows cannot be used; an ArtifactError names the file that has changed.
    """
    artifact.require_saved()
    checks = (KEPT, *(check for check in CHECKS if check.name in OF_ARTIFACT))
    with unfinished(cache_folder("verify") / "verify") as folder:
        return _verified(Finished(artifact, folder), checks, subject=str(artifact.folder), tell=tell)


@only_new_garbage()
def _verified(specimen: Specimen, checks: Sequence[Check], *, subject: str, tell: Tell) -> Verification:
    findings = []
    for check in checks:
        findings.append(carry_out(check, specimen))
        tell(findings[-1])
        gc.collect()  # models hold themselves in circles, and each check may open another one
    facts = {
        "model": specimen.world.files.name,
        "technique": specimen.technique.kind,
        "stage": specimen.stage_name,
        "tuner": specimen.world.recipe.tuner.kind,
        "runtime": specimen.runtime.chosen,
    }
    return Verification(subject, facts, tuple(findings))


def carry_out(check: Check, specimen: Specimen) -> Finding:
    """Return what `check` finds; one that ends in an error has failed, and the others still have their turn."""
    started = time.perf_counter()
    found: Compared | Skipped
    try:
        if check.trains and not specimen.trains:
            found = Skipped("this technique trains nothing of the model")
        else:
            found = check.run(specimen)
    except Exception as error:  # whatever a faulty model or engine raises
        if shows_tracebacks():
            raise
        seconds = time.perf_counter() - started
        return Finding(check.name, check.promise, "FAIL", f"ended in {_told(error)}", seconds=seconds)
    seconds = time.perf_counter() - started
    if isinstance(found, Skipped):
        return Finding(check.name, check.promise, "skipped", found.reason, seconds=seconds)
    return Finding(
        check.name,
        check.promise,
        "pass" if all(each.is_kept for each in found.differences) else "FAIL",
        found.because,
        found.what,
        found.differences,
        found.note,
        seconds,
    )


def _told(error: Exception) -> str:
    if isinstance(error, TenfoldError):
        return f"{type(error).__name__}: {error.problems[0].found}"
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no message'])[0][:200]}"
