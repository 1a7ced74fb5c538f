"""Commands given as a user gives them, in this process: arguments in, output and exit code out."""

from __future__ import annotations

import io
import sys
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.cells import cell_len

from tenfold import cli
from tenfold.files import sha256_file


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


@dataclass
class Desk:
    """A working folder, the recipe tree that runs in it, and the command."""

    folder: Path
    tree: dict[str, Any]
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def recipe(self, name: str = "recipe.yaml", **sections: Any) -> str:
        """Write the tree with changed sections and return the file's name; `tuner` is replaced as a whole."""
        tree = deepcopy(self.tree)
        for section, values in sections.items():
            whole = not isinstance(values, dict) or section == "tuner"
            tree[section] = values if whole else {**tree.get(section, {}), **values}
        (self.folder / name).write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8")
        return name

    def write(self, name: str, content: str | bytes) -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return name

    def tenfold(self, *arguments: str, stdin: str = "") -> Done:
        """Give the command and return how it ended; no traceback is ever shown."""
        self.capsys.readouterr()
        self.monkeypatch.setattr(sys, "argv", ["tenfold", *arguments])
        self.monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = self.capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return Done(int(ended.value.code or 0), captured.out, captured.err)

    def files(self) -> dict[str, str]:
        """Return the hash of every file that is the user's."""
        kept = [path for path in self.folder.rglob("*") if path.is_file() and "cache" not in path.parts]
        return {str(path.relative_to(self.folder)): sha256_file(path) for path in kept if path.name != ".lock"}


def fits(text: str, folder: Path) -> bool:
    """Whether no line is wider than 80 columns but those that hold a path, which is never cut."""
    return all(cell_len(line) <= 80 or str(folder) in line for line in text.splitlines())
