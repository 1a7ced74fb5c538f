"""A starter recipe for someone's own data: short, commented, and already right for the rows it was made from."""

from __future__ import annotations

import json
import re
import shlex
import textwrap
from collections.abc import Mapping
from pathlib import Path
from string import Template

from rich.console import Console
from rich.markup import escape

from tenfold.data.sources import open_rows
from tenfold.errors import Problem, RecipeError
from tenfold.files import require_folder, write_atomic
from tenfold.techniques.technique import find_technique

FEW_ROWS = 1000
"""Fewer rows than this are read more than once, in smaller updates.

Measured with SmolLM2-135M-Instruct on 54 commands and the calls they stand for: three epochs in updates of 16 rows
(12 updates) left exact match at 0.00, in updates of 4 rows (42 updates) took it to 1.00.
"""

COLUMNS_HINT = "# columns: {prompt: question, completion: answer}   # yours for ours"
LORA = """
tuner:
  kind: lora         # `tenfold techniques` lists the others
  rank: 16           # more rank learns more and weighs more
"""
FEATURES = """\
  estimators:        # of scikit-learn, by name, with its own options
    - {name: LogisticRegression, C: 0.1, max_iter: 1000}
    - {name: SVC, C: 1.0}
  layers: [-1]       # such as [-1, 6, average]; each is tried
  pooling: [mean]    # first, last, mean, weighted_mean
  folds: 5           # of the training rows, to choose by

tuner: frozen        # nothing of the model trains
"""
DISTILLED = """\
  # who teaches: the folder of a run (runs/NAME), or a model as above
  teacher: smollm2-135m-instruct
  student: {layers: 15}   # of the model's; `of: teacher` takes the teacher's
  alpha: 0.5         # weight of the teacher beside the rows' own responses
  # level: sequence  # learn the teacher's answers: works with any tokenizer
  # compare: true    # also train the same student without its teacher

tuner: full          # a student that lost layers has much to learn
"""
OWN = {
    "feature_based": (FEATURES, "technique.layers=[-1,1] --set output=runs/two-layers"),
    "distillation": (DISTILLED, "technique.alpha=0.9 --set output=runs/alpha-0.9"),
}
"""Techniques whose recipes do not begin with LoRA: what stands there, and one thing to change."""

STARTER = Template("""\
# $summary
# Made by `tenfold init` from $rows rows of format $format.
# Look before you train:   tenfold check $file
# Train:                   tenfold run $file
# Change one thing, in a folder of its own:
#   tenfold run $file --set $change

model:
  # built-in alias, hub id, Hugging Face folder, or a .gguf file
  name: $model

technique:
  kind: $technique
$tuner
data:
  train: $source
  # test: FILE       # rows for the scorecard; else test_share of those above
  test_share: 0.1
  # group_by: COLUMN # rows with equal values stay on one side of the split
  $columns
  max_length: 1024   # tokens; a run that would cut responses is refused

optim:
  epochs: $epochs          # times that each row is read; few rows want several
  batch_size: $batch_size     # rows per update
  # learning_rate: 2.0e-4   # when unset, the tuner's own default

evaluation:
  max_rows: 100      # test rows to answer before and after
  # metrics: [exact_match, rouge_l]   # when unset, chosen from the references
  # every: 20        # updates between scores on validation rows; the best stays
  # patience: 3      # stop after this many of them without a gain

runtime:
  seed: 0
  precision: auto    # bf16 where this machine is faster with it, else fp32

# One folder a run: a changed recipe needs another.
output: runs/$technique-$name
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
    tuner, change = OWN.get(technique, (LORA, "tuner.rank=32 --set output=runs/rank-32"))
    text = STARTER.substitute(
        tuner=tuner,
        change=change,
        summary="\n# ".join(textwrap.wrap(f"{technique}: {found.summary}.", 78)),
        technique=technique,
        rows=f"{len(rows):,}",
        source=json.dumps(data, ensure_ascii=False),
        format=rows.format,
        model=json.dumps(model, ensure_ascii=False),
        file=shlex.quote(str(out)),
        epochs=3 if len(rows) < FEW_ROWS else 1,
        batch_size=f"{4 if len(rows) < FEW_ROWS else 16:<2}",
        name=re.sub(r"[^\w-]+", "-", Path(data.rpartition(":")[2]).stem).strip("-") or "rows",
        columns=f"columns: {json.dumps(dict(columns), ensure_ascii=False)}" if columns else COLUMNS_HINT,
    )
    write_atomic(out, text)
    console = Console()
    console.print(f"{len(rows):,} rows of {escape(data)}, format: [bold]{rows.format}[/bold]")
    console.print(
        f"Wrote {escape(str(out))}. Next: [bold]tenfold check {escape(shlex.quote(str(out)))}[/bold]", soft_wrap=True
    )
