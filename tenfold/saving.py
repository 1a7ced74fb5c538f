"""How a finished run becomes an artifact: weights first, facts after, `artifact.json` last."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tenfold import __version__
from tenfold.artifact import FORMAT, Artifact
from tenfold.card import model_card
from tenfold.data.preview import preview
from tenfold.data.seen import save_seen
from tenfold.engine.stage import StageResult
from tenfold.evaluation.cost import Cost
from tenfold.evaluation.scorecard import BEFORE
from tenfold.files import atomic_folder, seal_json, sha256_file, write_atomic, write_json
from tenfold.models.heads import save_heads
from tenfold.models.save import save_model
from tenfold.provenance import provenance
from tenfold.recipe import dump_recipe
from tenfold.tasks.task import Task
from tenfold.techniques.context import Run
from tenfold.techniques.technique import Evidence, Technique
from tenfold.tuning.composition import to_json
from tenfold.tuning.identity import write_identity

READ_AGAIN = (
    *("recipe.yaml", "scorecard.json", "cost.json", "claims.json", "lineage.json", "provenance.json"),
    "generations.jsonl",
)
"""Files of an artifact that are opened again, beside its weights."""


def save_run(run: Run, technique: Technique) -> Artifact:
    """Write everything the run leaves behind into its folder and return it.

    Raises:
        DiskFull: no space is left; the stage store still holds the trained weights.
    """
    folder = run.folder
    cost = _cost(run)  # before anything is merged: then nothing is left to count
    weights = kind_of_weights(run)
    save_weights(run, folder / weights)
    cost = replace(cost, bytes_on_disk=_saved_bytes(folder / weights))
    if run.wants_merged and weights == "adapter":
        _save_merged(run, folder / "merged")  # uses the network up: whatever is asked of it comes before
    lineage = run.lineage
    evidence = Evidence(run.scorecard, cost, lineage, run.reported, run.timings, run.world.without_retention)
    claims = [
        {"claim": claim.text, "source": claim.source, **vars(claim.verdict(evidence))} for claim in technique.claims
    ]
    write_atomic(folder / "recipe.yaml", dump_recipe(run.resolved_recipe))
    write_json(folder / "scorecard.json", run.scorecard.to_json())
    write_json(folder / "cost.json", vars(cost))
    if run.timings.scores:
        write_json(folder / "timings.json", run.timings.to_json())
    write_json(folder / "claims.json", claims)
    write_json(folder / "lineage.json", lineage.to_json())
    write_json(folder / "provenance.json", provenance(run))
    write_atomic(folder / "preview.txt", _preview(run))
    write_atomic(folder / "generations.jsonl", _generations(run))
    save_seen(folder, {task.name: task.train for task in run.tasks})
    facts = {
        "format": FORMAT,
        "tenfold": __version__,
        "weights": weights,
        "technique": technique.kind,
        "tuner": run.tuner.name,
        "base": run.world.files.name,
        "family": run.world.family,
        "tasks": {
            task.name: {
                **task.kind.facts,
                "head": _head(run, task),
                "answered_by": to_json(run.adapters_of.get(task.name)),
            }
            for task in run.tasks
        },
        "updates": sum(result.updates for result in _saved(run)),
        "reported": run.reported,
        "sha256": _hashes(folder, weights),
    }
    write_atomic(folder / "README.md", model_card(run, facts, cost, claims))
    seal_json(folder / "artifact.json", facts)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return Artifact.open(folder)


def _hashes(folder: Path, weights: str) -> dict[str, str]:
    """Return the SHA-256 of every file that was written and is read again, by its path in `folder`."""
    told = [folder / name for name in READ_AGAIN]
    files = [path for path in (*told, *sorted((folder / weights).rglob("*"))) if path.is_file()]
    return {str(path.relative_to(folder)): sha256_file(path) for path in files}


def _head(run: Run, task: Task) -> dict[str, object] | None:
    """Return the settings of the task's head, if it has one."""
    return None if task.kind.head is None or task.name in run.fitted else vars(task.kind.head)


def kind_of_weights(run: Run) -> str:
    """Return the name of the folder for what was trained, which says what it is."""
    if run.fitted:
        return "estimators"
    if run.tuner.trains_base_weights or run.is_rebased:
        return "model"
    return "heads" if run.tuner.name == "frozen" else "adapter"


def save_weights(run: Run, folder: Path) -> None:
    """Write what was trained into `folder`, with all that is needed to open it again."""
    shutil.rmtree(folder, ignore_errors=True)
    with atomic_folder(folder) as partial:
        if run.is_rebased and not run.tuner.trains_base_weights:
            save_model(run.tuner.merge(run.model.network), partial)
        else:
            run.tuner.save(run.model.network, partial)
        save_heads(run.model.heads, partial)
        for task, fitted in run.fitted.items():
            shutil.copytree(fitted, partial / task, ignore=shutil.ignore_patterns("result.json"))
        run.world.processor.save(partial)
        write_identity(run.world.identity, partial)


def _save_merged(run: Run, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with atomic_folder(folder) as partial:
        save_model(run.tuner.merge(run.model.network), partial)
        run.world.processor.save(partial)


def _cost(run: Run) -> Cost:
    heads = sum(parameter.numel() for parameter in run.model.head_parameters().values())
    trainable = heads + sum(run.subject.trained.values())
    base = run.world.files
    total = base.num_parameters + (heads if run.tuner.trains_base_weights else trainable)
    total = max(total, trainable)  # an encoder may have a layer that its files lack, such as BERT's pooler
    saved = _saved(run)
    seconds = sum(result.seconds for result in saved)
    return Cost(
        train_seconds=seconds,
        comparison_seconds=sum(result.seconds for result in run.results if result not in saved),
        evaluation_seconds=run.evaluation_seconds,
        tokens_per_second=sum(result.tokens for result in saved) / seconds if seconds else 0.0,
        peak_memory_bytes=max((result.peak_memory_bytes for result in saved), default=0),
        trainable_parameters=trainable,
        total_parameters=total,
        trainable_share=trainable / total,
        bytes_on_disk=0,
        base_bytes=sum(path.stat().st_size for path in base.weight_files),
    )


def _saved(run: Run) -> list[StageResult]:
    """Return the results of the stages that made what is saved; the others were trained to be compared with."""
    return [result for result in run.results if result.name in run.lineage.saved or result.is_fit]


def _saved_bytes(folder: Path) -> int:
    files = [*folder.glob("*.safetensors"), *folder.glob("*/*.skops")]
    return sum(path.stat().st_size for path in files)


def _preview(run: Run) -> str:
    """Return rows as the trainer saw them; tokens in the loss stand between ⟦ and ⟧."""
    lines = []
    for task in run.tasks:
        for row in preview(task.windows, task.kind.renderer).rows:
            label = f"→ {row.label}\n" if row.label else ""
            lines.append(f"# {row.origin}\n{row.marked}\n{label}")
    return "\n".join(lines)


def _generations(run: Run) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for task in run.tasks for row in _answers(run, task))


def _answers(run: Run, task: Task) -> Iterator[dict[str, str]]:
    before, after = (run.scorecard.score(stage, task.name) for stage in (BEFORE, run.results[-1].name))
    if before is None or after is None or not after.predictions:
        return
    for item, old, new in zip(task.items, before.predictions, after.predictions, strict=True):
        yield {"task": task.name, "prompt": item.prompt, "reference": item.reference, "before": old, "after": new}
