"""The documents beside the code: their examples run, and what they name is there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import tenfold
from tenfold.engine.log import Log, Value
from tenfold.recipe import Recipe
from tenfold.running import run

ROOT = Path(__file__).parent.parent
DOCS = [
    ROOT / "README.md",
    ROOT / "SECURITY.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
TOUR = ROOT / "docs" / "tour.md"
SOURCES = ROOT / "docs" / "sources.md"
ARXIV = re.compile(r"\b\d{4}\.\d{4,5}\b")


def examples(document: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", document.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.fixture
def desk(tmp_path: Path, model_folder: Path, rows_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder as the tour has it: `my-model`, `rows.jsonl`, and each example that names its own file."""
    (tmp_path / "my-model").symlink_to(model_folder)
    assert rows_file == tmp_path / "rows.jsonl"
    for example in examples(TOUR):
        name, first = file_of(example), example.index("\n") + 1
        if name:
            (tmp_path / name).write_text(example[first:], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def file_of(example: str) -> str | None:
    named = re.match(r"# (\w+\.py)\n", example)
    return named[1] if named else None


def test_the_tours_examples_run_in_their_order(desk: Path) -> None:
    names: dict[str, object] = {}
    for number, example in enumerate(examples(TOUR)):
        if not file_of(example):
            exec(compile(example, f"docs/tour.md, example {number}", "exec"), names)
    assert isinstance(names["artifact"], tenfold.Artifact)


def cooldown(share: float, output: str) -> Recipe:
    return Recipe(
        model={"name": "my-model"},
        technique={"kind": "cooldown:TECHNIQUE", "share": share},
        tuner={"kind": "lora", "rank": 2},
        data={"train": "rows.jsonl", "test_share": 0.2},
        optim={"batch_size": 8, "max_updates": 4, "learning_rate": 1e-2},
        evaluation={"max_rows": 2, "max_new_tokens": 2, "retention": False},
        runtime={"precision": "fp32", "device": "cpu"},
        output=output,
    )


def test_the_tours_technique_pays_for_shared_stages_once_and_heeds_its_options(desk: Path) -> None:
    run(cooldown(0.5, "first"))
    events = [event["event"] for event in logged(cooldown(1.0, "second"))]
    assert events.count("stage_restored") == 1
    assert events.count("update") == 4


def logged(recipe: Recipe) -> list[dict[str, Value]]:
    run(recipe)
    return Log(Path(recipe.output) / "log.jsonl").events()


def test_the_last_rate_of_the_tours_technique_is_near_zero(desk: Path) -> None:
    events = [event for event in logged(cooldown(1.0, "out")) if event["event"] == "update"]
    rates = {stage: [event["learning_rate"] for event in events if event["stage"] == stage] for stage in STAGES}
    assert rates["constant"][-1] == pytest.approx(1e-2)
    assert rates["cooldown"] == pytest.approx([1e-2, 7.5e-3, 5e-3, 2.5e-3])


STAGES = ("constant", "cooldown")


def named_paths(text: str) -> Iterator[tuple[str, str]]:
    """Yield (path, test) of each path of ours in back quotes, with the test after `::` or an empty text."""
    pattern = r"`((?:tenfold|tests|recipes|bench|scripts|docs)/[\w./-]*)(?:::(\w+))?`"
    yield from re.findall(pattern, text)


@pytest.mark.parametrize("document", DOCS, ids=lambda path: path.name)
def test_every_file_and_test_that_a_document_names_exists(document: Path) -> None:
    for name, test in named_paths(document.read_text(encoding="utf-8")):
        path = ROOT / name
        assert path.exists(), name
        if test:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{name}::{test}"


@pytest.mark.parametrize("document", DOCS, ids=lambda path: path.name)
def test_every_link_within_the_repository_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[\w-]*)?\)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


def test_the_sources_are_those_that_the_code_names() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "tenfold").rglob("*.py")))
    in_code = set(re.findall(r"arXiv (\d{4}\.\d{4,5})", code))
    listed = set(ARXIV.findall(SOURCES.read_text(encoding="utf-8")))
    assert listed - in_code == set(), "listed, but no code names it"
    assert in_code - listed == set(), "named in the code, but not listed"


def test_each_source_is_named_in_the_file_that_the_table_gives() -> None:
    rows = [line for line in SOURCES.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    for row in rows:
        files = [ROOT / name for name, _ in named_paths(row)]
        text = "\n".join(path.read_text(encoding="utf-8") for path in files)
        assert all(number in text for number in ARXIV.findall(row)), row
