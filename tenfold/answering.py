"""What an artifact is for: answer prompts, score rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from tenfold.artifact import Artifact
from tenfold.data.examples import Example, Turn
from tenfold.data.prepare import items, prepare
from tenfold.data.render import Renderer
from tenfold.data.sources import open_rows
from tenfold.evaluation.generate import generate
from tenfold.evaluation.score import default_max_new_tokens, score_task
from tenfold.evaluation.scorecard import Score
from tenfold.files import write_atomic


def predict_rows(
    folder: Path,
    *,
    prompts: Sequence[str],
    data: str | None,
    out: Path | None,
    max_new_tokens: int | None,
    base: str | None,
) -> Iterator[str]:
    """Yield one JSON line per prompt and per row of `data`; with `out`, write them there and yield where.

    Raises:
        UserError: the artifact, its base or the rows cannot be used.
    """
    artifact = Artifact.open(folder)
    model = artifact.load(base=base)
    renderer = Renderer(model.tokenizer, artifact.recipe.data)
    asked: list[tuple[str, list[int], str | None]] = []
    for prompt in prompts:
        example = Example(turns=(Turn("user", prompt),))
        asked.append((prompt, renderer.prompt(example), None))
    if data is not None:
        section = artifact.recipe.data
        rows = open_rows(data, format=section.format, columns=section.columns)
        for item in items(prepare(rows, renderer), renderer, max_rows=len(rows), seed=0):
            asked.append((item.prompt, item.prompt_ids, item.reference))
    limit = max_new_tokens or artifact.recipe.evaluation.max_new_tokens or 256
    with model.autocasting():
        answers = generate(model.network, model.tokenizer, [ids for _, ids, _ in asked], max_new_tokens=limit)
    lines = [
        json.dumps(
            {"prompt": prompt, "response": answer} | ({} if reference is None else {"reference": reference}),
            ensure_ascii=False,
        )
        for (prompt, _, reference), answer in zip(asked, answers, strict=True)
    ]
    if out is None:
        yield from lines
        return
    write_atomic(out, "".join(line + "\n" for line in lines))
    yield f"wrote {len(lines)} answers to {out}"


def evaluate_rows(folder: Path, *, data: str, max_rows: int | None, base: str | None) -> Score:
    """Return the tuned model's score on the rows of `data`.

    Raises:
        UserError: the artifact, its base or the rows cannot be used.
    """
    artifact = Artifact.open(folder)
    model = artifact.load(base=base)
    section = artifact.recipe.data
    renderer = Renderer(model.tokenizer, section)
    rows = open_rows(data, format=section.format, columns=section.columns)
    chosen = items(prepare(rows, renderer), renderer, max_rows=max_rows or len(rows), seed=0)
    return score_task(
        model,
        chosen,
        stage="evaluate",
        task=rows.name,
        metrics=artifact.recipe.evaluation.metrics,
        max_new_tokens=artifact.recipe.evaluation.max_new_tokens,
    )
