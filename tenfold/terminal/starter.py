"""A starter recipe for someone's own data: short, commented, and already right for the rows it was made from."""

from __future__ import annotations

import json
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

from rich.markup import escape

from tenfold.evaluation.figures import counted
from tenfold.files import write_atomic
from tenfold.places import require_free
from tenfold.techniques.technique import find_technique
from tenfold.terminal.console import Console
from tenfold.terminal.starter_parts import Given, open_given, part_of

FEW_ROWS = 1000
"""Fewer rows than this are read more than once, in smaller updates.

Measured with SmolLM2-135M-Instruct on 54 commands and the calls they stand for: three epochs in updates of 16 rows
(12 updates) left exact match at 0.00, in updates of 4 rows (42 updates) took it to 1.00.
"""

COLUMNS_HINT = "# columns: {prompt: question, completion: answer}   # yours for ours"
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
$own
data:
  $source
  # test: FILE       # rows for the scorecard; else test_share of those above
  test_share: 0.1
  # group_by: COLUMN # rows with equal values stay on one side of the split
  $columns
  max_length: 1024   # tokens; a run that would cut responses is refused

optim:
  epochs: $epochs          # times that each row is read; few rows want several
  batch_size: $batch_size     # rows per update
  # learning_rate: 2.0e-4   # when unset, the tuner's for a model of this width

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
    technique: str, data: Sequence[str], model: str, out: Path, *, columns: Mapping[str, str] | None = None
) -> None:
    """Write a starter recipe over the rows of `data`, a task each, to `out` and say what to do next.

    Raises:
        RecipeError: unknown technique, or it cannot work with rows like these.
        DataError: rows cannot be read.
        UserError: `out` exists already.
    """
    found = find_technique(technique)
    require_free(out)
    given = open_given(technique, data, columns)
    own = part_of(technique, given)
    rows, formats = given.num_rows, " and ".join(given.formats)
    text = STARTER.substitute(
        own=own.text,
        change=own.change,
        summary="\n# ".join(textwrap.wrap(f"{technique}: {found.summary}.", 78)),
        technique=technique,
        rows=f"{rows:,}",
        source=_source(given),
        format=formats,
        model=_quoted(model),
        file=shlex.quote(str(out)),
        epochs=3 if rows < FEW_ROWS else 1,
        batch_size=f"{4 if rows < FEW_ROWS else 16:<2}",
        name="-".join(given.tables),
        columns=f"columns: {_quoted(dict(given.columns))}" if given.columns else COLUMNS_HINT,
    )
    write_atomic(out, text)
    console = Console()
    for name, table in given.tables.items():
        console.print(
            f"{counted(len(table), 'row')} of {escape(given.sources[name])}, format: [bold]{table.format}[/bold]"
        )
    console.print(
        f"Wrote {escape(str(out))}. Next: [bold]tenfold check {escape(shlex.quote(str(out)))}[/bold]", soft_wrap=True
    )


def _source(given: Given) -> str:
    if len(given.tables) == 1:
        return f"train: {_quoted(given.only)}"
    return "tasks:\n" + "\n".join(f"    {name}: {_quoted(source)}" for name, source in given.sources.items())


def _quoted(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
