"""The example of an eleventh technique: it keeps the promises of the ten, and its loss is the paper's."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from tenfold.artifact import Artifact
from tenfold.data.batch import pack
from tenfold.errors import UserError
from tenfold.models.attention import register_attention
from tenfold.models.language_model import LanguageModel, find_route
from tenfold.recipe import parse_recipe
from tenfold.running import run
from tenfold.testing import check_objective, check_technique
from tests.command import Desk
from tests.tiny_models import tiny_model

CPU = torch.device("cpu")
ROWS = [(0, [5, 6, 7, 8], [False, False, True, True]), (0, [5, 6, 9], [False, False, True])]
MORE = [(1, [11, 4, 30], [False, True, True]), (1, [11, 12, 13, 14, 15], [False, False, False, True, True])]


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    import importlib

    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "examples"))
    return importlib.import_module("eleventh_technique")


@pytest.fixture
def pairs_file(tmp_path: Path) -> Path:
    """Pairs in which the longer answer is preferred."""
    path = tmp_path / "pairs.jsonl"
    rows = [
        {"prompt": f"greet {number}", "chosen": f"good day {number % 7}", "rejected": f"hi {number % 5}"}
        for number in range(48)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def log_probability(model: LanguageModel, ids: list[int], supervised: list[bool]) -> torch.Tensor:
    """Return log p of the supervised tokens, from the model's own logits."""
    logits = model.base(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    return torch.stack([logits[place - 1, ids[place]] for place in range(1, len(ids)) if supervised[place]]).sum()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_the_papers(smoothing: float, example: ModuleType) -> None:
    register_attention()
    base = tiny_model("llama", attention="tenfold")
    model = LanguageModel(base, None, device=CPU, route=find_route(base, CPU))  # type: ignore[arg-type]
    reference = {0: 0.7, 1: -1.3}
    objective = example.DirectPreference(0.5, smoothing, "digest", reference)
    expected = torch.zeros(())
    for number, (chosen, rejected) in enumerate((ROWS, MORE)):
        margin = log_probability(model, *chosen[1:]) - log_probability(model, *rejected[1:])
        logit = 0.5 * (float(margin.detach()) - reference[number])
        right, wrong = -math.log1p(math.exp(-logit)), -math.log1p(math.exp(logit))
        expected -= (1 - smoothing) * right + smoothing * wrong
    batch = pack([*ROWS, *MORE])
    # fp32 on both sides, attention computed by another kernel: a few units in the last place
    torch.testing.assert_close(objective(model, batch).total, expected, rtol=1e-4, atol=1e-4)
    check_objective(objective, model, batch, [pack(ROWS), pack(MORE)])


def test_it_keeps_every_promise_and_learns_what_is_preferred(
    example: ModuleType, settings: dict[str, Any], pairs_file: Path, tmp_path: Path
) -> None:
    tree = {
        **settings,
        "technique": {"kind": "eleventh_technique:TECHNIQUE"},
        "data": {"train": str(pairs_file), "columns": {"completion": "chosen"}, "test_share": 0.3},
    }
    artifact: Artifact = check_technique(parse_recipe(tree), tmp_path / "runs")
    before, after = (artifact.scorecard.score(stage, "preferences") for stage in ("before", "preference"))
    assert before is not None and after is not None
    assert after.measures["reward_accuracy"].value > 0.9
    assert artifact.claims[0]["outcome"] == "held"


def test_a_column_that_no_row_has_is_refused_alike_by_check_and_run(
    example: ModuleType, desk: Desk, pairs_file: Path
) -> None:
    data = {"train": pairs_file.name, "columns": {"completion": "chosen"}}
    kind = {"kind": "eleventh_technique:TECHNIQUE", "rejected": "worse"}
    recipe = desk.recipe(data=data, technique=kind)
    told = "technique.rejected: no column 'worse' in pairs.jsonl\n  allowed: prompt, chosen, rejected\n"
    for command in ("check", "run"):
        refused = desk.tenfold(command, recipe)
        assert (refused.code, told in refused.err, refused.err.count("worse' in")) == (2, True, 1), refused.text
    with pairs_file.open("a") as rows:
        rows.write('{"prompt": "greet", "chosen": "good day"}\n')
    kind = {"kind": "eleventh_technique:TECHNIQUE"}
    some = desk.tenfold("check", desk.recipe(data=data | {"test_share": 0.01}, technique=kind))
    assert some.code == 2 and "pairs.jsonl, line 49: 'rejected' is missing or null" in some.err


def test_a_technique_that_cannot_be_imported_says_how_it_can(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = desk.tenfold("check", desk.recipe(technique={"kind": "my_own_one:TECHNIQUE"}))
    assert missing.code == 2 and "do: name the folder that my_own_one lies in: PYTHONPATH=FOLDER" in missing.err
    monkeypatch.syspath_prepend(str(desk.folder))
    desk.write("my_broken_one.py", "import nothing_of_that_name\n")
    broken = desk.tenfold("check", desk.recipe(technique={"kind": "my_broken_one:TECHNIQUE"}))
    assert "do: mend the module" in broken.err
    desk.write("my_bare_one.py", "")
    bare = desk.tenfold("check", desk.recipe(technique={"kind": "my_bare_one:TECHNIQUE"}))
    assert "do: end the module with TECHNIQUE = Technique(...)" in bare.err


def test_a_changed_technique_of_ones_own_is_another_run(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    source = (
        "from tenfold.techniques.technique import Technique\n"
        "def mine(run, options):\n    yield run.stage('mine')\n"
        "TECHNIQUE = Technique(kind='mine', summary='s', when='w', stages=mine)\n"
    )
    (tmp_path / "my_own.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    recipe = parse_recipe({**settings, "technique": {"kind": "my_own:TECHNIQUE"}})
    run(recipe)
    (tmp_path / "my_own.py").write_text(f"{source}# changed\n")
    monkeypatch.delitem(sys.modules, "my_own")
    with pytest.raises(UserError, match=r"technique \(my_own:TECHNIQUE\)"):
        run(recipe)
