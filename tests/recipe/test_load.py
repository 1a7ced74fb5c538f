"""From YAML to a recipe: strict about names and shapes, told by line, and the same there and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tenfold.errors import RecipeError
from tenfold.recipe import Recipe, dump_changes, dump_recipe, load_recipe, parse_recipe, with_overrides
from tenfold.recipe.tuners import TUNERS

FOLDER = Path(__file__).parent.parent.parent / "recipes"
RECIPES = sorted(path for path in FOLDER.rglob("*.yaml") if path.parent != FOLDER / "compare")
REQUIRED: dict[str, dict[str, Any]] = {
    "partial": {"modules": ["layers\\.1"]},
    "adapter_fusion": {"adapters": {"legal": "runs/legal", "own": None}},
    "peft": {"method": "LOHA"},
}


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "recipe.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_loads(path: Path) -> None:
    assert load_recipe(path).output


@pytest.mark.parametrize("kind", TUNERS)
def test_a_dumped_recipe_loads_equal(kind: str, tmp_path: Path) -> None:
    settings = {"kind": kind, **REQUIRED.get(kind, {})}
    recipe = parse_recipe(
        {
            "tuner": settings,
            "technique": {"kind": "parameter_efficient", "merge": True},
            "data": {"columns": {"prompt": "Frage: è"}, "system": "line\nline", "chat_template": "{{ a }}"},
            "optim": {"learning_rate": 2e-4, "epsilon": 1e-12},
            "evaluation": {"metrics": ["rouge_l"], "every": 3},
        }
    )
    assert load_recipe(write(tmp_path, dump_recipe(recipe))) == recipe
    assert load_recipe(write(tmp_path, dump_changes(recipe))) == recipe


def test_the_changes_of_a_task_are_those_from_the_settings_above_it(tmp_path: Path) -> None:
    tasks = {"a": "a.jsonl", "b": {"train": "b.jsonl", "max_length": 1024, "test_share": 0.2}}
    recipe = parse_recipe({"data": {"max_length": 99, "tasks": tasks}})
    shown = dump_changes(recipe)
    assert load_recipe(write(tmp_path, shown)) == recipe
    assert yaml.safe_load(shown) == {
        "model": "smollm2-135m-instruct",
        "technique": "instruction",
        "tuner": "lora",
        "data": {"max_length": 99, "tasks": tasks},
        "output": "runs/latest",
    }


@pytest.mark.parametrize("section", [*TUNERS.values(), *(field.annotation for field in Recipe.model_fields.values())])
def test_every_key_is_a_name_in_yaml(section: Any) -> None:
    """YAML 1.1 reads some words as truth values: a key `on` could not be written without quotes."""
    for key in getattr(section, "model_fields", {}):
        assert yaml.safe_load(key) == key


def test_numbers_as_people_write_them(tmp_path: Path) -> None:
    text = (
        "optim: {learning_rate: 2e-4, epsilon: 1E-12, weight_decay: 1.0e-2, epochs: 3}\ntuner: {kind: lora, alpha: 32}"
    )
    optim = load_recipe(write(tmp_path, text)).optim
    assert (optim.learning_rate, optim.epsilon, optim.weight_decay, optim.epochs) == (2e-4, 1e-12, 1e-2, 3.0)


def test_one_word_stands_for_a_sections_kind_or_name(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, "model: me/mine\ntechnique: parameter_efficient\ntuner: ia3\n"))
    assert (recipe.model.name, recipe.technique.kind, recipe.tuner.kind) == ("me/mine", "parameter_efficient", "ia3")
    assert recipe == Recipe(model="me/mine", technique="parameter_efficient", tuner="ia3")
    merged = load_recipe(write(tmp_path, "technique: parameter_efficient\n"), ["technique.merge=true"])
    assert merged.technique.options == {"merge": True}


def test_a_section_that_holds_nothing_has_its_defaults(tmp_path: Path) -> None:
    assert load_recipe(write(tmp_path, "optim:\n  # learning_rate: 1\ntuner:\n  kind: lora\n")) == Recipe()


def test_a_mapping_may_be_merged_in(tmp_path: Path) -> None:
    text = "data: &rows {train: a.jsonl, max_length: 9}\noptim: {epochs: 2}\n"
    assert load_recipe(write(tmp_path, text)).data.max_length == 9
    text = "tuner: {<<: {kind: lora, rank: 3}, dropout: 0.5}\n"
    tuner = load_recipe(write(tmp_path, text)).tuner
    assert tuner.model_dump(include={"rank", "dropout"}) == {"rank": 3, "dropout": 0.5}


WRONG = {
    "unknown key": (
        "optim: {learning_rat: 1}",
        r"optim\.learning_rat: unknown key\n.*learning_rate, epochs[\s\S]*'learning_rate'",
    ),
    "unknown tuner key": (
        "tuner: {kind: lora, rnk: 3}",
        r"tuner\.rnk: unknown key\n.*rank_stab[\s\S]*did you mean 'rank'",
    ),
    "unknown section": ("optimizer: {}", r"optimizer: unknown key\n.*\n.*did you mean 'optim'"),
    "unknown tuner": (
        "tuner: {kind: lorra}",
        r"tuner\.kind: unknown tuner 'lorra'\n.*adalora[\s\S]*did you mean 'lora'",
    ),
    "no kind": ("tuner: {rank: 3}", r"tuner\.kind: no kind given"),
    "twice": ("model:\n  name: a\n  name: b\n", r"recipe\.yaml, line 3: .*key 'name' is given twice"),
    "section twice": ("model: a\ndata: {}\nmodel: b\n", r"line 3: .*key 'model' is given twice"),
    "broken": ("model:\n  name: [a\n", r"recipe\.yaml, line 3: not valid YAML: expected"),
    "tab": ("model:\n\tname: a\n", r"line 2: not valid YAML"),
    "undefined alias": ("model: *a\n", r"line 1: not valid YAML: found undefined alias"),
    "code": ("model: !!python/object/apply:os.getcwd []\n", r"line 1: not valid YAML: could not determine"),
    "number as key": ("1: 2\n", r"line 1: .*key 1 is not a name"),
    "list as key": ("model:\n  ? [a]\n  : 2\n", r"line 2: .*is not a name"),
    "no date": ("output: 2024-13-01\n", r"not valid YAML: .*\n.*in quotes"),
    "deep": ("a: " + "[" * 5000, r"recipe\.yaml, line 1: not valid YAML: lists and mappings too deep"),
    "deep mappings": ("\na: " + "{b: " * 101, r"recipe\.yaml, line 2: not valid YAML: lists and mappings too deep"),
    "deep blocks": ("- " * 5000, r"recipe\.yaml.*not valid YAML: lists and mappings too deep"),
    "list": ("- a\n", r"recipe\.yaml: a list\n  allowed: sections"),
    "empty": ("# nothing\n", r"recipe\.yaml: empty\n  do: write one with `tenfold init"),
    "not UTF-8": (b"model: caf\xe9\n", r"recipe\.yaml: not UTF-8 \(byte 10\)"),
    "null byte": (b"model: \x00\n", r"recipe\.yaml: not valid YAML: unacceptable character"),
    "text": ("optim: fast\n", r"optim: found 'fast'\n  allowed: a section"),
    "date": ("output: 2024-01-01\n", r"output: found datetime.date\(2024, 1, 1\)\n  allowed: a valid string"),
    "nearest word": ("optim: {schedule: cosin}", r"schedule: found 'cosin'\n.*'linear'[\s\S]*did you mean 'cosine'"),
    "range": ("optim: {learning_rate: 11}", r"optim\.learning_rate: found 11\n  allowed: less than or equal to 10"),
    "not finite": ("optim: {epsilon: .inf}", r"optim\.epsilon: found inf\n  allowed: a finite number"),
    "regular expression": ("tuner: {kind: partial, modules: ['(']}", r"'\(' is not a regular expression"),
}


@pytest.mark.parametrize(("content", "told"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_with_its_place(content: str | bytes, told: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=told):
        load_recipe(write(tmp_path, content))


def test_missing_files_and_folders_are_told(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.yaml: no such file\n  do: write one"):
        load_recipe(tmp_path / "none.yaml")
    with pytest.raises(RecipeError, match=r"a folder\n  allowed: a YAML file"):
        load_recipe(tmp_path)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe({"optim": {"epochs": 0, "betas": [0.9, 1.0]}, "runtime": {"seed": -1}, "tuner": {"kind": "x"}})
    assert {problem.where for problem in caught.value.problems} == {
        "optim.epochs",
        "optim.betas.1",
        "runtime.seed",
        "tuner.kind",
    }


def test_overrides_set_values_as_yaml_and_leave_the_tree_alone() -> None:
    tree = {"tuner": {"kind": "lora", "rank": 4}, "data": {}}
    changed = with_overrides(
        tree,
        ["tuner.rank=8", "optim.learning_rate=3e-4", "data.columns.prompt=q", "output=", "gate.allow=[overlap]"],
    )
    assert tree == {"tuner": {"kind": "lora", "rank": 4}, "data": {}}
    assert changed["tuner"] == {"kind": "lora", "rank": 8}
    assert changed["optim"] == {"learning_rate": 3e-4}
    assert changed["output"] == ""
    assert changed["gate"] == {"allow": ["overlap"]}


@pytest.mark.parametrize(
    ("override", "told"),
    {
        "tuner.rank": "not of the form key=value",
        "=3": "not of the form key=value",
        "tuner..rank=3": "not of the form key=value",
        "tuner.rank.x=3": "'rank' holds a value, not a section",
        "tuner.rank=[3": r"--set tuner.rank=\[3, line 1: not valid YAML",
        "tuner.rank=four": r"tuner\.rank: found 'four'",
        "output=": r"output: found ''",
    }.items(),
)
def test_wrong_overrides_are_told(override: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        parse_recipe(with_overrides({"tuner": {"kind": "lora", "rank": 4}}, [override]))


def test_a_narrow_model_is_moved_faster() -> None:
    def rates(tuner: str) -> list[float]:
        return [parse_recipe({"tuner": tuner}).tuner.usual_rate(width) for width in (4096, 2048, 768, 64)]

    assert rates("full") == pytest.approx([2e-5, 4e-5, 1e-4, 1e-4])
    assert rates("lora") == rates("qlora") == pytest.approx([2e-4, 4e-4, 1e-3, 1e-3])
    assert rates("bottleneck") == [1e-3] * 4, "it was found at one width alone"
