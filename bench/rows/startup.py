"""How soon the command line answers."""

from __future__ import annotations

from bench.starting import StartingRow

ROW = StartingRow(name="startup", title="The first answer")
