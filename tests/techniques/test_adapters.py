"""Adapter tuning on a tiny model: an adapter a task, none touching another, fused, left out, chosen by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tenfold.answering import evaluate_rows, predict_rows
from tenfold.artifact import Artifact
from tenfold.errors import ArtifactError, ModelError, RecipeError
from tenfold.evaluation.cost import Cost
from tenfold.evaluation.lineage import Ancestor, Lineage
from tenfold.evaluation.scorecard import BEFORE, Measure, Score, Scorecard
from tenfold.recipe.adapters import Bottleneck
from tenfold.running import run
from tenfold.techniques.adapters import TECHNIQUE
from tenfold.techniques.adapters_claims import ROUNDING, fusion_helps, tasks_do_not_touch
from tenfold.techniques.technique import Evidence
from tenfold.tuning.bottleneck import BottleneckTuner
from tests.command import Desk
from tests.techniques.conftest import Write
from tests.tiny_models import tiny_model

KIND: dict[str, Any] = {"kind": "adapters"}
TUNER: dict[str, Any] = {"kind": "bottleneck", "reduction": 4}


def adapters_of(artifact: Artifact, task: str) -> dict[str, torch.Tensor]:
    tensors = load_file(artifact.weights / "adapters.safetensors")
    return {name.partition("/")[2]: value for name, value in tensors.items() if name.startswith(f"bottlenecks.{task}/")}


def test_heads_that_were_trained_do_not_count_as_a_changed_base(write: Write, tmp_path: Path) -> None:
    rows = [{"text": f"a {number} {number % 2}", "label": f"kind {number % 2}"} for number in range(30)]
    (tmp_path / "kinds.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"train": str(tmp_path / "kinds.jsonl"), "tasks": {}}
    artifact = run(write(KIND, tuner=TUNER, optim={"max_updates": 6, "learning_rate": 1e-2}, data=data))
    (claim,) = [claim for claim in artifact.claims if claim["claim"] == "without its adapters the base is what it was"]
    assert claim["outcome"] == "held" and claim["because"] == "every base weight as before, by hash"


def answers(folder: Path, prompts: list[str], **chosen: Any) -> list[str]:
    lines = predict_rows(folder, prompts=prompts, data=None, out=None, max_new_tokens=6, base=None, **chosen)
    return [json.loads(line)["response"] for line in lines]


def test_each_task_is_learned_by_an_adapter_of_its_own_and_none_touches_another(write: Write) -> None:
    artifact = run(write(KIND, tuner=TUNER, optim={"max_updates": 24, "learning_rate": 1e-2}))
    card = artifact.scorecard
    assert card.stages == (BEFORE, "lamps", "words")
    for task in ("lamps", "words"):
        change = card.change(task, "response_loss")
        assert change is not None and change.is_better, task
    first, last = card.score("lamps", "lamps"), card.score("words", "lamps")
    assert first is not None and last is not None
    assert first.measures == last.measures and first.predictions == last.predictions, "to the bit"
    events = [json.loads(line) for line in (artifact.folder / "log.jsonl").read_text().splitlines()]
    measured = [event["stage"] for event in events if event["event"] == "scored"]
    assert measured.count("words") == 2, "lamps was measured anew after words was trained, not remembered"
    outcomes = {claim["claim"]: claim for claim in artifact.claims}
    assert outcomes["no task touches another"]["outcome"] == "held"
    assert outcomes["without its adapters the base is what it was"]["outcome"] == "held"
    assert artifact.facts["reported"]["base weights unchanged"]
    # the weights are the same to the bit; the route of a batch may not be, once something trains
    assert artifact.facts["reported"]["largest difference of the bare base's scores"] <= ROUNDING


def test_the_order_of_other_tasks_changes_no_adapter(write: Write, words_file: Path, rows_file: Path) -> None:
    tasks = {"lamps": str(rows_file), "words": str(words_file), "more": str(rows_file)}
    found = [
        run(write(KIND, tuner=TUNER, data={"tasks": {name: tasks[name] for name in order}}))
        for order in (("lamps", "words", "more"), ("lamps", "more", "words"))
    ]
    for task in tasks:
        one, other = (adapters_of(artifact, task) for artifact in found)
        assert one and one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one), task


def test_all_adapters_are_counted_and_kept(write: Write) -> None:
    artifact = run(write(KIND, tuner=TUNER))
    config = artifact.load().base.config
    hidden, blocks, small = config.hidden_size, config.num_hidden_layers, config.hidden_size // 4
    # Houlsby et al. 2019, section 2.1: 2md + d + m numbers an adapter
    each = blocks * (2 * hidden * small + hidden + small)
    assert artifact.facts["reported"]["trained parameters"] == {"lamps": each, "words": each}
    assert artifact.cost.trainable_parameters == 2 * each
    assert adapters_of(artifact, "lamps").keys() == adapters_of(artifact, "words").keys()


def test_tasks_are_answered_by_their_own_adapter_without_loading_again(write: Write) -> None:
    artifact = run(write(KIND, tuner=TUNER, optim={"max_updates": 24, "learning_rate": 1e-2}))
    kept = {task: [row for row in artifact.generations if row["task"] == task] for task in ("lamps", "words")}
    prompts = {task: [row["prompt"] for row in rows] for task, rows in kept.items()}
    for task in ("lamps", "words"):
        assert answers(artifact.folder, prompts[task], task=task) == [row["after"] for row in kept[task]]
    bare = answers(artifact.folder, prompts["lamps"], adapter="none")
    assert bare == [row["before"] for row in kept["lamps"]]
    other = answers(artifact.folder, prompts["words"], task="lamps", adapter="words")
    assert other == [row["after"] for row in kept["words"]]

    model, ids = artifact.load(), torch.tensor([[5, 9, 70, 33, 12]])
    logits = []
    for task in ("lamps", "words", "lamps"):
        artifact.answer_as(model, task)
        with torch.no_grad():
            logits.append(model.network(ids).logits)
    assert torch.equal(logits[0], logits[2]) and not torch.equal(logits[0], logits[1])
    artifact.answer_as(model, "lamps", drop_blocks=1)
    with torch.no_grad():
        assert not torch.equal(model.network(ids).logits, logits[0])


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ({"adapter": "lamp"}, r"(?s)--adapter: there is no adapter 'lamp'.*did you mean 'lamps'"),
        ({"adapter": "lamps+words"}, r"(?s)no fusion of lamps and words.*: no fusion was trained.*do: train one"),
        ({"adapter": "lamps+"}, r"(?s)--adapter: 'lamps\+' leaves a name out.*do: name what is there: lamps, words"),
        ({"drop_blocks": 99}, r"(?s)--drop-blocks: 99 of the model's 2 blocks.*at most 1.*do: drop fewer"),
    ],
)
def test_what_the_artifact_does_not_hold_is_refused_by_name(chosen: dict[str, Any], told: str, write: Write) -> None:
    artifact = run(write(KIND, tuner=TUNER, optim={"max_updates": 1}))
    with pytest.raises(ArtifactError, match=told):
        answers(artifact.folder, ["lamp 1 red"], **chosen)


def test_an_artifact_without_adapters_has_none_to_choose(write: Write, rows_file: Path) -> None:
    artifact = run(write({"kind": "instruction"}, optim={"max_updates": 1}))
    with pytest.raises(ArtifactError, match="--adapter: there are no bottleneck adapters"):
        evaluate_rows(artifact.folder, data=str(rows_file), max_rows=2, base=None, adapter="lamps")


def test_fused_adapters_answer_their_task_and_leave_the_others(write: Write) -> None:
    technique = {**KIND, "fuse": ["lamps", "words"], "fuse_on": "words", "fusion_learning_rate": 1e-2}
    artifact = run(write(technique, tuner=TUNER))
    card = artifact.scorecard
    assert card.stages == (BEFORE, "lamps", "words", "words@lamps", "words@words", "fusion")
    lamps = [card.score(stage, "lamps") for stage in ("lamps", "fusion")]
    assert lamps[0] is not None and lamps[1] is not None and lamps[0].measures == lamps[1].measures
    kept = [row for row in artifact.generations if row["task"] == "words"]
    prompts = [row["prompt"] for row in kept]
    assert answers(artifact.folder, prompts, task="words") == [row["after"] for row in kept]
    assert answers(artifact.folder, prompts, adapter="lamps+words") == [row["after"] for row in kept]
    with pytest.raises(ArtifactError, match=r"(?s)no fusion of words and lamps.*allowed: lamps\+words.*do: "):
        answers(artifact.folder, prompts, adapter="words+lamps")
    (claim,) = [claim for claim in artifact.claims if claim["claim"].startswith("fused adapters")]
    assert claim["because"].startswith("words: ") and "against the adapter of" in claim["because"]
    assert artifact.facts["reported"]["adapters changed by later stages"] == []


def test_leaving_blocks_out_is_measured(write: Write) -> None:
    artifact = run(write({**KIND, "drop_blocks": 1}, tuner=TUNER, optim={"max_updates": 2}))
    for task in ("lamps", "words"):
        told = artifact.facts["reported"][f"{task} without the first 1 blocks' adapters"]
        score = artifact.scorecard.score("words", task)
        assert score is not None and told["with all"] == round(score.primary.value, 4)
        assert told["ms a row"] > 0 < told["ms a row with all"]


def test_one_task_has_one_adapter_that_another_run_can_rest_on(write: Write, rows_file: Path) -> None:
    data = {"tasks": {"lamps": str(rows_file)}}
    first = run(write(KIND, tuner=TUNER, data=data))
    assert first.scorecard.stages == (BEFORE, "adapters")
    second = run(write(KIND, tuner={**TUNER, "below": [str(first.folder)]}, data=data))
    kept = second.generations
    assert answers(second.folder, [row["prompt"] for row in kept]) == [row["after"] for row in kept]


def card_of(values: dict[tuple[str, str], float]) -> Scorecard:
    card = Scorecard()
    for (stage, task), value in values.items():
        items = tuple(value + 0.01 * (number % 3) for number in range(20))
        card = card.add(Score(stage, task, {"exact_match": Measure("exact_match", "share", True, items)}))
    return card


def evidence(values: dict[tuple[str, str], float], *, touched: list[str]) -> Evidence:
    stages = (
        Ancestor("a", ("a",), BEFORE, "bottleneck", "", ""),
        Ancestor("b", ("b",), "a", "bottleneck", "", ""),
        Ancestor("fusion", ("b",), "b", "adapter_fusion", "", ""),
    )
    reported = {"adapters changed by later stages": touched}
    lineage = Lineage(stages, ("a", "b", "fusion"))
    return Evidence(card_of(values), Cost(1, 1, 1, 1, 1, 1, 1, 1, 1), lineage, reported)


@pytest.mark.parametrize(
    ("later", "touched", "outcome"), [(0.5, [], "held"), (0.5001, [], "not held here"), (0.5, ["a"], "not held here")]
)
def test_a_touched_task_is_found(later: float, touched: list[str], outcome: str) -> None:
    values = {("a", "a"): 0.5, ("b", "b"): 0.4, ("fusion", "a"): later, ("fusion", "b"): 0.9}
    assert tasks_do_not_touch(source="").judge(evidence(values, touched=touched)).outcome == outcome


@pytest.mark.parametrize(("fused", "outcome"), [(0.9, "held"), (0.5, "unclear"), (0.2, "not held here")])
def test_a_fusion_is_judged_against_the_best_single_adapter(fused: float, outcome: str) -> None:
    values = {("b@a", "b"): 0.5, ("b@b", "b"): 0.4, ("fusion", "b"): fused}
    verdict = fusion_helps(source="").judge(evidence(values, touched=[]))
    assert verdict.outcome == outcome and verdict.because.endswith("against the adapter of a")


@pytest.mark.parametrize(
    ("technique", "tuner", "told"),
    [
        ({}, {"kind": "lora"}, r"tuner.kind: lora is no bottleneck adapter"),
        ({"fuse": ["lamps", "wrods"]}, TUNER, r"(?s)technique.fuse.1: no task 'wrods'.*did you mean 'words'"),
        ({"fuse": ["lamps"]}, TUNER, r"technique.fuse: lamps: nothing to fuse"),
        ({"fuse": ["lamps", "lamps"]}, TUNER, r"technique.fuse: lamps, lamps: nothing to fuse"),
        ({"fuse_on": "lamps"}, TUNER, r"technique.fuse_on: there is no fusion"),
        ({"fuse": ["lamps", "words"]}, {**TUNER, "below": ["runs/x"]}, r"technique.fuse: adapters that rest on"),
        ({"drop_block": 1}, TUNER, r"(?s)technique.drop_block.*did you mean 'drop_blocks'"),
    ],
)
def test_what_does_not_fit_is_refused(
    technique: dict[str, Any], tuner: dict[str, Any], told: str, write: Write
) -> None:
    with pytest.raises(RecipeError, match=told):
        TECHNIQUE.require_fit(write({**KIND, **technique}, tuner=tuner))


@pytest.mark.parametrize("count", [2, 99])
def test_leaving_out_more_blocks_than_there_are_is_refused_before_anything_trains(count: int, write: Write) -> None:
    recipe = write({**KIND, "drop_blocks": count}, tuner=TUNER)
    with pytest.raises(ModelError, match=rf"technique.drop_blocks: found {count}, and the model has 2 blocks"):
        run(recipe)
    assert not Path(recipe.output).exists()


def test_a_task_may_not_be_called_what_means_something_else(write: Write, words_file: Path, rows_file: Path) -> None:
    recipe = write(KIND, tuner=TUNER, data={"tasks": {"fusion": str(rows_file), "words": str(words_file)}})
    with pytest.raises(RecipeError, match=r"data.tasks.fusion: 'fusion' means something else here"):
        TECHNIQUE.require_fit(recipe)


def test_an_adapter_keeps_its_settings() -> None:
    network = tiny_model("llama")
    BottleneckTuner(Bottleneck(reduction=4), adapter="legal").attach(network)
    with pytest.raises(ModelError, match="there is an adapter 'legal' with other settings already"):
        BottleneckTuner(Bottleneck(reduction=8), adapter="legal").attach(network)


def test_the_commands_choose_by_task_and_by_name(desk: Desk, rows_file: Path, words_file: Path) -> None:
    data = {"train": None, "tasks": {"lamps": "rows.jsonl", "words": "words.jsonl"}}
    recipe = desk.recipe(technique=KIND, tuner=TUNER, data=data)
    done = desk.tenfold("check", recipe, "--no-trial")
    assert done.code == 0, done.text
    assert "2 adapters on one base" in done.out
    assert desk.tenfold("run", recipe).code == 0
    for option in (("--task", "words"), ("--adapter", "lamps"), ("--adapter", "none"), ("--drop-blocks", "1")):
        done = desk.tenfold("predict", "out", "--prompt", "say 3", *option)
        assert done.code == 0 and json.loads(done.out)["prompt"], done.text
    done = desk.tenfold("predict", "out", "--prompt", "say 3", "--adapter", "wrods")
    assert done.code == 2 and "did you mean 'words'" in done.err
