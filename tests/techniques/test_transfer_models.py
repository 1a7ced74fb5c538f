"""Transfer from the top down in models that hear or read before they write, and 4-bit weights that learn speech."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tenfold.recipe import parse_recipe
from tenfold.running import run
from tests.test_speech import losses, predict, speech_settings
from tests.test_translation import translating
from tests.tiny_sources import save_ctc, save_encoder_decoder, save_whisper

Settings = dict[str, Any]
TOP_DOWN: Settings = {"kind": "transfer", "unfreeze_steps": 1, "step_epochs": 1.0}


@pytest.mark.parametrize("family", ["whisper", "wav2vec2"])
def test_speech_learns_from_the_top_down(family: str, tmp_path: Path) -> None:
    folder = (save_whisper if family == "whisper" else save_ctc)(tmp_path / family)
    tree = speech_settings(tmp_path, folder, technique=TOP_DOWN, tuner={"kind": "full"}, optim={"learning_rate": 1e-3})
    artifact = run(parse_recipe(tree))
    assert artifact.scorecard.stages == ("before", "top-1", "all")
    assert losses(artifact)[-1] < losses(artifact)[0]
    assert any(claim["claim"].startswith("better than the base") for claim in artifact.claims)
    (answer,) = predict(artifact, prompts=[str(tmp_path / artifact.generations[0]["prompt"])])
    assert json.loads(answer)["response"] == artifact.generations[0]["after"]


def test_translation_learns_from_the_top_down(settings: Settings, tmp_path: Path) -> None:
    folder = save_encoder_decoder(tmp_path / "t5")
    changes: Settings = {"technique": TOP_DOWN, "tuner": {"kind": "full"}, "optim": {"learning_rate": 1e-3}}
    artifact = run(parse_recipe(translating(settings, tmp_path, folder, **changes)))
    assert artifact.scorecard.stages == ("before", "top-1", "all")
    assert losses(artifact)[-1] < losses(artifact)[0]
    card = artifact.scorecard
    assert card.change("main", "chrf", before="before", after="all") is not None
    line = artifact.generations[0]
    (answer,) = predict(artifact, prompts=[line["prompt"]])
    assert json.loads(answer)["response"] == line["after"]


@pytest.mark.parametrize("technique", ["parameter_efficient", "transfer"])
def test_four_bit_weights_learn_speech(technique: str, tmp_path: Path) -> None:
    folder = save_whisper(tmp_path / "whisper")
    changes: Settings = {"technique": {"kind": technique}, "tuner": {"kind": "qlora", "rank": 4}}
    artifact = run(parse_recipe(speech_settings(tmp_path, folder, **changes)))
    assert losses(artifact)[-1] < losses(artifact)[0]
    (answer,) = predict(artifact, prompts=[str(tmp_path / artifact.generations[0]["prompt"])])
    assert json.loads(answer)["response"] == artifact.generations[0]["after"]
