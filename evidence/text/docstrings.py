"""`docstrings`: Python functions without their docstring, and its first line; taken from what is installed here."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import platform
import sysconfig
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from evidence.piece import Workshop
from evidence.tables import Row, apart, capped, one_line, side

STANDARD = "python"
LIBRARIES = {"numpy": "numpy", "sklearn": "scikit-learn", "scipy": "scipy", "torch": "torch", "pandas": "pandas"}
"""Packages under a BSD licence, and the names of their distributions."""

INSTRUCTION = "Write the first line of this function's docstring."
CODE_LENGTHS = range(80, 1501)
LINE_LENGTHS = range(20, 121)
SIZES = {"train": 1000, "validation": 60, "test": 120}
"""Rows of one library at most."""


def rows(workshop: Workshop) -> tuple[list[Row], Mapping[str, object]]:
    """Return rows (prompt, completion, library, group, split) and the versions they come from; the group is a file."""
    del workshop
    found: list[Row] = []
    for library, folder in _folders().items():
        for path in sorted(folder.rglob("*.py")):
            inside = path.relative_to(folder)
            if {"test", "tests", "testing", "idlelib", "site-packages", "dist-packages"} & set(inside.parts):
                continue
            group = f"{library}/{inside.as_posix()}"
            for code, line in documented(path.read_text(encoding="utf-8", errors="replace")):
                row = {"prompt": f"{INSTRUCTION}\n\n{code}", "completion": line, "library": library}
                found.append({**row, "group": group, "split": side("docstrings", group)})
    # A first line that is used again and again ("Return self.") says nothing about its function.
    rare = Counter(str(row["completion"]) for row in found)
    found = [row for row in found if rare[str(row["completion"])] == 1]
    kept = capped(apart(found, "prompt", letters=260), SIZES, key=lambda row: row["library"])
    versions = {STANDARD: platform.python_version()}
    versions |= {name: importlib.metadata.version(LIBRARIES[name]) for name in _folders() if name != STANDARD}
    return kept, {"versions": versions}


def documented(source: str) -> Iterator[tuple[str, str]]:
    """Yield (function without its docstring, first line of the docstring) where both are of a length to use."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or len(node.body) < 2:
            continue
        line = one_line((ast.get_docstring(node) or "").split("\n\n")[0])
        if len(line) not in LINE_LENGTHS or not line.isascii():
            continue
        node.body = node.body[1:]
        code = ast.unparse(node)
        if len(code) in CODE_LENGTHS:
            yield code, line


def _folders() -> dict[str, Path]:
    folders = {STANDARD: Path(sysconfig.get_paths()["stdlib"])}
    for name in LIBRARIES:
        found = importlib.util.find_spec(name)
        if found and found.origin:
            folders[name] = Path(found.origin).parent
    return folders
