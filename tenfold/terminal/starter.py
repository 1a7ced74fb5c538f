"""A starter recipe for someone's own data: short, commented, and already right for the rows it was made from."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from string import Template

from rich.console import Console
from rich.markup import escape

from tenfold.data.sources import open_rows
from tenfold.errors import Problem, RecipeError
from tenfold.files import require_folder, write_atomic
from tenfold.techniques.technique import find_technique

COLUMNS_HINT = "# columns: {prompt: question, completion: answer}   # your column names for ours"
STARTER = Template("""\
# $summary
# Made by `tenfold init` from $rows rows of $source ($format format).
# Look before you train:   tenfold check $file
# Train:                   tenfold run $file
# Change one thing:        tenfold run $file --set tuner.rank=32 --set output=runs/rank-32

model:
  name: $model   # built-in alias, hub id, Hugging Face folder, or a .gguf file

technique:
  kind: $technique   # $when

tuner:
  kind: lora         # full, partial, lora, qlora, ia3, prefix, prompt, p_tuning, vera, oft, adalora, bottleneck, peft
  rank: 16           # more rank learns more and weighs more

data:
  train: $source
  # test: FILE       # rows for the scorecard; without it, test_share of the rows above
  test_share: 0.1
  # group_by: COLUMN # rows with equal values never fall on two sides of the split
  $columns
  max_length: 1024   # tokens; the gate refuses a run that would cut responses

optim:
  epochs: 1
  batch_size: 16     # rows per update
  # learning_rate: 2.0e-4   # when unset, the tuner's own default

evaluation:
  max_rows: 100      # test rows to answer before and after
  # metrics: [exact_match, rouge_l]   # when unset, chosen from the references
  # every: 20        # updates between evaluations on validation rows; keeps the best checkpoint
  # patience: 3      # stop after this many of them without a gain

runtime:
  seed: 0
  precision: auto    # bf16 where this machine is faster with it, else fp32

output: runs/$technique-$name   # one folder a run: a changed recipe needs another
""")


def write_starter(
    technique: str, data: str, model: str, out: Path, *, columns: Mapping[str, str] | None = None
) -> None:
    """Write a starter recipe to `out` and say what to do next.

    Raises:
        RecipeError: unknown technique, or `out` exists already.
        DataError: the rows cannot be read.
    """
    found = find_technique(technique)
    if out.exists():
        raise RecipeError(Problem(str(out), "exists already", remedy="choose another name with --out"))
    require_folder(out.parent)
    rows = open_rows(data, columns=columns)
    text = STARTER.substitute(
        summary=f"{technique}: {found.summary}.",
        when=found.when,
        technique=technique,
        rows=f"{len(rows):,}",
        source=json.dumps(data, ensure_ascii=False),
        format=rows.format,
        model=json.dumps(model, ensure_ascii=False),
        file=out,
        name=re.sub(r"[^\w-]+", "-", Path(data.rpartition(":")[2]).stem).strip("-") or "rows",
        columns=f"columns: {json.dumps(dict(columns), ensure_ascii=False)}" if columns else COLUMNS_HINT,
    )
    write_atomic(out, text)
    console = Console()
    console.print(f"{len(rows):,} rows of {escape(data)}, format: [bold]{rows.format}[/bold]")
    console.print(f"Wrote {escape(str(out))}. Next: [bold]tenfold check {escape(str(out))}[/bold]", soft_wrap=True)
