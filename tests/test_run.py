"""Whole runs of a tiny model: what is saved, what is remembered, what is refused."""

from __future__ import annotations

import ast
import fcntl
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tenfold.answering import predict_rows
from tenfold.artifact import Artifact
from tenfold.card import base_arguments
from tenfold.data.examples import Example, Turn
from tenfold.data.render import Renderer
from tenfold.engine import trackers
from tenfold.engine.log import Log
from tenfold.engine.runtime import open_runtime
from tenfold.engine.stage import Judgement, Learned, Selection, Stage
from tenfold.errors import ArtifactError, Interrupted, RecipeError, SignalError
from tenfold.models.sources import ModelFiles
from tenfold.objectives.causal_lm import CausalLanguageModelling
from tenfold.recipe import OptimSection, Recipe, load_recipe, parse_recipe
from tenfold.recipe.tuners import Lora
from tenfold.running import run
from tenfold.techniques.context import Run
from tenfold.techniques.world import open_world
from tenfold.tuning.tuner import make_tuner
from tests.conftest import save_tiny_model

Settings = dict[str, Any]
TUNERS: dict[str, Settings] = {
    "full": {"kind": "full"},
    "partial": {"kind": "partial", "modules": ["layers.1"]},
    "lora": {"kind": "lora", "rank": 4},
    "dora": {"kind": "lora", "rank": 4, "decomposed": True},
    "pissa": {"kind": "lora", "rank": 4, "init": "pissa"},
    "lora_head": {"kind": "lora", "rank": 4, "also_train": ["lm_head"]},
    "lora_on_head": {"kind": "lora", "rank": 4, "targets": ["lm_head", "q_proj"]},
    "ia3": {"kind": "ia3"},
    "prefix": {"kind": "prefix", "num_virtual_tokens": 4},
    "prompt": {"kind": "prompt", "num_virtual_tokens": 4},
    "p_tuning": {"kind": "p_tuning", "num_virtual_tokens": 4, "encoder_hidden_size": 16},
    "vera": {"kind": "vera", "rank": 8},
    "oft": {"kind": "oft", "block_size": 8},
    "adalora": {"kind": "adalora", "initial_rank": 4, "target_rank": 2},
    "bottleneck": {"kind": "bottleneck", "style": "houlsby", "reduction": 4},
    "parallel": {"kind": "bottleneck", "style": "parallel", "reduction": 4},
    "loha": {"kind": "peft", "method": "LOHA", "options": {"r": 4, "target_modules": "all-linear"}},
}


class Heard:
    """A listener that keeps the kinds of events."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def hear(self, event: Mapping[str, object]) -> None:
        self.events.append(str(event["event"]))


def varied(settings: Settings, **sections: Settings | str) -> Recipe:
    tree = {**settings}
    for name, values in sections.items():
        tree[name] = values if isinstance(values, str) or name == "tuner" else {**tree.get(name, {}), **values}
    return parse_recipe(tree)


@pytest.mark.parametrize("tuner", TUNERS.values(), ids=TUNERS)
def test_every_tuner_runs_saves_and_answers_as_it_did_in_training(tuner: Settings, settings: Settings) -> None:
    rate = 1e-3 if tuner["kind"] in ("full", "partial") else 1e-2
    artifact = run(varied(settings, tuner=tuner, optim={"learning_rate": rate}))
    lines = [json.loads(line) for line in (artifact.folder / "generations.jsonl").read_text().splitlines()]
    prompts = [line["prompt"] for line in lines]
    answers = predict_rows(artifact.folder, prompts=prompts, data=None, out=None, max_new_tokens=6, base=None)
    assert [json.loads(answer)["response"] for answer in answers] == [line["after"] for line in lines]
    events = Log(artifact.folder / "log.jsonl").events()
    losses = [float(str(event["loss"])) for event in events if event["event"] == "update"]
    assert losses[-1] < losses[0]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # plain PEFT's own
def test_the_cards_example_runs_as_it_is_pasted(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = 'it\'s a "tiny" ``` \N{SLIGHTLY SMILING FACE}'
    save_tiny_model(tmp_path / name)
    artifact = run(varied(settings, model={"name": name}))
    card = (artifact.folder / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```$", card, flags=re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(artifact.folder)
    names: dict[str, object] = {}
    exec(example, names)
    assert isinstance(names["model"], PeftModel)


def test_a_card_names_the_base_as_python_whatever_it_is_called(tmp_path: Path) -> None:
    for name in ("tiny", "a'b", 'a"b', "a\nb = 1", "\\", "\u202e", "\ud800"):
        for kind in ("package p 1", "file f", "folder f"):
            files = ModelFiles(name, tmp_path / name, kind)
            assert ast.literal_eval(base_arguments(files)) == str(tmp_path / name)
            assert base_arguments(files).isprintable()
    hub = ModelFiles("org/name", tmp_path / "0123", "hub org/name, snapshot 0123")
    assert base_arguments(hub) == "'org/name', revision='0123'"


@pytest.mark.parametrize("above", ["stack", "fusion"])
def test_a_run_stands_on_the_adapters_of_earlier_runs(above: str, settings: Settings, tmp_path: Path) -> None:
    folders = {name: str(tmp_path / name) for name in ("legal", "medical")}
    for seed, folder in enumerate(folders.values()):
        run(
            varied(
                settings,
                tuner={"kind": "bottleneck", "reduction": 4},
                optim={"learning_rate": 1e-2},
                runtime={"seed": seed},
                output=folder,
            )
        )
    tuner: Settings = {"kind": "adapter_fusion", "adapters": folders}
    if above == "stack":
        tuner = {"kind": "bottleneck", "reduction": 4, "below": [folders["legal"]]}
    recipe = varied(settings, tuner=tuner, optim={"learning_rate": 1e-2}, output=str(tmp_path / above))
    artifact = run(recipe)
    assert "opened by Tenfold alone" in (artifact.folder / "README.md").read_text()
    assert 'library_name: "tenfold"' in (artifact.folder / "README.md").read_text()

    for folder in folders.values():
        shutil.rmtree(folder)  # the artifact is whole in itself
    lines = [json.loads(line) for line in (artifact.folder / "generations.jsonl").read_text().splitlines()]
    prompts = [line["prompt"] for line in lines]
    answers = predict_rows(artifact.folder, prompts=prompts, data=None, out=None, max_new_tokens=6, base=None)
    assert [json.loads(answer)["response"] for answer in answers] == [line["after"] for line in lines]
    parts = {name.partition("/")[0] for name in load_file(artifact.weights / "adapters.safetensors")}
    below = {"bottlenecks.legal"} | ({"bottlenecks.medical", "fusions.legal+medical"} if above == "fusion" else set())
    assert parts == below | ({"bottlenecks.default"} if above == "stack" else set())
    events = Log(artifact.folder / "log.jsonl").events()
    losses = [float(str(event["loss"])) for event in events if event["event"] == "update"]
    assert losses[-1] < losses[0]


def test_an_adapter_on_the_output_layer_trains(settings: Settings) -> None:
    artifact = run(varied(settings, tuner=TUNERS["lora_on_head"]))
    saved = load_file(artifact.folder / "adapter" / "adapter_model.safetensors")
    started_at_zero = {name: tensor for name, tensor in saved.items() if "lora_B" in name}
    assert any("lm_head" in name for name in started_at_zero)
    assert all(tensor.any() for tensor in started_at_zero.values())


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # plain PEFT's own
@pytest.mark.parametrize("tuner", ["full", "lora"])
def test_plain_transformers_and_peft_reproduce_the_answers(
    tuner: str, settings: Settings, model_folder: Path, rows_file: Path
) -> None:
    artifact = run(varied(settings, tuner=TUNERS[tuner], optim={"learning_rate": 3e-3}))
    if tuner == "full":
        plain = AutoModelForCausalLM.from_pretrained(artifact.folder / "model")
        tokenizer = AutoTokenizer.from_pretrained(artifact.folder / "model")
    else:
        base = AutoModelForCausalLM.from_pretrained(model_folder)
        plain = PeftModel.from_pretrained(base, artifact.folder / "adapter")
        tokenizer = AutoTokenizer.from_pretrained(artifact.folder / "adapter")
    prompts = [json.loads(line)["prompt"] for line in rows_file.read_text().splitlines()[:8]]
    ours = predict_rows(artifact.folder, prompts=prompts, data=None, out=None, max_new_tokens=8, base=None)
    loaded = artifact.load()
    for prompt, line in zip(prompts, ours, strict=True):
        ids = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        assert ids["input_ids"][0].tolist() == Renderer(loaded.tokenizer, artifact.recipe.data).prompt(
            Example(turns=(Turn("user", prompt),))
        )
        with torch.no_grad():
            # fp32 on both sides, attention computed by another kernel: a few units in the last place
            torch.testing.assert_close(plain(**ids).logits, loaded.network(**ids).logits, rtol=1e-4, atol=1e-4)
            out = plain.generate(**ids, max_new_tokens=8, do_sample=False)
        text = tokenizer.decode(out[0, ids["input_ids"].shape[1] :], skip_special_tokens=True).strip()
        assert json.loads(line)["response"] == text


def test_a_merged_model_answers_as_the_adapter_does(settings: Settings) -> None:
    artifact = run(varied(settings, technique={"kind": "parameter_efficient", "merge": True}))
    merged = AutoModelForCausalLM.from_pretrained(artifact.folder / "merged", dtype=torch.float32)
    ids = torch.tensor([[5, 9, 70, 33, 12]])
    with torch.no_grad():
        expected = artifact.load().network(input_ids=ids).logits
        found = merged(input_ids=ids).logits
    # one fp32 matrix W + sBA against two products: rounding of the sum, through two layers
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_saving_a_merged_copy_changes_no_figure(settings: Settings, tmp_path: Path) -> None:
    kept = [
        run(
            varied(
                settings, technique={"kind": "parameter_efficient", "merge": merge}, output=str(tmp_path / str(merge))
            )
        )
        for merge in (False, True)
    ]
    assert kept[0].cost.trainable_parameters == kept[1].cost.trainable_parameters > 0
    assert kept[0].cost.total_parameters == kept[1].cost.total_parameters


def test_row_0_is_of_the_same_items_and_the_same_loading_as_the_last_row(settings: Settings, tmp_path: Path) -> None:
    """Scores are remembered; another seed takes other test rows, another tuner may load other weights."""
    run(varied(settings, evaluation={"max_rows": 3}))
    heard = Heard()
    other = varied(settings, evaluation={"max_rows": 3}, runtime={"seed": 1}, output=str(tmp_path / "seed"))
    artifact = run(other, listeners=(heard,))
    assert "score_restored" not in heard.events
    fresh = run(varied(settings, evaluation={"max_rows": 3}, runtime={"seed": 1}, output=str(tmp_path / "again")))
    assert artifact.scorecard == fresh.scorecard
    bf16 = {"precision": "bf16"}
    run(varied(settings, runtime=bf16, output=str(tmp_path / "bf16")))
    heard = Heard()
    run(varied(settings, runtime=bf16, tuner={"kind": "full"}, output=str(tmp_path / "full")), listeners=(heard,))
    assert "score_restored" not in heard.events


def test_a_run_without_any_score_is_saved_and_shown(settings: Settings) -> None:
    artifact = run(varied(settings, data={"test_share": 0}))
    assert artifact.scorecard.task_change() is None
    assert (artifact.folder / "generations.jsonl").read_text() == ""


def test_the_artifact_holds_what_the_layout_promises(recipe: Recipe) -> None:
    artifact = run(recipe)
    promised = (
        "recipe.yaml adapter scorecard.json cost.json claims.json provenance.json preview.txt generations.jsonl "
        "training_rows.npz "
        "README.md log.jsonl artifact.json"
    )
    assert set(promised.split()) <= {path.name for path in artifact.folder.iterdir()}
    assert not (artifact.folder / "checkpoints").exists()
    resolved = load_recipe(artifact.folder / "recipe.yaml")
    assert resolved.evaluation.metrics
    assert resolved.optim.learning_rate == 1e-2
    assert resolved.runtime.device == "cpu"
    assert resolved.runtime.micro_batch_tokens == 2048
    facts = json.loads((artifact.folder / "provenance.json").read_text())
    assert {"packages", "platform", "git", "model", "data", "seed", "precision"} <= facts.keys()
    assert "⟦" in (artifact.folder / "preview.txt").read_text()
    assert artifact.scorecard.stages == ("before", "instruction")


def test_an_unchanged_rerun_trains_nothing(settings: Settings, tmp_path: Path) -> None:
    first = run(varied(settings))
    again, elsewhere = Heard(), Heard()
    assert run(varied(settings), listeners=(again,)).folder == first.folder
    assert again.events == []
    second = run(varied(settings, output=str(tmp_path / "elsewhere")), listeners=(elsewhere,))
    assert elsewhere.events == ["score_restored", "stage_restored", "score_restored"]
    weights = [folder / "adapter" / "adapter_model.safetensors" for folder in (first.folder, second.folder)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert second.scorecard == first.scorecard


def test_a_changed_setting_or_row_trains_again(settings: Settings, rows_file: Path, tmp_path: Path) -> None:
    run(varied(settings))
    for number, change in enumerate(({"seed": 1}, {})):
        heard = Heard()
        if not change:
            rows_file.write_text(rows_file.read_text().replace("lamp 3 ", "lamp three "))
        run(varied(settings, runtime=change, output=str(tmp_path / str(number))), listeners=(heard,))
        assert "update" in heard.events


def test_a_folder_of_another_recipe_is_refused_and_left_alone(settings: Settings) -> None:
    artifact = run(varied(settings))
    before = {path: path.read_bytes() for path in artifact.folder.rglob("*") if path.is_file()}
    with pytest.raises(ArtifactError, match=r"different recipe: tuner.rank: 4 there, 8 here"):
        run(varied(settings, tuner={"kind": "lora", "rank": 8}))
    assert {path: path.read_bytes() for path in artifact.folder.rglob("*") if path.is_file()} == before


def test_changed_rows_under_the_same_recipe_are_noticed(settings: Settings, rows_file: Path) -> None:
    run(varied(settings))
    rows_file.write_text(rows_file.read_text().replace("lamp 3 ", "lamp three "))
    with pytest.raises(
        ArtifactError, match=r"these have changed since: train rows \(rows.jsonl\), test rows \(rows.jsonl\)"
    ):
        run(varied(settings))


def test_a_folder_with_other_files_is_refused(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("precious")
    with pytest.raises(ArtifactError, match=r"not a run's: thesis\.tex"):
        run(varied(settings))


def test_two_processes_cannot_work_in_one_folder(settings: Settings, tmp_path: Path) -> None:
    run(varied(settings))
    with (tmp_path / "out" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ArtifactError, match="another process"):
            run(varied(settings))


def test_an_adapter_is_refused_on_another_base_with_both_names(settings: Settings, tmp_path: Path) -> None:
    artifact = run(varied(settings))
    other = save_tiny_model(tmp_path / "other-llama", seed=1)
    with pytest.raises(ArtifactError, match=r"(?s)tiny-llama.*other-llama.*base weights"):
        artifact.load(base=str(other))
    same = tmp_path / "a-copy"
    shutil.copytree(settings["model"]["name"], same)
    assert artifact.load(base=str(same)).network is not None


def test_a_changed_configuration_is_another_base(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(settings["model"]["name"], folder)
    artifact = run(varied(settings, model={"name": str(folder)}))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.5}))
    with pytest.raises(ArtifactError, match="another configuration"):
        artifact.load()
    heard = Heard()
    run(varied(settings, model={"name": str(folder)}, output=str(tmp_path / "again")), listeners=(heard,))
    assert {"scored", "update"} <= set(heard.events)
    assert not {"score_restored", "stage_restored"} & set(heard.events)


def test_the_gate_refuses_and_an_allowed_rule_is_recorded(settings: Settings, rows_file: Path) -> None:
    with pytest.raises(SignalError, match="truncation"):
        run(varied(settings, data={"max_length": 20}))
    rules = ["truncation", "end_of_turn", "no_supervision"]
    artifact = run(varied(settings, data={"max_length": 20}, gate={"allow": rules}))
    allowed = json.loads((artifact.folder / "provenance.json").read_text())["gate_allowed"]
    assert any(entry["rule"] == "truncation" for entry in allowed)


def test_a_technique_refuses_what_does_not_fit(settings: Settings) -> None:
    with pytest.raises(RecipeError, match=r"tuner.kind: full trains the base"):
        run(varied(settings, technique={"kind": "parameter_efficient"}, tuner={"kind": "full"}))
    with pytest.raises(RecipeError, match=r"(?s)technique.merg.*did you mean 'merge'") as caught:
        run(varied(settings, technique={"kind": "parameter_efficient", "merg": True}))
    assert caught.value.exit_code == 2
    with pytest.raises(RecipeError, match=r"(?s)unknown technique 'instructon'.*did you mean 'instruction'"):
        run(varied(settings, technique={"kind": "instructon"}))


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(settings: Settings) -> None:
    class StopAfter:
        count = 0

        def hear(self, event: Mapping[str, object]) -> None:
            self.count += event["event"] == "update"

    stop = StopAfter()

    with pytest.raises(Interrupted):
        run(varied(settings), listeners=(stop,), stop_asked=lambda: stop.count >= 5)
    folder = Path(str(settings["output"])) / "checkpoints" / "instruction"
    assert [path.name for path in sorted(folder.iterdir())] == ["update-00000004", "update-00000005"]
    damaged = folder / "update-00000005" / "trainable.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-3] + b"abc")
    artifact = run(varied(settings))
    events = [json.loads(line) for line in (artifact.folder / "log.jsonl").read_text().splitlines()]
    assert any("update-00000005 is damaged" in str(event.get("text")) for event in events)
    assert [event["resumed_at"] for event in events if event["event"] == "stage"] == [0, 4]
    assert Artifact.open(artifact.folder).facts["updates"] == 6


def test_nobody_goes_on_from_what_other_code_has_trained(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    updates: list[object] = []

    class Listener:
        def hear(self, event: Mapping[str, object]) -> None:
            updates.extend([event["update"]] if event["event"] == "update" else [])

    with pytest.raises(Interrupted):
        run(varied(settings), listeners=(Listener(),), stop_asked=lambda: len(updates) >= 3)
    monkeypatch.setattr("tenfold.engine.store.code_version", lambda: "of another version")
    artifact = run(varied(settings))
    events = [json.loads(line) for line in (artifact.folder / "log.jsonl").read_text().splitlines()]
    assert any("of other code or settings" in str(event.get("text")) for event in events)
    assert [event["resumed_at"] for event in events if event["event"] == "stage"] == [0, 0]


def test_raw_text_is_learned_and_scored_by_likelihood(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "text.jsonl"
    rows = [
        {"text": f"the lamp number {number} is red and the lamp number {number + 1} is blue"} for number in range(40)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    artifact = run(varied(settings, data={"train": str(path)}, optim={"max_updates": 12}))
    change = artifact.scorecard.task_change()
    assert change is not None
    assert (change.metric, change.is_better) == ("response_loss", True)
    assert (artifact.folder / "generations.jsonl").read_text() == ""


def test_everything_in_a_stage_counts_for_its_fingerprint(recipe: Recipe, tmp_path: Path) -> None:
    stage = Run(open_world(recipe), folder=tmp_path, runtime=open_runtime(recipe.runtime), log=Log(None)).stage("main")
    # which tasks are scored after it decides nothing of what it comes to
    decides = {field.name for field in fields(Stage)} - {"scored"}
    assert set(stage.content) == decides
    changes: Settings = {
        "name": "other",
        "tuner": make_tuner(Lora(rank=2)),
        "objective": CausalLanguageModelling(label_smoothing=0.1),
        "windows": replace(stage.windows, seed=9),
        "optim": OptimSection(weight_decay=0.1),
        "learning_rate": 0.5,
        "total_updates": 99,
        "penalties": (shrink,),
        "selection": Selection(lambda: Judgement(0.0), every=3),
        "gradient_checkpointing": True,
        "layer_decay": 0.5,
        "learned": Learned({"weight": torch.nn.Parameter(torch.zeros(1))}, 0.1),
        "tasks": ("another",),
        "starts_from": "before",
    }
    contents = [json.dumps(replace(stage, **{name: value}).content) for name, value in changes.items()]
    assert len({json.dumps(stage.content), *contents}) == 1 + len(decides)
    assert stage.is_storable
    assert not replace(stage, penalties=(object(),)).is_storable


def shrink(network: torch.nn.Module) -> None:
    """A penalty that is none."""


def test_settings_that_move_no_weight_do_not_stop_a_run_from_going_on(settings: Settings) -> None:
    counted = Heard()
    with pytest.raises(Interrupted):
        run(varied(settings), listeners=(counted,), stop_asked=lambda: counted.events.count("update") >= 3)
    heard = Heard()
    run(varied(settings, runtime={"checkpoint_every": 5, "threads": 1}), listeners=(heard,))
    assert heard.events.count("update") == 3


@pytest.mark.parametrize(("named", "expected"), [(2, 2), (None, 1)])
def test_the_threads_that_a_recipe_names_are_those_of_going_on(
    settings: Settings, named: int | None, expected: int
) -> None:
    counted = Heard()
    with pytest.raises(Interrupted):
        run(
            varied(settings, runtime={"threads": 1}),
            listeners=(counted,),
            stop_asked=lambda: counted.events.count("update") >= 3,
        )
    try:
        artifact = run(varied(settings, runtime={"threads": named}))
        assert torch.get_num_threads() == expected == artifact.recipe.runtime.threads
    finally:
        torch.set_num_threads(1)  # as all tests have it


class Broken:
    """A tracker that takes note of two updates, then fails whatever is asked of it."""

    made: ClassVar[list[Broken]] = []

    def __init__(self, *, project: str, folder: Path) -> None:
        self.steps: list[int] = []
        self.calls = 0
        self.made.append(self)

    def start(self, run_name: str, settings: Mapping[str, object]) -> None:
        pass

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.calls += 1
        if self.calls > 2:
            raise ConnectionError("nobody answers\nat all")

    def finish(self) -> None:
        self.calls += 1


class Deaf(Broken):
    def start(self, run_name: str, settings: Mapping[str, object]) -> None:
        raise PermissionError("not logged in")


def test_a_tracker_that_fails_is_told_once_and_the_run_goes_on(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(trackers._TRACKERS, "tensorboard", Broken)
    monkeypatch.setattr("tenfold.techniques.world.require_trackers", lambda section: None)
    artifact = run(varied(settings, log={"trackers": ["tensorboard"]}))
    events = Log(artifact.folder / "log.jsonl").events()
    told = [event["text"] for event in events if "failed" in str(event.get("text"))]
    assert told == ["Broken failed (ConnectionError: nobody answers): the run goes on without it"]
    assert Broken.made[-1].calls == 3, "it is asked for nothing more, not even to finish"
    assert [event["event"] for event in events].count("update") == 6


def test_a_tracker_that_cannot_be_started_is_told_before_anything_trains(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(trackers._TRACKERS, "tensorboard", Deaf)
    monkeypatch.setattr("tenfold.techniques.world.require_trackers", lambda section: None)
    heard = Heard()
    with pytest.raises(RecipeError, match=r"tensorboard cannot be started: PermissionError: not logged in"):
        run(varied(settings, log={"trackers": ["tensorboard"]}), listeners=(heard,))
    assert heard.events == []


def test_a_checkpoint_is_written_after_a_while_whatever_the_updates(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tenfold.engine.fit.CHECKPOINT_SECONDS", 0.0)
    folder = tmp_path / "out" / "checkpoints" / "instruction"
    seen: list[int] = []

    class Look:
        def hear(self, event: Mapping[str, object]) -> None:
            if event["event"] == "update" and folder.is_dir():
                seen.append(len(list(folder.iterdir())))

    run(varied(settings, runtime={"checkpoint_every": 100}), listeners=(Look(),))
    assert seen
