"""From the top of the network down: which parameters move in which stage, at which rates, and the curve of rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCTC, AutoModelForSeq2SeqLM, AutoModelForSpeechSeq2Seq

from tenfold.data.prepare import prepare
from tenfold.data.render import Renderer
from tenfold.data.sources import open_rows
from tenfold.data.windows import Windows
from tenfold.engine.log import Log
from tenfold.engine.runtime import open_runtime
from tenfold.errors import RecipeError
from tenfold.models.depth import decayed, find_depths
from tenfold.models.load import load_tokenizer
from tenfold.recipe import DataSection, Recipe, parse_recipe
from tenfold.recipe.tuners import Full
from tenfold.running import run
from tenfold.techniques.context import Run
from tenfold.techniques.transfer import TECHNIQUE, TransferOptions, plan
from tenfold.techniques.world import open_world
from tenfold.terminal.check_view import show_check
from tenfold.tuning.tuner import make_tuner
from tests.tiny_models import FAMILIES, tiny_model
from tests.tiny_sources import save_ctc, save_encoder_decoder, save_whisper

Settings = dict[str, Any]


@pytest.fixture
def labels_file(tmp_path: Path) -> Path:
    """Texts whose first word tells the label."""
    path = tmp_path / "labels.jsonl"
    words = ("lamp", "door", "fan")
    rows = [{"text": f"{words[number % 3]} number {number}", "label": words[number % 3]} for number in range(60)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def recipe_of(settings: Settings, **sections: Any) -> Recipe:
    tree = {**settings, "technique": {"kind": "transfer"}, "tuner": {"kind": "full"}}
    for name, values in sections.items():
        tree[name] = values if name in ("tuner", "output") else {**tree.get(name, {}), **values}
    return parse_recipe(tree)


def opened(recipe: Recipe, tmp_path: Path) -> Run:
    return Run(open_world(recipe), folder=tmp_path, runtime=open_runtime(recipe.runtime), log=Log(None))


def moved_in(run: Run, options: TransferOptions) -> dict[str, set[str]]:
    """Return for each planned stage the parameters that train in it, heads included."""
    found = {}
    for stage in plan(run, options).stages:
        run.attach(stage)
        found[stage.name] = set(stage.trainable(run.model))
        run.train(stage)
    return found


def test_each_stage_trains_what_it_says(settings: Settings, labels_file: Path, tmp_path: Path) -> None:
    recipe = recipe_of(settings, data={"train": str(labels_file)}, optim={"max_updates": 1})
    moved = moved_in(opened(recipe, tmp_path), TransferOptions(unfreeze_steps=1))
    assert list(moved) == ["head", "top-1", "all"]
    assert all(name.startswith("heads.") for name in moved["head"])
    in_network = {name for name in moved["top-1"] if not name.startswith("heads.")}
    assert in_network and all(".layers.1." in name for name in in_network)
    assert moved["top-1"] < moved["all"] and any("embed_tokens" in name for name in moved["all"])


def test_new_embeddings_can_train_first_and_alone(settings: Settings, tmp_path: Path) -> None:
    recipe = recipe_of(settings, optim={"max_updates": 1})
    moved = moved_in(opened(recipe, tmp_path), TransferOptions(embeddings_epochs=1.0, unfreeze_steps=0))
    assert list(moved) == ["embeddings", "all"]
    assert {name.rpartition(".embed_tokens")[1] for name in moved["embeddings"]} == {".embed_tokens"}


def test_with_an_adapter_the_head_comes_first_and_then_the_adapter(
    settings: Settings, labels_file: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(settings, data={"train": str(labels_file)}, tuner={"kind": "lora", "rank": 2})
    artifact = run(recipe)
    assert artifact.scorecard.stages == ("before", "head", "all")
    assert artifact.facts["weights"] == "adapter"
    assert (artifact.weights / "heads.safetensors").is_file()
    assert artifact.load().heads


@pytest.mark.parametrize("family", FAMILIES)
def test_rates_fall_by_one_factor_a_block(family: str) -> None:
    base = tiny_model(family)
    blocks = next(
        module for name, module in base.base_model.named_modules() if name.rpartition(".")[2] in ("layers", "h")
    )
    depths = find_depths(base)
    groups = decayed([{"params": list(base.parameters()), "lr": 1.0}], depths, decay=0.5)
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}  # type: ignore[attr-defined]
    assert len(rates) == len(list(base.parameters()))
    for number, block in enumerate(blocks.children()):
        expected = 0.5 ** (len(list(blocks.children())) - number)
        assert {rates[id(parameter)] for parameter in block.parameters()} == {expected}
    assert rates[id(base.get_input_embeddings().weight)] == 0.5 ** (depths.num_blocks + 1)


@pytest.mark.parametrize(
    ("save", "opener", "depths"),
    [
        (
            save_whisper,
            AutoModelForSpeechSeq2Seq,
            {
                "encoder.conv1": -1,
                "encoder.embed_positions": -1,
                "encoder.layers.1": 1,
                "encoder.layer_norm": 1,
                "decoder.embed_tokens": -1,
                "decoder.layers.0": 2,
                "decoder.layer_norm": 4,
            },
        ),
        (
            save_ctc,
            AutoModelForCTC,
            {"feature_extractor": -1, "feature_projection": -1, "encoder.layers.1": 1, "lm_head": 2},
        ),
        (
            save_encoder_decoder,
            AutoModelForSeq2SeqLM,
            {"shared": -1, "encoder.block.0": 0, "decoder.block.1": 3, "decoder.final_layer_norm": 4},
        ),
    ],
    ids=["whisper", "wav2vec2", "t5"],
)
def test_what_a_model_hears_and_reads_with_lies_below_its_blocks(
    save: Callable[[Path], Path], opener: type, depths: dict[str, int], tmp_path: Path
) -> None:
    base = opener.from_pretrained(save(tmp_path / "model"))  # type: ignore[attr-defined]
    found = find_depths(base)
    for start, depth in depths.items():
        of = {found.of(each) for name, each in base.named_parameters() if f".{start}." in f".{name}."}
        assert of == {depth}, start


def test_lower_blocks_move_less(settings: Settings, tmp_path: Path, model_folder: Path) -> None:
    technique = {"layer_decay": 0.01, "unfreeze_steps": 0}
    # AdamW's first step is the rate, whatever the gradient: the ratio of steps is that of rates
    recipe = recipe_of(settings, technique=technique, optim={"max_updates": 1, "warmup_share": 0.0})
    after = load_file(run(recipe).weights / "model.safetensors")
    before = load_file(model_folder / "model.safetensors")
    name = "model.layers.{}.mlp.up_proj.weight"
    steps = [(after[name.format(n)] - before[name.format(n)]).abs().median() for n in (0, 1)]
    assert float(steps[1] / steps[0]) == pytest.approx(100, rel=0.05)


def test_from_scratch_forgets_the_model_and_follows_the_seed(settings: Settings) -> None:
    networks = []
    for seed in (5, 5, 6):
        base = tiny_model("llama")
        torch.manual_seed(seed)
        networks.append(make_tuner(Full(start="scratch")).attach(base))
    first, again, other = (network.get_input_embeddings().weight for network in networks)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not torch.equal(first, tiny_model("llama").get_input_embeddings().weight)


def test_the_first_rows_include_those_of_a_smaller_number(rows_file: Path, model_folder: Path) -> None:
    prepared = prepare(open_rows(str(rows_file)), Renderer(load_tokenizer(model_folder), DataSection()))
    windows = Windows(prepared, batch_size=4, micro_batch_tokens=512, seed=3)
    few, more = (
        {tuple(entry.input_ids) for entry in windows.of_first(count).prepared.entries(range(count))}
        for count in (8, 20)
    )
    assert len(few) == 8 and few < more


def test_the_curve_compares_with_random_weights_at_every_size(settings: Settings) -> None:
    recipe = recipe_of(settings, technique={"curve": [8, 24], "unfreeze_steps": 0}, optim={"max_updates": 2})
    artifact = run(recipe)
    assert artifact.scorecard.stages == (
        "before",
        "pretrained-8",
        "scratch-8",
        "pretrained-24",
        "scratch-24",
        "all",
    )
    claim = next(claim for claim in artifact.claims if "from scratch" in claim["claim"])
    # two updates of 8 rows meet 16 of the 24
    assert "8 rows against 16 from scratch" in claim["because"]
    met = {"pretrained-8": 8, "scratch-8": 8, "pretrained-24": 16, "scratch-24": 16}
    assert artifact.facts["reported"]["rows met by the curve"] == met


def test_check_says_which_sizes_of_the_curve_are_not_met(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    technique, optim = {"curve": [8, 24], "unfreeze_steps": 0}, {"max_updates": 2}
    show_check(recipe_of(settings, technique=technique, optim=optim), trial=False)
    assert "too few to meet all rows: 16 of 24 (" in " ".join(capsys.readouterr().out.split())
    show_check(recipe_of(settings, technique=technique, optim={"max_updates": 3}), trial=False)
    assert "too few to meet" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("technique", "told"),
    [
        ({"curve": [8, 1600]}, r"technique.curve: 45 training rows, and it asks for 1600\n  allowed: at most 45"),
        ({"unfreeze_steps": 9}, r"technique.unfreeze_steps: 9 stages .* has 2 blocks\n  allowed: at most 2"),
    ],
)
def test_more_than_rows_and_model_have_is_refused_by_run_and_check(
    technique: Settings, told: str, settings: Settings, tmp_path: Path
) -> None:
    recipe = recipe_of(settings, technique=technique)
    for tried in (run, lambda each: show_check(each, trial=False)):
        with pytest.raises(RecipeError, match=told):
            tried(recipe)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("asked", "rate"), [({}, 1e-4), ({"scratch_learning_rate": 3e-2}, 3e-2)])
def test_random_weights_train_at_a_rate_of_their_own(
    asked: Settings, rate: float, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = recipe_of(settings, technique={"curve": [8, 24], "unfreeze_steps": 0, **asked}, optim={"max_updates": 2})
    options = TECHNIQUE.require_fit(recipe)
    rates = {stage.name: stage.learning_rate for stage in TECHNIQUE.plan(opened(recipe, tmp_path), options).stages}
    own = recipe.optim.learning_rate
    assert rates == {"pretrained-8": own, "scratch-8": rate, "pretrained-24": own, "scratch-24": rate, "all": own}
    show_check(recipe, trial=False)
    assert f"from random weights at {rate:g}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("technique", "sections", "told"),
    [
        ({"curve": [64, 8]}, {}, "numbers of rows that rise"),
        ({"curve": [8, 16]}, {"tuner": {"kind": "lora"}}, "lora cannot train a model from random weights"),
        ({"embeddings_epochs": 1}, {"tuner": {"kind": "lora"}}, "lora leaves it as it is"),
        ({"scratch_learning_rate": 1e-3}, {}, "technique.scratch_learning_rate: would be read by the curve alone"),
        ({}, {"tuner": {"kind": "frozen"}}, "tuner.kind: frozen trains the head alone"),
        ({"layer_decay": 0}, {}, "technique.layer_decay"),
    ],
)
def test_what_cannot_work_is_refused(technique: Settings, sections: Settings, told: str, settings: Settings) -> None:
    with pytest.raises(RecipeError, match=told):
        run(recipe_of(settings, technique=technique, **sections))
