"""A comparison from recipe to entries: one split, equal budgets, rates chosen on validation, nothing run twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tenfold.artifact import Artifact
from tenfold.compare import campaign as campaign_module
from tenfold.compare.campaign import Campaign
from tenfold.compare.comparison import Comparison
from tenfold.compare.grid import Grid, entrants_of
from tenfold.compare.jobs import Hear, Job, Report
from tenfold.compare.judged import Judged
from tenfold.compare.planning import allow
from tenfold.compare.search import Searched
from tenfold.compare.settled import held
from tenfold.errors import DataError, RecipeError, TenfoldError, UserError
from tenfold.evaluation.scorecard import Measure
from tenfold.models.sources import resolve
from tenfold.recipe import ModelSection, Recipe, parse_recipe
from tenfold.running import run
from tenfold.teaching import teacher
from tenfold.terminal.compare_view import show_outcome


class InThisProcess:
    """Carries jobs out without the cost of a process for each."""

    terms = ("In this process.",)

    def __init__(self, failing: str = "") -> None:
        self.failing = failing
        self.carried_out: list[str] = []

    def at_once(self, recipe: Recipe) -> int:
        return 1

    def carry_out(self, jobs: Sequence[Job], hear: Hear) -> dict[str, str]:
        failed = {}
        for job in jobs:
            if job.artifact is None and (not self.failing or self.failing not in job.name):
                job.write()
                run(job.recipe)
                self.carried_out.append(job.name)
            elif job.artifact is None:
                failed[job.name] = "it was planned to"
            hear(Report(job, "failed" if job.name in failed else "done"))
        return failed


@pytest.fixture
def campaign(settings: dict[str, Any], labels_file: Path, tmp_path: Path) -> Campaign:
    tree = {
        **settings,
        "technique": "task_specific",
        "tuner": "full",
        "data": {"train": str(labels_file), "validation_share": 0.2, "test_share": 0.2},
        "evaluation": {"max_rows": 12, "retention": False},
    }
    grid = Grid(
        recipe="recipe.yaml",
        techniques=("task_specific", "parameter_efficient", "feature_based", "multi_task"),
        rates=(1.0, 30.0),
        seeds=2,
        per_run=6,
        binds="updates",
    )
    return Campaign(grid, parse_recipe(tree), tmp_path / "comparison")


def carried_out(campaign: Campaign) -> tuple[Comparison, InThisProcess]:
    executor = InThisProcess()
    return campaign.carry_out(executor, lambda report: None), executor


def test_every_entrant_is_searched_then_trained_with_every_seed(campaign: Campaign) -> None:
    comparison, executor = carried_out(campaign)
    assert [entry.name for entry in comparison.entries] == ["task_specific", "parameter_efficient", "feature_based"]
    assert "several tasks" in comparison.refused["multi_task"]
    assert comparison.rules == (*campaign.rules(), *executor.terms)
    searched = [name for name in executor.carried_out if "rate" in name]
    assert len(searched) == 2 * 2, "two rates for each that trains"
    assert executor.carried_out[: len(searched)] == searched, "before anything is trained in full"
    for entry in comparison.entries:
        assert [artifact.recipe.runtime.seed for artifact in entry.runs] == [0, 1]
        assert len(entry.search) == (0 if entry.name == "feature_based" else 2)
    compared_with = {"zero_shot", "few_shot", "words_alone"}
    assert compared_with <= set(comparison.entries[0].runs[0].scorecard.stages)
    tried = [job.artifact for job in campaign.search_jobs() if job.artifact]
    assert not any(compared_with & set(each.scorecard.stages) for each in tried), "it says nothing of a rate"
    assert not any(each.weights.exists() for each in tried), "they may be large"
    assert all(artifact.weights.is_dir() for entry in comparison.entries for artifact in entry.runs)
    again, executor = carried_out(campaign)
    assert not executor.carried_out, "what is finished is not run again"
    assert again == comparison


def test_the_plan_counts_what_a_run_compares_itself_with(campaign: Campaign) -> None:
    pace = campaign.plan.paces["task_specific"]
    assert pace.comparing_seconds > 0 == campaign.plan.paces["parameter_efficient"].comparing_seconds
    with_it = allow(campaign.grid, {"task_specific": pace})["task_specific"].expected_seconds
    without = allow(campaign.grid, {"task_specific": replace(pace, comparing_seconds=0.0)})["task_specific"]
    assert with_it - without.expected_seconds == pytest.approx(campaign.grid.seeds * pace.comparing_seconds)


def test_all_are_judged_on_the_same_rows_which_nobody_trained_on(campaign: Campaign) -> None:
    comparison, _ = carried_out(campaign)
    asked = {
        tuple((row["prompt"], row["reference"]) for row in artifact.generations)
        for entry in comparison.entries
        for artifact in entry.runs
    }
    assert len(asked) == 1
    sides = campaign.sides["main"]
    texts = [
        {json.loads(line)["text"] for line in path.read_text().splitlines()}
        for path in (sides.train, sides.validation, sides.test)
    ]
    assert not (texts[0] & texts[1] or texts[0] & texts[2] or texts[1] & texts[2])
    assert {prompt for prompt, _ in next(iter(asked))} == texts[2]
    assert [len(each) for each in texts[1:]] == [12, 12]


def test_the_rate_that_did_best_on_validation_rows_goes_on(campaign: Campaign) -> None:
    comparison, _ = carried_out(campaign)
    entry = comparison.entries[0]
    best = max(entry.search, key=lambda tried: tried.value)
    if len({tried.value for tried in entry.search}) > 1:
        assert {artifact.recipe.optim.learning_rate for artifact in entry.runs} == {best.learning_rate}
    for job in campaign.search_jobs():
        section = job.recipe.data
        assert section.test == str(campaign.sides["main"].validation) and section.validation is None
        assert job.recipe.optim.total_updates == 2, "a quarter of six, rounded up"
    for job in campaign.final_jobs({}):
        assert job.recipe.data.test == str(campaign.sides["main"].test)
        trained = [
            line for line in (Path(job.recipe.output) / "log.jsonl").read_text().splitlines() if '"update"' in line
        ]
        updates = sum(json.loads(line)["event"] == "update" for line in trained)
        assert updates == (0 if job.entrant == "feature_based" else 6)


def test_a_run_that_fails_is_told_with_its_reason(campaign: Campaign) -> None:
    comparison = campaign.carry_out(InThisProcess(failing="parameter_efficient-_seed_1"), lambda report: None)
    entry = comparison.entries[1]
    assert len(entry.runs) == 1
    assert entry.failures == ("parameter_efficient-_seed_1: it was planned to",)


def test_a_failed_search_is_no_missing_seed(campaign: Campaign, tmp_path: Path) -> None:
    grid = campaign.grid.model_copy(update={"techniques": ("task_specific",)})
    comparison = replace(campaign, grid=grid).carry_out(InThisProcess(failing="rate_x30"), lambda report: None)
    (entry,) = comparison.entries
    assert len(entry.runs) == 2 and entry.failures == ()
    assert entry.search_failures == ("at rate x30: it was planned to",)
    console = Console(file=StringIO(), width=200)
    show_outcome(console, comparison, tmp_path)
    assert isinstance(console.file, StringIO)
    told = console.file.getvalue()
    assert "finished only in part" not in told
    assert "task specific: search failed at rate x30: it was planned to" in told
    assert "The search failed at rate x30: it was planned to" in (tmp_path / "report.html").read_text()
    (record,) = json.loads((tmp_path / "comparison.json").read_text())["entries"]
    assert (record["failures"], record["search_failures"]) == ([], list(entry.search_failures))


def test_a_search_that_is_made_good_later_does_not_part_the_seeds(campaign: Campaign) -> None:
    grid = campaign.grid.model_copy(update={"techniques": ("task_specific",), "rates": (1.0, 0.001)})
    campaign = replace(campaign, grid=grid)
    campaign.carry_out(InThisProcess(failing="rate_x1"), lambda report: None)
    (entry,) = replace(campaign).carry_out(InThisProcess(), lambda report: None).entries
    assert len(entry.search) == 2
    worst = min(tried.learning_rate for tried in entry.search)
    assert max(entry.search, key=lambda tried: tried.value).learning_rate > worst, "else nothing is shown here"
    assert [run.recipe.optim.learning_rate for run in entry.runs] == [worst, worst]
    assert campaign.best_factor("task_specific") == 0.001


def test_a_folder_belongs_to_one_comparison_once_a_run_has_begun(campaign: Campaign, labels_file: Path) -> None:
    assert campaign.plan == replace(campaign).plan
    other = replace(campaign, grid=campaign.grid.model_copy(update={"seeds": 3}))
    assert other.plan != campaign.plan, "a plan of which nothing was begun gives way"
    other.search_jobs()[0].write()
    before = {path: path.read_text() for path in (campaign.folder / "rows").rglob("*.jsonl")}
    labels_file.write_text("".join(labels_file.read_text().splitlines(keepends=True)[:60]))
    with pytest.raises(RecipeError, match="belongs to another comparison"):
        _ = replace(other).plan
    assert {path: path.read_text() for path in before} == before, "the rows of the other comparison stay"


def test_it_goes_on_from_its_own_rows_where_their_file_is_gone(campaign: Campaign, labels_file: Path) -> None:
    plan, sides = campaign.plan, campaign.sides
    assert not campaign.lost
    rows = labels_file.read_text()
    labels_file.unlink()
    again = replace(campaign)
    assert (again.plan, again.sides) == (plan, sides), "also before anything was begun"
    assert again.lost == f"{labels_file}: no such file or folder"
    other = campaign.grid.model_copy(update={"seeds": 3})
    with pytest.raises(DataError, match="no such file"):
        _ = replace(campaign, grid=other).plan
    campaign.search_jobs()[0].write()
    assert replace(campaign).plan == plan
    with pytest.raises(RecipeError, match="belongs to another comparison"):
        _ = replace(campaign, grid=other).plan
    sides["main"].test.write_text("")
    with pytest.raises(RecipeError, match="belongs to another comparison"):
        _ = replace(campaign).plan
    labels_file.write_text(rows)
    assert replace(campaign).sides == sides
    assert sides["main"].test.read_text(), "what was drawn again is written again"


def test_a_second_comparison_in_a_folder_is_refused_while_the_first_is_at_work(tmp_path: Path) -> None:
    folder = tmp_path / "comparison"
    with held(folder):
        with pytest.raises(UserError, match="another comparison is at work"), held(folder):
            pass
        with held(tmp_path / "elsewhere"):
            pass
    with held(folder):
        pass


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"techniques": ("task_specifc", "feature_based")}, "did you mean 'task_specific'"),
        ({"tuners": ("lora", "lorra")}, "unknown tuner 'lorra'"),
        ({"tuners": ({"kind": "lora", "rnak": 4},)}, "rnak: unknown key"),
        ({"techniques": ("multi_task", "cross_lingual")}, "multi_task does not apply: (.|\n)*cross_lingual does not"),
    ],
)
def test_what_is_misspelt_or_never_applies_is_an_error(
    campaign: Campaign, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        _ = replace(campaign, grid=campaign.grid.model_copy(update=changes)).plan
    assert not (campaign.folder / "plan.json").exists()


def test_tuners_of_one_kind_are_told_apart_by_their_settings(campaign: Campaign) -> None:
    tuners = ({"kind": "lora", "rank": 2}, {"kind": "lora", "rank": 4}, "full")
    grid = campaign.grid.model_copy(update={"tuners": tuners, "techniques": ("task_specific",)})
    names = list(replace(campaign, grid=grid).entrants)
    assert names == ["task_specific lora, rank 2", "task_specific lora, rank 4", "task_specific full"]
    twice = grid.model_copy(update={"tuners": ("full", {"kind": "full"})})
    with pytest.raises(RecipeError, match="names 'task_specific full' twice"):
        _ = replace(campaign, grid=twice).entrants


def test_what_is_trained_only_to_be_compared_with_is_left_out_unless_asked_for(campaign: Campaign) -> None:
    grid = campaign.grid.model_copy(update={"techniques": ("parameter_efficient",)})
    technique = campaign.base.technique.model_copy(update={"kind": "parameter_efficient", "compare_full": True})
    base = campaign.base.model_copy(update={"technique": technique})
    (entrant,) = replace(campaign, grid=grid, base=base).entrants.values()
    assert entrant.recipe.technique.options["compare_full"] is False
    asked = grid.model_copy(update={"options": {"parameter_efficient": {"compare_full": True}}})
    (entrant,) = replace(campaign, grid=asked, base=base).entrants.values()
    assert entrant.recipe.technique.options["compare_full"] is True


def test_a_rate_that_is_named_alone_is_taken_without_a_search(campaign: Campaign) -> None:
    grid = campaign.grid.model_copy(update={"techniques": ("task_specific",), "rates": (3.0,), "seeds": 1})
    (job,) = replace(campaign, grid=grid).final_jobs({})
    assert job.recipe.optim.learning_rate == pytest.approx(3e-2) and not replace(campaign, grid=grid).search_jobs()


def test_other_validation_rows_make_another_comparison(campaign: Campaign, tmp_path: Path, labels_file: Path) -> None:
    lines = labels_file.read_text().splitlines(keepends=True)
    (tmp_path / "validation.jsonl").write_text("".join(lines[:20]))
    data = campaign.base.data.model_copy(update={"validation": str(tmp_path / "validation.jsonl")})
    gate = campaign.base.gate.model_copy(update={"allow": ("overlap",)})
    evaluation = campaign.base.evaluation.model_copy(update={"every": 2})
    sections = {"data": data, "gate": gate, "evaluation": evaluation}
    own = replace(campaign, base=campaign.base.model_copy(update=sections))
    own.search_jobs()[0].write()
    (tmp_path / "validation.jsonl").write_text("".join(lines[20:40]))
    with pytest.raises(RecipeError, match="belongs to another comparison"):
        _ = replace(own).plan


def test_a_run_that_measured_something_else_is_told_and_left_out(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    carried_out(campaign)
    whole = campaign_module.judged

    def odd(run: Artifact, tasks: Sequence[str]) -> Judged | None:
        found = whole(run, tasks)
        is_odd = found is not None and run.folder.name == "feature_based-_seed_1"
        return replace(found, measure=replace(found.measure, name="f1")) if found and is_odd else found

    monkeypatch.setattr(campaign_module, "judged", odd)
    entry = campaign.comparison({}, {}).entries[-1]
    assert [run.folder.name for run in entry.runs] == ["feature_based-_seed_0"]
    assert entry.failures == ("feature_based-_seed_1: scored by f1, not accuracy",)


def test_what_is_named_twice_counts_once() -> None:
    grid = Grid(recipe="recipe.yaml", techniques=("transfer", "transfer"), rates=(1, 1.0, 3))
    assert (grid.techniques, grid.rates) == (("transfer",), (1.0, 3.0))


def test_what_one_reason_keeps_out_is_told_once(campaign: Campaign, labels_file: Path) -> None:
    rows = [{"text": f"thing {n}", "label": f"kind {n}"} for n in range(12)]
    labels_file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(RecipeError) as refused:
        _ = campaign.plan
    alike, other = refused.value.problems
    assert alike.found.startswith("task_specific, parameter_efficient and feature_based do not apply: ")
    assert alike.found.count("occurs in this training row only") > 1
    assert other.found.startswith("multi_task does not apply: ")


def test_distillation_without_a_teacher_is_told_how_to_name_one(
    campaign: Campaign, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = resolve(ModelSection(name=str(model_folder)))
    monkeypatch.setattr(teacher, "resolve", lambda section: tiny)  # the built-in model is converted elsewhere
    grid = campaign.grid.model_copy(update={"techniques": ("feature_based", "distillation")})
    plan = replace(campaign, grid=grid).plan
    assert plan.refused["distillation"].startswith("it needs a teacher")
    assert "options: {distillation: {teacher: FOLDER}}" in plan.refused["distillation"]
    assert "Nothing of a model trains, so there are no updates to share out." in replace(campaign, grid=grid).rules()
    named = grid.model_copy(update={"options": {"distillation": {"teacher": str(model_folder)}}})
    plan = replace(campaign, grid=named).plan
    assert "is no run of Tenfold's" in plan.refused["distillation"], "of a teacher that is named its own fault is told"


def test_without_validation_rows_there_is_nothing_to_choose_on(campaign: Campaign) -> None:
    data = campaign.base.data.model_copy(update={"validation_share": 0.0})
    with pytest.raises(TenfoldError, match="a comparison needs such rows"):
        _ = replace(campaign, base=campaign.base.model_copy(update={"data": data})).sides


def test_what_is_clearly_behind_after_the_search_gets_one_seed(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    def searched(self: Campaign, name: str) -> dict[float, Searched]:
        right = {"task_specific": 190, "parameter_efficient": 60}.get(name)
        if right is None:
            return {}
        items = tuple(float(n < right) for n in range(200))
        return {1.0: Searched(1e-3, Measure("accuracy", "share", True, items), 1.0)}

    monkeypatch.setattr(Campaign, "_tried", searched)
    pruned = campaign.pruned()
    assert list(pruned) == ["parameter_efficient"]
    assert pruned["parameter_efficient"].startswith("1 of 2 seeds: clearly behind task_specific")
    jobs = [job.name for job in campaign.final_jobs(pruned)]
    assert len([name for name in jobs if name.startswith("parameter_efficient")]) == 1
    assert len([name for name in jobs if name.startswith("task_specific")]) == 2
    grid = campaign.grid.model_copy(update={"prune": False})
    assert replace(campaign, grid=grid, folder=campaign.folder / "all").pruned() == {}


def test_who_is_pruned_stays_once_whole_runs_have_begun(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    behind = {"parameter_efficient": "1 of 2 seeds: clearly behind"}
    monkeypatch.setattr(Campaign, "pruned", lambda self: behind)
    grid = campaign.grid.model_copy(update={"techniques": ("task_specific", "parameter_efficient"), "rates": (1.0,)})
    campaign = replace(campaign, grid=grid)
    carried_out(campaign)
    monkeypatch.setattr(Campaign, "pruned", lambda self: {"task_specific": "as a search that was made good says"})
    comparison, executor = carried_out(replace(campaign))
    assert not executor.carried_out
    assert {entry.name: (len(entry.runs), entry.note) for entry in comparison.entries} == {
        "task_specific": (2, ""),
        "parameter_efficient": (1, behind["parameter_efficient"]),
    }


def test_labels_are_learned_under_the_name_of_task_specific_tuning(campaign: Campaign) -> None:
    grid = campaign.grid.model_copy(update={"techniques": ("instruction", "feature_based", "task_specific")})
    plan = replace(campaign, grid=grid).plan
    assert list(plan.paces) == ["feature_based", "task_specific"]
    assert plan.refused["instruction"] == "on these rows it trains just as task_specific does"


def test_a_budget_that_is_too_small_says_what_each_way_costs_and_which_do_not_apply(campaign: Campaign) -> None:
    grid = campaign.grid.model_copy(update={"per_run": None, "budget": 3.0, "binds": "seconds"})
    with pytest.raises(RecipeError, match=r"task_specific \d+ s, parameter_efficient \d+ s") as told:
        _ = replace(campaign, grid=grid).plan
    assert "multi_task" in str(told.value) and "several tasks" in str(told.value)


def test_tuners_are_not_crossed_with_what_trains_nothing_of_the_model(campaign: Campaign) -> None:
    grid = campaign.grid.model_copy(update={"tuners": ("lora", "ia3")})
    names = [entrant.name for entrant in entrants_of(grid, campaign.base).recipes]
    assert "feature_based" in names and "parameter_efficient ia3" in names and "feature_based lora" not in names
    twice = grid.model_copy(update={"tuners": ("lora", "ia3", "lora")})
    with pytest.raises(RecipeError, match="names 'task_specific lora' twice"):
        entrants_of(twice, campaign.base)
