"""What the package's shape promises: who may import whom, which library may stand where, how long a file may be.

Everything is read from the source as a tree, never imported, so imports inside functions and under `TYPE_CHECKING`
count like all others.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from tenfold.compare.grid import entrants_of, load_grid
from tenfold.evaluation.metrics import METRICS
from tenfold.recipe import load_recipe
from tenfold.recipe.choices import MetricName
from tenfold.recipe.tuners import TUNERS
from tenfold.tasks.task import LABEL_KINDS
from tenfold.techniques.technique import BUILTIN

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "tenfold"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TREES = {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}

ROOMS: dict[str, str] = {
    "errors": "",
    "files": "errors",
    "garbage": "",
    "places": "errors",
    "paths": "files",
    "plain": "",
    "samples": "errors",
    "recipe": "errors",
    "kernels": "",
    "data": "errors files places paths samples recipe",
    "models": "errors paths files recipe kernels data",
    "tuning": "errors paths files recipe kernels models",
    "objectives": "kernels data models",
    "evaluation": "errors files plain samples data models",
    "engine": "errors paths files recipe data models tuning objectives",
    "tasks": "errors recipe data models objectives evaluation",
    "features": "errors files paths data models engine",
    "loading": "recipe models tuning engine features",
    "records": "errors recipe",
    "artifact": "errors files recipe records models evaluation engine loading",
    "output": "errors files places recipe records artifact",
    "teaching": "errors paths files recipe kernels data models tuning objectives evaluation engine tasks artifact",
    "techniques": "errors files recipe kernels data models tuning objectives evaluation engine tasks features teaching",
    "provenance": "engine techniques",
    "card": "evaluation models plain techniques",
    "saving": "files recipe data models tuning evaluation engine tasks techniques artifact provenance card",
    "running": "paths recipe engine techniques artifact output saving",
    "answering": "errors files places data models evaluation tasks artifact",
    "__init__": "recipe artifact running",
    "extending": "errors files places recipe data models",
    "compare": "errors files garbage places paths plain recipe data models evaluation engine tasks teaching techniques"
    " artifact",
    "verify": "errors paths files garbage data models tuning engine recipe evaluation tasks techniques loading artifact"
    " saving",
    "terminal": "errors files places paths plain recipe data models evaluation engine tasks features techniques"
    " artifact output running answering extending compare verify",
    "testing": "errors files paths recipe data models objectives evaluation techniques artifact running answering"
    " terminal",
    "commands": "extending compare errors recipe artifact answering terminal",
    "cli": "garbage commands terminal",
    "__main__": "cli",
    "tethered": "cli",
}
"""The rooms from the ground up, and what each imports: only rooms above it in this table, and exactly these."""

FENCES: dict[str, str] = {
    "bitsandbytes": "models/quantized.py",
    "datasets": "data/",
    "gguf": "models/gguf_header.py",
    "huggingface_hub": "models/published.py models/sources.py",
    "jinja2": "data/render.py data/templates.py compare/report/page.py",
    "numpy": "compare/ data/ evaluation/ features/ models/processor.py tasks/task.py teaching/"
    " techniques/feature_based_plan.py techniques/feature_based_comparison.py",
    "peft": "tuning/ verify/exported.py",
    "psutil": "engine/runtime.py evaluation/cost.py",
    "py3langid": "data/checking/languages.py",
    "pyarrow": "data/",
    "pydantic": "recipe/ techniques/ compare/grid.py",
    "ray": "compare/on_ray.py",
    "rensa": "data/checking/near.py",
    "rich": "terminal/ evaluation/scorecard_view.py evaluation/transfer_view.py testing.py",
    "rouge_score": "evaluation/metrics.py",
    "sacrebleu": "evaluation/bleu.py evaluation/metrics.py",
    "safetensors": "engine/ features/ models/heads.py models/load_parts.py models/masked_head.py tuning/",
    "scipy": "data/audio.py",
    "sklearn": "evaluation/bag_of_words.py features/",
    "skops": "features/estimator_files.py",
    "soundfile": "data/audio.py",
    "threadpoolctl": "features/fit.py",
    "tokenizers": "models/headers.py models/vocabulary.py",
    "torch": "data/audio.py data/batch.py kernels/ models/ tuning/ objectives/ evaluation/ engine/ tasks/ features/"
    " teaching/ techniques/ verify/ loading.py provenance.py testing.py extending.py",
    "transformers": "models/ data/render.py data/rendered.py data/masking.py data/label_render.py data/source_render.py"
    " data/speech_render.py data/spelling.py data/tokenise.py",
    "typer": "cli.py commands/ terminal/options.py",
    "yaml": "recipe/load.py terminal/check_view.py",
}
"""Every library that is imported anywhere, and the only places where it may be."""

BY_NAME = {"__init__.py", "engine/trackers.py", "techniques/technique.py"}
"""Who imports by a name made at run time: public names on first use, trackers, techniques of one's own."""


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield the dotted name of everything that is imported, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(file: str) -> str:
    return file.split("/")[0].removesuffix(".py")


def edges() -> dict[tuple[str, str], set[str]]:
    """Return the files behind each edge from room to room; a package's version is no edge."""
    found: dict[tuple[str, str], set[str]] = {}
    for file, tree in TREES.items():
        for name in imported(tree):
            first, _, rest = name.partition(".")
            room = rest.split(".")[0]
            if first == "tenfold" and room not in ("__version__", room_of(file)):
                found.setdefault((room_of(file), room), set()).add(file)
    return found


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def public_definitions(body: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Yield public functions and classes, and the public methods of the latter."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node.body)


def test_every_room_stands_in_the_table() -> None:
    assert {room_of(file) for file in TREES} == set(ROOMS)


def test_rooms_import_only_rooms_above_them_in_the_table() -> None:
    order = list(ROOMS)
    for room, allowed in ROOMS.items():
        assert all(order.index(other) < order.index(room) for other in allowed.split()), room


def test_rooms_import_what_the_table_says_and_nothing_else() -> None:
    found = edges()
    allowed = {(room, other) for room, others in ROOMS.items() for other in others.split()}
    forbidden = {f"{room} -> {other}": sorted(found[room, other]) for room, other in found.keys() - allowed}
    assert not forbidden
    assert not allowed - found.keys(), "the table allows what nobody needs: take it out"


def test_no_two_modules_import_each_other_in_a_circle() -> None:
    left = {file: set(files_of(tree)) & TREES.keys() - {file} for file, tree in TREES.items()}
    while left:
        free = [file for file, needs in left.items() if not needs & left.keys()]
        assert free, f"a circle among {sorted(left)}"
        for file in free:
            del left[file]


def files_of(tree: ast.Module) -> Iterator[str]:
    """Yield every file that an import may mean: `from a.b import c` reads the module a.b or the module a.b.c."""
    for name in imported(tree):
        for module in (name, name.rpartition(".")[0]):
            path = module.removeprefix("tenfold.").replace(".", "/")
            yield from (f"{path}.py", f"{path}/__init__.py")


def test_libraries_stay_behind_their_fences() -> None:
    outside = []
    met = set()
    for file, tree in TREES.items():
        for name in imported(tree):
            library = name.split(".")[0]
            if library == "tenfold" or library in sys.stdlib_module_names:
                continue
            met.add(library)
            places = FENCES.get(library, "").split()
            if not any(file == place or (place.endswith("/") and file.startswith(place)) for place in places):
                outside.append(f"{file} imports {library}, which belongs to {places}")
    assert not outside
    assert met == set(FENCES), "the table names a library that nobody imports"


def test_nobody_else_imports_by_a_made_up_name() -> None:
    calls = {"import_module", "__import__"}
    found = {
        file
        for file, tree in TREES.items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr in calls) or (isinstance(node, ast.Name) and node.id in calls)
    }
    assert found == BY_NAME


def test_the_package_itself_imports_no_library_at_its_top() -> None:
    top = [node for node in TREES["__init__.py"].body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {name.split(".")[0] for name in imported(ast.Module(body=list(top), type_ignores=[]))}
    assert names <= sys.stdlib_module_names


@pytest.mark.parametrize(
    "code",
    [
        "import tenfold",
        "import tenfold; tenfold.Recipe()",
        "from tenfold.cli import app; app(['--help'], standalone_mode=False)",
        "from tenfold.cli import app; app(['run', '--help'], standalone_mode=False)",
        "from tenfold.cli import app; app(['techniques'], standalone_mode=False)",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(code: str) -> None:
    asked = "import sys; print([name for name in ('torch', 'transformers', 'peft', 'datasets') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{asked}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_environment_is_read_in_one_file_only() -> None:
    readers = {
        file
        for file, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "putenv")
    }
    assert readers == {"paths.py"}


def test_everything_public_has_a_docstring() -> None:
    silent = [file for file, tree in TREES.items() if not ast.get_docstring(tree)]
    silent += [
        f"{file}: {node.name}"
        for file, tree in TREES.items()
        for node in public_definitions(tree.body)
        if not ast.get_docstring(node)
    ]
    assert not silent


def test_functions_and_files_fit_a_screen() -> None:
    long = {
        f"{file}: {node.name}": length
        for file, tree in TREES.items()
        for node in functions(tree)
        if (length := (node.end_lineno or 0) - node.lineno + 1) > 60
    }
    long |= {
        str(path.relative_to(ROOT)): length
        for path in SOURCES
        if (length := len(path.read_text(encoding="utf-8").splitlines())) > 300
    }
    assert not long


def of_run(node: ast.AST, name: str = "run") -> str | None:
    """Return the attribute of `run` (or `self.run`) that `node` is, if it is one."""
    is_one = isinstance(node, ast.Attribute) and ast.unparse(node.value) in (name, f"self.{name}")
    return node.attr if is_one and isinstance(node, ast.Attribute) else None


def test_techniques_change_a_run_by_the_methods_that_its_docstring_names() -> None:
    driver = ("context.py", "ledger.py", "fits.py")
    written, called = [], set()
    for file in (file for file in TREES if room_of(file) == "techniques" and not file.endswith(driver)):
        for node in ast.walk(TREES[file]):
            targets = node.targets if isinstance(node, ast.Assign) else []
            targets = [node.target] if isinstance(node, ast.AugAssign | ast.AnnAssign) else targets
            written += [f"{file}: run.{of_run(target)}" for target in targets if of_run(target)]
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                called |= {of_run(node.func)}
                if node.func.attr in ("append", "extend", "update", "setdefault") and of_run(node.func.value):
                    written.append(f"{file}: run.{of_run(node.func.value)}.{node.func.attr}")
    assert not written
    context = next(node for node in TREES["techniques/context.py"].body if isinstance(node, ast.ClassDef))
    named = set(re.findall(r"`(\w+)`", ast.get_docstring(context) or ""))
    assert called - {None} - {"stop_asked"} <= named


GRIDS = ROOT / "recipes" / "compare"
"""Files of comparisons; the recipes that they name lie in its folder `parts`."""


def recipes() -> list[Path]:
    found = (path for path in (ROOT / "recipes").rglob("*") if path.suffix in (".yaml", ".yml"))
    return sorted(path for path in found if path.parent != GRIDS)


def test_there_are_recipes() -> None:
    assert recipes()


@pytest.mark.parametrize("path", recipes(), ids=lambda path: str(path.relative_to(ROOT / "recipes")))
def test_every_shipped_recipe_is_sound(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.technique.kind in BUILTIN
    folder = path.parent.name
    assert folder in ("recipes", "parts", recipe.technique.kind), "a recipe lies in its technique's folder"


@pytest.mark.parametrize("path", sorted(GRIDS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_comparison_can_be_written_out(path: Path) -> None:
    grid, base = load_grid(path)
    entrants = entrants_of(grid, base)
    assert not entrants.refused
    assert {entrant.name for entrant in entrants.recipes} == set(grid.techniques)
    assert {entrant.recipe.technique.kind for entrant in entrants.recipes} == set(grid.techniques)


def test_the_recipes_metric_names_are_the_metrics() -> None:
    of_labels = dict.fromkeys(name for kind in LABEL_KINDS.values() for name in kind.metrics)
    assert set(get_args(MetricName)) == {*METRICS, *of_labels}


def section(heading: str) -> str:
    """Return the README's text under `heading`, up to the next heading of that level."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    _, found, rest = readme.partition(f"\n## {heading}\n")
    assert found, f"README.md has no heading {heading!r}"
    return rest.partition("\n## ")[0]


@pytest.mark.parametrize("kind", BUILTIN)
def test_a_technique_has_its_recipes_and_its_page(kind: str) -> None:
    for recipe in ("smoke", "reference"):
        assert load_recipe(ROOT / "recipes" / kind / f"{recipe}.yaml").technique.kind == kind
    page = (ROOT / "docs" / "techniques" / f"{kind}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {kind}: ")
    assert all(heading in page for heading in ("**When.**", "## A recipe", "## What the claims measure"))


def test_the_readmes_techniques_and_tuners_are_the_registries() -> None:
    text = section("Techniques")
    assert re.findall(r"^\| *`(\w+)`", text, flags=re.MULTILINE) == list(BUILTIN)
    assert set(TUNERS) <= set(re.findall(r"`(\w+)`", text))


def test_the_readmes_tree_is_the_packages_folders() -> None:
    block = re.search(r"```\w*\n(.*?)```", section("The code"), flags=re.DOTALL)
    assert block, "a fenced block under 'The code'"
    names = [line.lstrip(" ├└│─").split()[0] for line in block[1].splitlines() if line.strip()]
    folders = {name.rstrip("/") for name in names if name.endswith("/")}
    assert folders == {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert all((PACKAGE / name).exists() for name in names)


def test_what_trains_without_peft_does_not_wait_for_it() -> None:
    """Importing it takes longer than all of this package, and a comparison starts dozens of runs."""
    told = subprocess.run(
        [sys.executable, "-c", "import sys, tenfold.running; print('peft' in sys.modules, 'sklearn' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.split() == ["False", "False"], told.stderr
