"""The model card: what the artifact is, what it gained and lost, how to use it, where it came from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from tenfold.evaluation.cost import Cost
from tenfold.evaluation.figures import share_text
from tenfold.evaluation.scorecard_view import markdown_table
from tenfold.evaluation.transfer_view import matrix_markdown
from tenfold.models.load import OPENERS
from tenfold.models.sources import ModelFiles
from tenfold.plain import as_code, in_markdown
from tenfold.techniques.context import Run


def model_card(run: Run, facts: Mapping[str, object], cost: Cost, claims: Sequence[Mapping[str, str]]) -> str:
    """Return the card as Markdown; text that came from users or models is fenced, so it stays text."""
    world = run.world
    header = {
        "base_model": facts["base"],
        "library_name": _library(run),
        "tags": ["tenfold", str(facts["technique"]), str(facts["tuner"])],
    }
    parts = [
        "\n".join(["---", *(f"{key}: {json.dumps(value)}" for key, value in header.items()), "---"]),
        f"# {in_markdown(world.files.name)}, tuned by {in_markdown(str(facts['technique']))} with {facts['tuner']}",
        f"Made with Tenfold {facts['tenfold']} from {_rows(run)}; "
        f"scored on {sum(len(task.items) for task in run.tasks):,} held-out rows. "
        "Intervals are 95 % bootstrap intervals over rows.",
        f"## Before and after\n\n{markdown_table(run.scorecard)}",
        *_stages(run),
        f"## Claims of the technique\n\n{_claims_table(claims)}",
        f"## Cost\n\n{_cost_table(cost)}",
        f"## Use\n\n{_usage(run, facts)}",
        f"## Origin\n\n- base: {in_markdown(world.files.origin)}\n"
        f"- base weights SHA-256: `{world.identity.base_weights_sha256}`\n"
        f"- seed {run.runtime.seed}, precision {run.runtime.precision}, device {run.runtime.device}; "
        "the rest is in `provenance.json`",
        *_allowed(run),
    ]
    return "\n\n".join(parts) + "\n"


def _rows(run: Run) -> str:
    return ", ".join(f"{len(task.train.rows):,} rows of {as_code(task.train.rows.name)}" for task in run.tasks)


def _stages(run: Run) -> list[str]:
    parts = []
    matrix = matrix_markdown(run.scorecard, run.lineage)
    if matrix:
        parts.append(f"## Stages and tasks\n\n{matrix}")
    if run.reported:
        lines = [
            f"- {in_markdown(name)}: {as_code(json.dumps(value, ensure_ascii=False))}"
            for name, value in run.reported.items()
        ]
        parts.append("## Found by the technique\n\n" + "\n".join(lines))
    return parts


def _claims_table(claims: Sequence[Mapping[str, str]]) -> str:
    told = ("claim", "outcome", "because", "source")
    rows = [f"| {' | '.join(in_markdown(claim[name]) for name in told)} |" for claim in claims]
    return "\n".join(["| claim | outcome here | figure | source |", "| --- | --- | --- | --- |", *rows])


def _cost_table(cost: Cost) -> str:
    rows = {
        "trained parameters": f"{cost.trainable_parameters:,} ({share_text(cost.trainable_share)})",
        "training": f"{cost.train_seconds:.0f} s, {cost.tokens_per_second:.0f} tokens/s",
        **({"comparisons": f"{cost.comparison_seconds:.0f} s"} if cost.comparison_seconds else {}),
        "evaluation": f"{cost.evaluation_seconds:.0f} s",
        "peak memory while training": f"{cost.peak_memory_bytes / 1e9:.2f} GB",
        "saved weights": f"{cost.bytes_on_disk / 1e6:.1f} MB (base {cost.base_bytes / 1e6:.1f} MB)",
    }
    return "| cost | |\n| --- | --- |\n" + "\n".join(f"| {name} | {value} |" for name, value in rows.items())


def _library(run: Run) -> str:
    if run.fitted:
        return "sklearn"
    if run.tuner.trains_base_weights:
        return "transformers"
    return "peft" if run.tuner.saves_peft else "tenfold"


def _usage(run: Run, facts: Mapping[str, object]) -> str:
    if run.fitted:
        return (
            "```bash\ntenfold predict . --data your_rows.jsonl\ntenfold evaluate . --data your_rows.jsonl\n```\n\n"
            "For each task, `estimators/TASK/` holds a scikit-learn pipeline, `estimator.skops`, written by skops\n"
            "without pickle. `reader.json` says which layers of the base, pooled how, are its features;\n"
            "`candidates.json` is the table of all that were tried. Row 0 above, before, knows nothing of the\n"
            "features: every row is answered with the majority class, or the mean."
        )
    if run.model.heads:
        return (
            "```bash\ntenfold predict . --data your_rows.jsonl\ntenfold evaluate . --data your_rows.jsonl\n```\n\n"
            f"The heads are linear layers in `{facts['weights']}/heads.safetensors` (`for_TASK.linear.weight`), on the "
            "last hidden states of the model, pooled as `artifact.json` says under `head`."
        )
    hears = run.world.processor.sound is not None
    asked = "clip.wav" if hears else "'your text'"
    chats = "\ntenfold chat ." if run.world.family == "decoder" else ""
    commands = f"```bash\ntenfold predict . --prompt {asked}{chats}\n```"
    if _library(run) == "tenfold":
        return f"{commands}\n\nPEFT has no such adapters: `adapter/` is opened by Tenfold alone."
    opener = OPENERS[run.world.family].__name__
    if facts["weights"] == "model":
        opening = f'model = {opener}.from_pretrained("model")'
        imports = f"from transformers import {opener}, AutoTokenizer"
        folder = "model"
    else:
        opening = (
            f"base = {opener}.from_pretrained({base_arguments(run.world.files)})\n"
            'model = PeftModel.from_pretrained(base, "adapter")'
        )
        imports = f"from peft import PeftModel\nfrom transformers import {opener}, AutoTokenizer"
        folder = "adapter"
    prepared = f'tokenizer = AutoTokenizer.from_pretrained("{folder}")'
    if hears:
        imports = imports.replace("AutoTokenizer", "AutoFeatureExtractor, AutoTokenizer")
        prepared += f'\nfeatures = AutoFeatureExtractor.from_pretrained("{folder}")'
    note = "" if folder == "model" else _where_base_is(run.world.files)
    return f"{commands}\n\nWithout Tenfold, in this folder:\n\n```python\n{imports}\n\n{opening}\n{prepared}\n```{note}"


def base_arguments(files: ModelFiles) -> str:
    """Return what `from_pretrained` is given for the base, as Python: its folder, or a hub's name and revision."""
    if _kind(files) == "hub":
        return f"{files.name!r}, revision={files.folder.name!r}"
    return repr(str(files.folder))


def _kind(files: ModelFiles) -> str:
    """Return `package` or `file`, which are converted into the cache, or `folder` or `hub`, which are as they were."""
    return files.origin.partition(" ")[0]


def _where_base_is(files: ModelFiles) -> str:
    if _kind(files) not in ("package", "file"):
        return ""
    return (
        f"\n\nThe base, {as_code(files.name)}, lies in Tenfold's cache (`tenfold cache` says where that is on another "
        "machine); `tenfold predict` makes it there again."
    )


def _allowed(run: Run) -> list[str]:
    if not run.world.allowed:
        return []
    lines = [f"- {finding.rule}: {in_markdown(finding.problem.found)}" for finding in run.world.allowed]
    return ["## Allowed all the same", "The recipe let these rules of the gate pass:", "\n".join(lines)]
