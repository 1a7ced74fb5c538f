from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from evidence import findings, measure
from evidence.catalogue import PIECES
from evidence.experiments import EXPERIMENTS, Experiment
from tenfold.techniques.technique import BUILTIN, Claim, Verdict, find_technique

MEASURED = [name for name in EXPERIMENTS if findings.path_of(name).is_file()]


def test_the_page_says_what_the_results_say() -> None:
    assert findings.PAGE.read_text(encoding="utf-8") == findings.page(), "run: python -m evidence.measure --write-docs"


def test_every_built_in_technique_is_measured_by_its_reference_recipe() -> None:
    assert set(EXPERIMENTS) == set(BUILTIN)
    for name, experiment in EXPERIMENTS.items():
        assert experiment.recipe.technique.kind == name
        assert set(experiment.pieces) <= set(PIECES)
        assert len(experiment.about) > 40


@pytest.mark.parametrize("name", MEASURED)
def test_what_was_measured_are_the_claims_that_the_technique_makes(name: str) -> None:
    claimed = [claim.text for claim in find_technique(name).claims]
    for run in json.loads(findings.path_of(name).read_text(encoding="utf-8"))["runs"]:
        assert [claim["claim"] for claim in run["claims"]] == claimed
        assert run["command"] == EXPERIMENTS[name].command(run["seed"])
        assert {claim["outcome"] for claim in run["claims"]} <= {"held", "not held here", "unclear"}


def test_each_technique_runs_once_before_any_runs_again() -> None:
    experiments = [Experiment("instruction", seeds=(0, 1)), Experiment("adapters", seeds=(3,))]
    order = [(experiment.technique, seed) for experiment, seed in measure.in_order(experiments)]
    assert order == [("instruction", 0), ("adapters", 3), ("instruction", 1)]


def test_seeds_that_disagree_are_not_told_as_one_outcome() -> None:
    assert findings.pooled(["held", "held"]) == "held"
    assert findings.pooled(["held", "unclear", "held"]) == "held with 2 of 3 seeds, unclear with 1 of 3 seeds"


@pytest.fixture
def room(tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of its own with one reference recipe, on a tiny model."""
    recipe = tmp_path / "recipes/instruction/reference.yaml"
    recipe.parent.mkdir(parents=True)
    recipe.write_text("# Colours of lamps.\n#   tenfold run it\n\n" + yaml.safe_dump(settings), encoding="utf-8")
    for module in ("evidence.experiments", "evidence.measure", "evidence.findings"):
        monkeypatch.setattr(f"{module}.ROOT", tmp_path)
    monkeypatch.setattr(findings, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(findings, "PAGE", tmp_path / "evidence.md")
    return tmp_path


def test_a_run_is_kept_seed_by_seed_and_told_on_the_page(room: Path) -> None:
    experiment = Experiment("instruction", seeds=(0, 1))
    for seed in experiment.seeds:
        measure.measure(experiment, seed)
    kept = json.loads((room / "results/instruction.json").read_text(encoding="utf-8"))["runs"]
    assert [run["seed"] for run in kept] == [0, 1]
    claims = json.loads((room / experiment.output(1) / "claims.json").read_text(encoding="utf-8"))
    assert kept[1]["claims"] == claims
    measure.write_page()
    page = " ".join((room / "evidence.md").read_text(encoding="utf-8").split())
    assert "Colours of lamps." in page and "tenfold run it" not in page
    assert all(f"**{claim['claim']}** ({claim['source']})" in page for claim in claims)
    assert "tenfold run recipes/instruction/reference.yaml --set runtime.seed=1" in page


def test_a_finished_run_keeps_the_load_it_was_made_under(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = Experiment("instruction")
    measure.measure(experiment, 0)
    before = (room / "results/instruction.json").read_bytes()
    monkeypatch.setattr("os.getloadavg", lambda: (99.0, 99.0, 99.0))
    measure.measure(experiment, 0)
    assert (room / "results/instruction.json").read_bytes() == before


def test_a_failed_run_is_told_and_leaves_the_other_figures(room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = room / "recipes/instruction/reference.yaml"
    recipe.write_text(recipe.read_text(encoding="utf-8").replace("batch_size: 8", "batch_size: none"), encoding="utf-8")
    code = measure.main(["--only", "instruction"])
    assert code == 1
    assert "ended with exit code 2" in capsys.readouterr().err
    assert not (room / "results/instruction.json").exists()


def test_changed_claims_are_judged_on_what_runs_kept(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = Experiment("instruction")
    measure.measure(experiment, 0)
    path = room / "results/instruction.json"
    before = json.loads(path.read_text(encoding="utf-8"))
    measure.judge_again()
    assert json.loads(path.read_text(encoding="utf-8")) == before, "the same claims come out the same"
    technique = find_technique("instruction")
    never = replace(technique, claims=(Claim("never", "nobody", lambda evidence: Verdict("unclear", "asked again")),))
    monkeypatch.setattr(measure, "find_technique", lambda kind: never)
    measure.judge_again()
    after = json.loads(path.read_text(encoding="utf-8"))["runs"][0]
    assert after["claims"] == [{"claim": "never", "source": "nobody", "outcome": "unclear", "because": "asked again"}]
    assert after["cost"] == before["runs"][0]["cost"]
