"""Sound models of every family pass every check that applies to them; nothing is skipped without a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tenfold.recipe import parse_recipe
from tenfold.running import run
from tenfold.verify.finding import Verification
from tenfold.verify.verifying import CHECKS, verify_artifact, verify_recipe
from tests.conftest import save_tiny_model
from tests.test_speech import speech_settings
from tests.tiny_models import FAMILIES
from tests.tiny_sources import save_ctc, save_encoder_decoder, save_whisper, write_translations

Settings = dict[str, Any]


def outcomes(verification: Verification) -> dict[str, str]:
    return {finding.check: finding.outcome for finding in verification.findings}


def skipped(verification: Verification) -> set[str]:
    return {check for check, outcome in outcomes(verification).items() if outcome == "skipped"}


def told(verification: Verification) -> str:
    return "\n".join(f"{finding.check}: {finding}" for finding in verification.findings if finding.outcome == "FAIL")


def verified(settings: Settings, **sections: Any) -> Verification:
    tree = {**settings}
    for section, values in sections.items():
        whole = section in ("tuner", "output") or not isinstance(values, dict)
        tree[section] = values if whole else {**tree.get(section, {}), **values}
    verification = verify_recipe(parse_recipe(tree))
    assert verification.is_passed, told(verification)
    assert [finding.check for finding in verification.findings] == [check.name for check in CHECKS]
    assert all(finding.reason for finding in verification.findings)
    return verification


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sound_decoder_passes(family: str, settings: Settings, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / family, family=family)
    assert skipped(verified(settings, model={"name": str(folder)})) == {"kernels, own precision"}


@pytest.mark.parametrize(
    "tuner",
    [
        {"kind": "full"},
        {"kind": "partial", "modules": ["layers.1"]},
        {"kind": "lora", "rank": 4, "init": "pissa"},
        {"kind": "lora", "rank": 4, "decomposed": True, "dropout": 0.1},
        {"kind": "adalora", "initial_rank": 4, "target_rank": 2},
        {"kind": "prompt", "num_virtual_tokens": 4},
        {"kind": "bottleneck", "reduction": 4},
    ],
    ids=lambda tuner: "-".join(map(str, list(tuner.values())[:3])),
)
def test_every_way_of_tuning_passes(tuner: Settings, settings: Settings) -> None:
    found = skipped(verified(settings, tuner=tuner))
    merges = tuner["kind"] in ("lora", "adalora")
    exports = tuner["kind"] != "bottleneck"
    expected = {"kernels, own precision"} | (set() if merges else {"merged"}) | (set() if exports else {"exported"})
    assert found == expected


def test_an_adapter_on_four_bits_passes(settings: Settings) -> None:
    pytest.importorskip("bitsandbytes")
    assert skipped(verified(settings, tuner={"kind": "qlora", "rank": 4})) == {"kernels, own precision", "exported"}


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_low_precision_is_compared_too(kind: str, settings: Settings) -> None:
    verification = verified(settings, tuner={"kind": kind}, runtime={"precision": "bf16"})
    assert "kernels, own precision" not in skipped(verification)


def test_activations_that_the_recipe_recomputes_pass(settings: Settings) -> None:
    verified(settings, runtime={"gradient_checkpointing": True})


@pytest.mark.parametrize("model", ["encoder", "decoder"])
def test_a_head_for_labels_passes(
    model: str, request: pytest.FixtureRequest, settings: Settings, tmp_path: Path
) -> None:
    rows = tmp_path / "labelled.jsonl"
    colours = ("blue", "green", "red")
    lines = [
        f'{{"text": "lamp {number} {colours[number % 3]}", "label": "{colours[number % 3]}"}}' for number in range(40)
    ]
    rows.write_text("\n".join(lines) + "\n")
    folder = request.getfixturevalue("encoder_folder" if model == "encoder" else "model_folder")
    verification = verified(settings, model={"name": str(folder)}, data={"train": str(rows)})
    nothing_written = {"template", "prompt", "cache", "batch", "exported", "kernels, own precision"}
    assert skipped(verification) == nothing_written


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_an_encoder_decoder_passes(family: str, settings: Settings, tmp_path: Path) -> None:
    folder = save_encoder_decoder(tmp_path / family, family)
    pairs = str(write_translations(tmp_path))
    verification = verified(settings, model={"name": str(folder)}, data={"train": pairs})
    assert skipped(verification) == {"template", "prompt", "cache", "kernels, own precision"}


@pytest.mark.parametrize("family", ["whisper", "wav2vec2"])
def test_speech_passes(family: str, tmp_path: Path) -> None:
    folder = (save_whisper if family == "whisper" else save_ctc)(tmp_path / family)
    verification = verified(speech_settings(tmp_path, folder))
    assert {"template", "prompt", "cache", "exported", "kernels, own precision"} == skipped(verification)


@pytest.mark.parametrize("tuner", [{"kind": "lora", "rank": 4}, {"kind": "full"}])
def test_what_a_run_has_saved_passes(tuner: Settings, settings: Settings) -> None:
    artifact = run(parse_recipe({**settings, "tuner": tuner}))
    verification = verify_artifact(artifact)
    assert verification.is_passed, told(verification)
    assert skipped(verification) == (set() if tuner["kind"] == "lora" else {"merged"})


def test_a_technique_that_trains_nothing_says_so(settings: Settings, tmp_path: Path) -> None:
    rows = tmp_path / "labelled.jsonl"
    rows.write_text("".join(f'{{"text": "lamp {n}", "label": "{"ab"[n % 2]}"}}\n' for n in range(40)))
    tree = {**settings, "technique": {"kind": "feature_based"}, "tuner": {"kind": "frozen"}}
    verification = verified(tree, data={"train": str(rows)})
    assert set(outcomes(verification).values()) == {"skipped"}
