"""Sequential tuning on a tiny model: stages in turn, cures, comparisons, lineage, export, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from tenfold.answering import predict_rows
from tenfold.engine.checkpoint import hash_tensors
from tenfold.engine.log import Log
from tenfold.engine.runtime import open_runtime
from tenfold.errors import ModelError, RecipeError
from tenfold.evaluation.cost import Cost
from tenfold.evaluation.lineage import Ancestor, Lineage
from tenfold.evaluation.scorecard import BEFORE, Measure, Score, Scorecard
from tenfold.objectives.anchors import Anchor
from tenfold.objectives.causal_lm import CausalLanguageModelling
from tenfold.objectives.mixed import MixedObjective
from tenfold.objectives.self_distillation import SelfDistillation
from tenfold.recipe import Recipe, parse_recipe
from tenfold.running import run
from tenfold.techniques.context import Run
from tenfold.techniques.sequential import TECHNIQUE
from tenfold.techniques.sequential_claims import cures_help, earlier_tasks_are_kept, the_way_helps
from tenfold.techniques.technique import Evidence
from tenfold.techniques.world import open_world
from tenfold.tuning.identity import hash_weights
from tests.techniques.conftest import Write

FIRST, SECOND = {"task": "lamps", "updates": 4}, {"task": "words", "updates": 4}
TWO: dict[str, Any] = {"kind": "sequential", "stages": [FIRST, SECOND]}
ALL_CURES = {"replay": 0.25, "ewc": 10.0, "fisher_rows": 6, "l2_sp": 0.1, "self_distillation": 0.5}


def opened(recipe: Recipe) -> Run:
    return Run(open_world(recipe), folder=Path(recipe.output), runtime=open_runtime(recipe.runtime), log=Log(None))


def planned(recipe: Recipe) -> tuple[dict[str, Any], tuple[str, ...]]:
    plan = TECHNIQUE.plan(opened(recipe), TECHNIQUE.require_fit(recipe))
    return {stage.name: stage for stage in plan.stages}, plan.notes


def test_stages_follow_one_another_on_one_adapter_and_every_task_is_scored_after_each(write: Write) -> None:
    artifact = run(write(TWO, optim={"learning_rate": 1e-2}))
    assert artifact.scorecard.stages == (BEFORE, "lamps", "words")
    assert all(
        artifact.scorecard.score(stage, task) for stage in (BEFORE, "lamps", "words") for task in ("lamps", "words")
    )
    assert artifact.facts["weights"] == "adapter" and artifact.facts["updates"] == 8
    learned = artifact.scorecard.change("lamps", "response_loss", after="lamps")
    assert learned is not None and learned.is_better
    again = artifact.scorecard.change("words", "response_loss", before="lamps", after="words")
    assert again is not None and again.is_better


def test_each_stage_has_its_own_budget_and_rate(write: Write) -> None:
    stages, notes = planned(
        write(
            {
                **TWO,
                "stages": [
                    {"task": "lamps", "epochs": 2},
                    {"task": "words", "learning_rate": 0.5, "name": "later"},
                    {"task": "lamps", "updates": 1, "name": "again", "tuner": {"kind": "ia3"}},
                ],
            },
            optim={"max_updates": None, "learning_rate": 1e-3},
        )
    )
    rows = {name: len(stage.windows.prepared) for name, stage in stages.items()}
    assert stages["lamps"].total_updates == 2 * -(-rows["lamps"] // 8)
    assert [stage.learning_rate for stage in stages.values()] == [1e-3, 0.5, 3e-3]
    assert [stage.starts_from for stage in stages.values()] == [BEFORE, "lamps", "later"]
    assert stages["lamps"].tuner is stages["later"].tuner
    assert notes == ()


def test_a_task_that_no_stage_trains_is_only_scored_and_that_is_said(write: Write) -> None:
    _, notes = planned(write({"kind": "sequential", "stages": [FIRST]}))
    assert notes == ("task words is trained by no stage: it is only scored",)


def test_replay_mixes_in_earlier_tasks_in_its_share_and_keeps_the_stages_own_rows(write: Write) -> None:
    stages, _ = planned(
        write(
            {"kind": "sequential", "replay": 0.25, "stages": [{"task": "lamps"}, {"task": "words"}]},
            optim={"max_updates": None},
        )
    )
    assert not hasattr(stages["lamps"].windows, "sources")
    windows = stages["words"].windows
    met = [batch for update in range(stages["words"].total_updates) for batch in windows.window(update).batches]
    counts = {name: sum(len(batch.rows) for batch in met if batch.task == name) for name in ("lamps", "words")}
    assert counts["words"] == len(windows.sources[0].prepared)
    assert counts["lamps"] == round(counts["words"] / 3)


def test_each_row_counts_by_its_own_tasks_loss_and_cures_hold_what_they_say(write: Write) -> None:
    recipe = write({**TWO, **ALL_CURES})
    made = opened(recipe)
    stages = TECHNIQUE.stages(made, TECHNIQUE.require_fit(recipe))
    first = next(stages)
    assert first.penalties == () and isinstance(first.objective, CausalLanguageModelling)
    second = stages.send(made.train(first))
    assert isinstance(second.objective, MixedObjective)
    own, earlier = (second.objective.tasks[name].objective for name in ("words", "lamps"))
    assert isinstance(own, SelfDistillation) and own.plain == earlier, "the earlier model is asked on own rows only"
    units = {task.name: task.train.column("num_supervised").mean() for task in made.tasks}
    assert {name: each.units_per_row for name, each in second.objective.tasks.items()} == pytest.approx(units)
    ewc, pull = second.penalties
    assert isinstance(ewc, Anchor) and isinstance(pull, Anchor)
    trained = second.trainable(made.model)
    assert all(torch.equal(values[name], trained[name]) for values in (ewc.values, pull.values) for name in trained)
    assert ewc.importance is not None and set(ewc.importance) == set(trained) == set(own.before)
    assert pull.importance is None


def test_with_all_cures_earlier_tasks_are_kept_better_than_without(write: Write) -> None:
    stages = [{"task": "lamps", "updates": 20}, {"task": "words", "updates": 20}]
    optim = {"learning_rate": 1e-2, "max_updates": None, "epochs": 10}
    strong = {"replay": 0.5, "ewc": 1000.0, "l2_sp": 1.0, "self_distillation": 1.0}
    artifact = run(write({"kind": "sequential", "stages": stages, **strong, "compare_cures": True}, optim=optim))
    names = [f"words@{mark}" for mark in ("none", "replay", "ewc", "l2_sp", "self_distillation")]
    assert artifact.scorecard.stages == (BEFORE, "lamps", *names, "words")
    loss = {}
    for stage in ("lamps", *names, "words"):
        score = artifact.scorecard.score(stage, "lamps")
        assert score is not None
        loss[stage] = score.measures["response_loss"].value
    assert loss["words@none"] > loss["lamps"] + 0.5, "there is something to keep"
    assert all(loss[name] < loss["words@none"] - 0.1 for name in (*names[1:], "words")), loss
    origins = {stage.name: stage.starts_from for stage in artifact.lineage.stages}
    assert {origins[name] for name in (*names, "words")} == {"lamps"}
    (claim,) = [
        claim for claim in artifact.claims if claim["claim"] == "each cure leaves earlier tasks better than none"
    ]
    assert all(cure in claim["because"] for cure in ("replay", "ewc", "l2_sp", "self_distillation", "as in the recipe"))


def test_stages_that_are_compared_with_leave_the_kept_ones_as_they_were(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = {"kind": "sequential", "stages": [FIRST, SECOND, {**FIRST, "name": "again"}], **ALL_CURES}
    plain = run(write(three))
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "another"))  # else the stages would come from the store
    compared = run(write({**three, "compare_cures": True, "compare_straight": True}))
    kept = {stage.name: stage for stage in compared.lineage.stages if stage.name in compared.lineage.saved}
    assert list(kept.values()) == list(plain.lineage.stages)
    assert compared.generations == plain.generations
    assert compared.scorecard.stages[1:4] == ("again@straight", "lamps", "words@none")
    assert {stage.name: stage.starts_from for stage in compared.lineage.stages}["again@ewc"] == "words@ewc"


def test_an_unchanged_sequence_with_cures_comes_from_the_store(write: Write) -> None:
    technique = {**TWO, **ALL_CURES}
    run(write(technique))
    again = run(write(technique))
    changed = run(write({**technique, "ewc": 11.0}))
    found = [
        [stage["from_store"] for stage in json.loads((each.folder / "provenance.json").read_text())["stages"]]
        for each in (again, changed)
    ]
    assert found == [[True, True], [True, False]]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # plain PEFT's own
def test_the_adapter_of_the_last_stage_is_all_there_is_to_export(write: Write, model_folder: Path) -> None:
    artifact = run(write({**TWO, **ALL_CURES}))
    base = AutoModelForCausalLM.from_pretrained(model_folder)
    plain = PeftModel.from_pretrained(base, artifact.folder / "adapter")
    ids = torch.tensor([[5, 9, 70, 33, 12]])
    with torch.no_grad():
        # fp32 on both sides, attention computed by another kernel: a few units in the last place
        torch.testing.assert_close(
            plain(input_ids=ids).logits, artifact.load().network(input_ids=ids).logits, rtol=1e-4, atol=1e-4
        )
    last = artifact.lineage.stages[-1]
    assert last.base_sha256 == hash_weights(model_folder)
    trained = {name: parameter for name, parameter in plain.named_parameters() if ".lora_" in name}
    assert last.weights_sha256 == hash_tensors(trained)


@pytest.mark.parametrize(
    ("first", "second", "precision"),
    [
        ({"kind": "lora", "rank": 4}, {"kind": "lora", "rank": 2}, "fp32"),
        ({"kind": "full"}, {"kind": "lora", "rank": 4}, "fp32"),
        ({"kind": "lora", "rank": 4}, {"kind": "full"}, "fp32"),
        # an adapter that is merged at the end is rounded to bf16; a stage that trains the base itself is not
        ({"kind": "lora", "rank": 4}, {"kind": "full"}, "bf16"),
    ],
    ids=["lora_lora", "full_lora", "lora_full", "lora_full_bf16"],
)
def test_a_sequence_of_tuners_is_one_model_that_answers_as_it_did(
    first: dict[str, Any], second: dict[str, Any], precision: str, write: Write
) -> None:
    stages = [FIRST, {**SECOND, "tuner": second, "learning_rate": 1e-3}]
    artifact = run(
        write(
            {"kind": "sequential", "stages": stages, "l2_sp": 0.1, "self_distillation": 0.1, "replay": 0.2},
            tuner=first,
            optim={"learning_rate": 1e-3},
            runtime={"precision": precision},
        )
    )
    assert artifact.facts["weights"] == "model"
    hashes = [(stage.base_sha256, stage.weights_sha256) for stage in artifact.lineage.stages]
    assert hashes[0][0] != hashes[1][0] and len(hashes[1][0]) == 64
    for task in ("lamps", "words"):
        rows = [line for line in artifact.generations if line["task"] == task]
        prompts = [row["prompt"] for row in rows]
        answers = predict_rows(
            artifact.folder, prompts=prompts, data=None, out=None, max_new_tokens=6, base=None, task=task
        )
        assert [json.loads(line)["response"] for line in answers] == [row["after"] for row in rows]


def test_qlora_goes_through_all_stages_on_one_4_bit_base(write: Write) -> None:
    pytest.importorskip("bitsandbytes")
    artifact = run(
        write(
            {**TWO, "replay": 0.2, "ewc": 10.0, "fisher_rows": 4, "compare_cures": True},
            tuner={"kind": "qlora", "rank": 4, "targets": ["q_proj", "v_proj"]},
        )
    )
    assert artifact.facts["weights"] == "adapter"
    assert artifact.scorecard.stages[-1] == "words"


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no_stages": ({}, r"technique.stages: no stage is named"),
    "empty": ({"stages": []}, r"(?s)technique.stages: no stage is named.*allowed: lamps, words"),
    "no_task": ({"stages": [{"epochs": 1}]}, r"technique.stages.0.task: nothing given"),
    "unknown_task": (
        {"stages": [FIRST, {"task": "wrods"}]},
        r"(?s)stages.1.task: no task 'wrods'.*did you mean 'words'",
    ),
    "same_name": ({"stages": [FIRST, FIRST]}, r"(?s)stages.1: stage 0 is called 'lamps' too.*name: ANOTHER"),
    "before": ({"stages": [{**FIRST, "name": "before"}]}, r"stages.0: 'before' is what the model as it came"),
    "misspelled": ({"stages": [{**FIRST, "epoch": 1}]}, r"(?s)stages.0.epoch: unknown key.*did you mean 'epochs'"),
    "tuner_key": (
        {"stages": [FIRST, {**SECOND, "tuner": {"kind": "lora", "rnk": 3}}]},
        r"(?s)stages.1.tuner.rnk: unknown key.*did you mean 'rank'",
    ),
    "tuner_kind": (
        {"stages": [FIRST, {**SECOND, "tuner": {"kind": "lroa"}}]},
        r"(?s)stages.1.tuner.kind: unknown tuner 'lroa'.*did you mean 'lora'",
    ),
    "replay_alone": ({"stages": [FIRST], "replay": 0.1}, r"technique.replay: there is no earlier stage"),
    "ewc_alone": ({"stages": [FIRST], "ewc": 1.0}, r"technique.ewc: there is no earlier stage"),
    "ewc_other_tuner": (
        {"stages": [FIRST, {**SECOND, "tuner": {"kind": "lora", "rank": 2}}], "ewc": 1.0},
        r"stages.1.tuner: ewc holds the parameters of earlier stages",
    ),
    "first_tuner": ({"stages": [{**FIRST, "tuner": {"kind": "full"}}]}, r"stages.0.tuner: the first stage has a tuner"),
    "late_qlora": (
        {"stages": [FIRST, {**SECOND, "tuner": {"kind": "qlora"}}]},
        r"stages.1.tuner: qlora holds the base in 4 bits from the first stage",
    ),
    "two_budgets": (
        {"stages": [FIRST, {"task": "words", "updates": 2, "epochs": 1}]},
        r"(?s)technique.stages.1: has two budgets, updates 2 and epochs 1.*remove one of them",
    ),
    "no_cure": ({"stages": [FIRST, SECOND], "compare_cures": True}, r"compare_cures: there is no cure"),
    "straight": ({"stages": [FIRST], "compare_straight": True}, r"compare_straight: the only stage"),
    "replay_all": ({"stages": [FIRST, SECOND], "replay": 1.0}, r"technique.replay: found 1.0"),
}


@pytest.mark.parametrize(("technique", "told"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_before_anything_is_opened(
    technique: dict[str, Any], told: str, write: Write
) -> None:
    with pytest.raises(RecipeError, match=told):
        TECHNIQUE.require_fit(write({"kind": "sequential", **technique}))


def test_what_cannot_be_merged_cannot_be_followed_by_another_tuner(write: Write) -> None:
    stages = [FIRST, {**SECOND, "tuner": {"kind": "lora"}}]
    with pytest.raises(RecipeError, match=r"stages.1.tuner: what the tuner before \(prompt\) trains cannot be merged"):
        TECHNIQUE.require_fit(write({"kind": "sequential", "stages": stages}, tuner={"kind": "prompt"}))
    qlora = {"kind": "sequential", "stages": stages, "compare_straight": True}
    with pytest.raises(RecipeError, match="cannot start from the 4-bit base"):
        TECHNIQUE.require_fit(write(qlora, tuner={"kind": "qlora"}))
    same = [FIRST, {**SECOND, "tuner": {"kind": "prompt"}}]
    TECHNIQUE.require_fit(write({"kind": "sequential", "stages": same, "ewc": 1.0}, tuner={"kind": "prompt"}))


def test_a_later_tuner_that_does_not_fit_the_model_is_found_before_any_training(write: Write) -> None:
    stages = [FIRST, {**SECOND, "tuner": {"kind": "lora", "targets": ["q_porj"]}}]
    with pytest.raises(ModelError, match="q_porj"):
        planned(write({"kind": "sequential", "stages": stages}))


def evidence(num_items: int = 20, **rows: tuple[float, float]) -> Evidence:
    """Return what a run of stages `first` (task a) and `last` (task b) measured; rows give the scores on a and b."""
    card = Scorecard()
    for stage, values in {BEFORE: (0.1, 0.1), "first": (0.8, 0.2), **rows}.items():
        for task, value in zip(("a", "b"), values, strict=True):
            items = tuple(value + 0.01 * (number % 3) for number in range(num_items))
            card = card.add(Score(stage, task, {"exact_match": Measure("exact_match", "share", True, items)}))
    stages = (Ancestor("first", ("a",), BEFORE, "", "", ""), Ancestor("last", ("b",), "first", "", "", ""))
    return Evidence(card, Cost(1, 1, 1, 1, 1, 1, 1, 1, 1), Lineage(stages, ("first", "last")))


def test_claims_follow_from_the_scores() -> None:
    kept, lost = evidence(last=(0.78, 0.7)), evidence(last=(0.3, 0.7))
    assert earlier_tasks_are_kept(source="").judge(kept).outcome == "held"
    verdict = earlier_tasks_are_kept(source="").judge(lost)
    assert verdict.outcome == "not held here" and "forgetting +0.500" in verdict.because
    for claim, switch in ((cures_help, "compare_cures"), (the_way_helps, "compare_straight")):
        unasked = claim(source="").judge(kept)
        assert unasked.outcome == "unclear" and switch in unasked.because
    rows = {"last@none": (0.3, 0.7), "last@ewc": (0.5, 0.6), "last@straight": (0.1, 0.5), "last": (0.78, 0.7)}
    cures = cures_help(source="").judge(evidence(**rows))
    assert cures.outcome == "held" and "ewc +0.200" in cures.because and "recipe +0.480" in cures.because
    assert the_way_helps(source="").judge(evidence(**rows)).outcome == "held"
    worse = {**rows, "last@ewc": (0.2, 0.7), "last": (0.78, 0.3)}
    assert cures_help(source="").judge(evidence(**worse)).outcome == "not held here"
    assert the_way_helps(source="").judge(evidence(**worse)).outcome == "not held here"


def test_what_was_never_learned_is_not_said_to_be_kept() -> None:
    claim = earlier_tasks_are_kept(source="")
    for first in ((0.1, 0.2), (0.05, 0.2)):
        verdict = claim.judge(evidence(first=first, last=(first[0], 0.7)))
        assert verdict.outcome == "unclear" and "nothing was learned that could be lost" in verdict.because
        assert verdict.because.endswith(": a")
    few = claim.judge(evidence(num_items=5, last=(0.8, 0.7)))
    assert few.outcome == "unclear" and few.because.endswith("too few test rows to show a change: a")
    assert claim.judge(evidence(num_items=6, last=(0.8, 0.7))).outcome == "held"


def test_options_of_a_resolved_recipe_read_back(write: Write) -> None:
    recipe = write({**TWO, **ALL_CURES})
    assert parse_recipe(recipe.model_dump(mode="json")) == recipe


def test_an_adapter_after_a_frozen_stage_is_in_what_is_saved(settings: dict[str, Any], tmp_path: Path) -> None:
    """The recipe's tuner opens an artifact that holds an adapter: one that opens none must not be asked to."""
    colours = ("red", "green", "blue")
    rows = [{"text": f"lamp {n} {colours[n % 3]}", "label": colours[n % 3]} for n in range(60)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    stages = [
        {"task": "main", "name": "head"},
        {"task": "main", "name": "all", "tuner": {"kind": "lora", "rank": 4}, "learning_rate": 3e-2},
    ]
    tree = {
        **settings,
        "technique": {"kind": "sequential", "stages": stages},
        "tuner": "frozen",
        "data": {"train": str(tmp_path / "rows.jsonl"), "test_share": 0.3},
        "optim": {**settings["optim"], "max_updates": 12},
    }
    artifact = run(parse_recipe(tree))
    prompts = [row["prompt"] for row in artifact.generations]
    lines = predict_rows(artifact.folder, prompts=prompts, data=None, out=None, max_new_tokens=None, base=None)
    assert [json.loads(line)["label"] for line in lines] == [row["after"] for row in artifact.generations]
    head, whole = (artifact.scorecard.score(stage, "main") for stage in ("head", "all"))
    assert head.predictions != whole.predictions, "the adapter changes answers"  # type: ignore[union-attr]
