"""Speech recognition from a recipe: trained, scored, saved, reopened, and everything that it refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from peft import PeftModel
from transformers import AutoFeatureExtractor, AutoModelForSpeechSeq2Seq

from fuzz.promise import CORPUS
from tenfold.answering import evaluate_rows, predict_rows
from tenfold.artifact import Artifact
from tenfold.data.audio import BLOCK, look_at, read_audio
from tenfold.data.fields import RowFault
from tenfold.errors import DataError, UserError
from tenfold.models.load import load_tokenizer, outline
from tenfold.models.processor import open_processor
from tenfold.recipe import Recipe, parse_recipe
from tenfold.running import run
from tests.command import Desk
from tests.tiny_sources import RATE, save_ctc, save_whisper, tone, write_speech

Settings = dict[str, Any]


def speech_settings(tmp_path: Path, model: Path, **changes: Any) -> Settings:
    tree: Settings = {
        "model": {"name": str(model)},
        "tuner": {"kind": "lora", "rank": 8},
        "data": {"train": str(write_speech(tmp_path)), "test_share": 0.2, "group_by": "clip"},
        "gate": {"allow": ["overlap"]},
        "optim": {"batch_size": 8, "epochs": 100, "max_updates": 6, "learning_rate": 1e-2},
        "evaluation": {"max_rows": 6, "max_new_tokens": 8},
        "runtime": {"precision": "fp32", "device": "cpu", "checkpoint_every": 2},
        "output": str(tmp_path / "out"),
    }
    for section, values in changes.items():
        tree[section] = values if section in ("tuner", "output") else {**tree.get(section, {}), **values}
    return tree


def losses(artifact: Artifact) -> list[float]:
    lines = (artifact.folder / "log.jsonl").read_text().splitlines()
    return [event["loss"] for event in map(json.loads, lines) if event["event"] == "update"]


@pytest.fixture
def whisper(tmp_path: Path) -> Path:
    return save_whisper(tmp_path / "whisper")


@pytest.mark.parametrize(
    "tuner", [{"kind": "lora", "rank": 8}, {"kind": "full"}, {"kind": "partial", "modules": ["fc1"]}]
)
@pytest.mark.parametrize("family", ["whisper", "wav2vec2"])
def test_a_speech_model_learns_and_its_artifact_answers_as_it_did(family: str, tuner: Settings, tmp_path: Path) -> None:
    folder = (save_whisper if family == "whisper" else save_ctc)(tmp_path / family)
    if tuner["kind"] == "partial" and family != "whisper":
        tuner = {"kind": "partial", "modules": ["intermediate_dense", "lm_head"]}
    recipe = parse_recipe(speech_settings(tmp_path, folder, tuner=tuner, optim={"max_updates": 12}))
    artifact = run(recipe)
    curve = losses(artifact)
    assert sum(curve[-3:]) < 0.9 * sum(curve[:3])
    assert artifact.scorecard.score("before", "main").primary.name == "wer"  # type: ignore[union-attr]
    assert "cer" in artifact.scorecard.score("instruction", "main").measures  # type: ignore[union-attr]
    assert artifact.facts["tasks"]["main"] == {
        "kind": "transcription",
        "format": "speech",
        "head": None,
        "answered_by": None,
    }
    prompts = [str(tmp_path / line["prompt"]) for line in artifact.generations]
    answers = [json.loads(line) for line in predict(artifact, prompts=prompts)]
    assert [line["response"] for line in answers] == [line["after"] for line in artifact.generations]
    score = evaluate_rows(artifact.folder, data=str(tmp_path / "speech.jsonl"), max_rows=4, base=None)
    assert set(score.measures) == {"wer", "cer", "response_loss", "response_bits_per_byte"}


def predict(artifact: Artifact, *, prompts: list[str], data: str | None = None) -> list[str]:
    return list(predict_rows(artifact.folder, prompts=prompts, data=data, out=None, max_new_tokens=8, base=None))


def test_a_transcript_that_reached_the_longest_allowed_says_so(whisper: Path, tmp_path: Path) -> None:
    artifact = run(parse_recipe(speech_settings(tmp_path, whisper)))
    prompts = [str(tmp_path / line["prompt"]) for line in artifact.generations]
    found = [json.loads(line).get("cut", False) for line in predict(artifact, prompts=prompts)]
    score = artifact.scorecard.score("instruction", "main")
    assert score is not None and any(found) and tuple(found) == score.cut


def test_a_whisper_overfits_tones_until_it_writes_them_down(whisper: Path, tmp_path: Path) -> None:
    settings = speech_settings(
        tmp_path,
        whisper,
        tuner={"kind": "full"},
        data={"test": str(tmp_path / "speech.jsonl")},  # the very rows that it learns
        optim={"max_updates": 120, "learning_rate": 3e-3},
        evaluation={"max_rows": 12},
    )
    artifact = run(parse_recipe(settings))
    change = artifact.scorecard.change("main", "wer")
    assert change is not None and change.is_better
    assert artifact.scorecard.score("instruction", "main").primary.value < 0.2  # type: ignore[union-attr]
    line = next(line for line in artifact.generations if line["after"] == line["reference"])
    (answer,) = predict(artifact, prompts=[str(tmp_path / line["prompt"])])
    assert json.loads(answer) == {"audio": str(tmp_path / line["prompt"]), "response": line["reference"]}


@pytest.mark.parametrize("family", ["whisper", "wav2vec2", "wav2vec2_group"])
def test_low_precision_and_recomputed_activations_train_too(family: str, tmp_path: Path) -> None:
    norm = "group" if family.endswith("group") else "layer"
    folder = save_whisper(tmp_path / family) if family == "whisper" else save_ctc(tmp_path / family, norm=norm)
    runtime = {"precision": "bf16", "gradient_checkpointing": True}
    for tuner in ({"kind": "lora", "rank": 4}, {"kind": "full"}):
        output = str(tmp_path / tuner["kind"])  # type: ignore[call-overload]
        artifact = run(parse_recipe(speech_settings(tmp_path, folder, tuner=tuner, runtime=runtime, output=output)))
        assert losses(artifact)[-1] < losses(artifact)[0]


def test_bottleneck_adapters_train_in_a_whisper(whisper: Path, tmp_path: Path) -> None:
    artifact = run(parse_recipe(speech_settings(tmp_path, whisper, tuner={"kind": "bottleneck"})))
    assert losses(artifact)[-1] < losses(artifact)[0]
    (answer,) = predict(artifact, prompts=[str(tmp_path / artifact.generations[0]["prompt"])])
    assert json.loads(answer)["response"] == artifact.generations[0]["after"]


def test_error_rates_choose_the_checkpoint(whisper: Path, tmp_path: Path) -> None:
    artifact = run(parse_recipe(speech_settings(tmp_path, whisper, evaluation={"every": 2})))
    events = [json.loads(line) for line in (artifact.folder / "log.jsonl").read_text().splitlines()]
    measured = [event for event in events if event["event"] == "evaluation"]
    assert [event["metric"] for event in measured] == ["wer"] * 3
    assert measured[-1]["best"] == min(event["value"] for event in measured), "less is better"


@pytest.mark.parametrize("family", ["whisper", "wav2vec2"])
def test_micro_batches_change_no_update(family: str, tmp_path: Path) -> None:
    folder = (save_whisper if family == "whisper" else save_ctc)(tmp_path / family)
    curves = []
    for name, tokens in (("one", 1), ("eight", 100_000)):
        runtime = {"micro_batch_tokens": tokens}
        recipe = parse_recipe(speech_settings(tmp_path, folder, runtime=runtime, output=str(tmp_path / name)))
        curves.append(losses(run(recipe)))
    # the same sums in another order; six updates let the difference grow
    assert curves[0] == pytest.approx(curves[1], rel=1e-3)


def stopping_after(number: int) -> Any:
    class Listener:
        is_asked = False

        def hear(self, event: Any) -> None:
            self.is_asked |= event["event"] == "update" and event["update"] == number

    return Listener()


@pytest.mark.parametrize("family", ["whisper", "wav2vec2"])
def test_an_interrupted_run_ends_bit_for_bit_as_a_straight_one(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = (save_whisper if family == "whisper" else save_ctc)(tmp_path / family)
    tuner = {"kind": "lora", "rank": 4, "dropout": 0.2}
    weights = []
    for name in ("straight", "stopped"):
        monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / f"cache-{name}"))
        recipe = parse_recipe(speech_settings(tmp_path, folder, tuner=tuner, output=str(tmp_path / name)))
        if name == "stopped":
            stop = stopping_after(3)
            with pytest.raises(Exception, match="stopped after update 3"):
                run(recipe, listeners=(stop,), stop_asked=lambda stop=stop: stop.is_asked)
        artifact = run(recipe)
        weights.append((artifact.weights / "adapter_model.safetensors").read_bytes())
        weights.append(losses(artifact))  # type: ignore[arg-type]
    assert weights[:2] == weights[2:]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # PEFT reads the old name
def test_plain_transformers_and_peft_open_what_was_saved(whisper: Path, tmp_path: Path) -> None:
    artifact = run(parse_recipe(speech_settings(tmp_path, whisper)))
    base = AutoModelForSpeechSeq2Seq.from_pretrained(whisper, dtype=torch.float32)
    plain = PeftModel.from_pretrained(base, artifact.weights)
    extractor = AutoFeatureExtractor.from_pretrained(artifact.weights)
    tokenizer = load_tokenizer(artifact.weights)
    for line in artifact.generations:
        wave, rate = soundfile.read(tmp_path / line["prompt"], dtype="float32")
        features = extractor(wave, sampling_rate=rate, return_tensors="pt").input_features
        tokens = plain.generate(features, max_new_tokens=8, do_sample=False)
        assert tokenizer.decode(tokens[0], skip_special_tokens=True).strip() == line["after"]
    config = json.loads((artifact.weights / "adapter_config.json").read_text())
    assert config["task_type"] is None


def test_check_shows_clips_transcripts_and_what_was_done_to_them(tmp_path: Path, whisper: Path, desk: Desk) -> None:
    write_speech(tmp_path, rate=8_000)
    stereo = np.stack([tone("red", seconds=0.4), tone("bad", seconds=0.4)], axis=1)
    soundfile.write(tmp_path / "clips" / "red-0.wav", stereo, RATE)
    tree = speech_settings(tmp_path, whisper)
    write_speech(tmp_path, rate=8_000)
    soundfile.write(tmp_path / "clips" / "red-0.wav", stereo, RATE)
    desk.tree = tree
    done = desk.tenfold("check", desk.recipe(data={"test_share": 0}), "--no-trial")
    assert done.code == 0, done.text
    shown = " ".join(done.out.split())
    assert "note train rows: in 31 of 32 rows 8,000 Hz is resampled to 16,000 Hz" in shown
    assert "note train rows: in 1 of 32 rows 2 channels are mixed down to one: speech.jsonl, line 1" in shown
    assert "<green-2.wav> → <|startoftranscript|><|notimestamps|>⟦ green<|endoftext|>⟧" in shown


def test_a_rate_far_below_the_models_is_noted_as_such(tmp_path: Path, whisper: Path, desk: Desk) -> None:
    desk.tree = speech_settings(tmp_path, whisper)
    soundfile.write(tmp_path / "clips" / "red-0.wav", tone("red", seconds=0.4, rate=1_000), 1_000)
    shown = desk.tenfold("check", desk.recipe(data={"test_share": 0}), "--no-trial").out
    told = "in 1 of 32 rows 1,000 Hz, less than half of the rate that the model knows, is resampled to 16,000 Hz"
    assert told in " ".join(shown.split())


def test_a_ctc_models_frame_is_what_its_convolutions_span(tmp_path: Path) -> None:
    folder = save_ctc(tmp_path / "ctc")
    network = outline(folder)
    features = open_processor(folder, network.config, load_tokenizer(folder), "speech_encoder").features
    frame = features.frame_samples
    assert [features.positions(length) for length in (frame - 1, frame)] == [0, 1]


def test_other_rates_sound_as_the_models_own(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "high.wav", tone("red", seconds=0.5), RATE)
    soundfile.write(tmp_path / "low.flac", tone("red", seconds=0.5, rate=8_000), 8_000)
    high, low = (read_audio(tmp_path / name, rate=RATE) for name in ("high.wav", "low.flac"))
    assert len(high) == len(low) == look_at(tmp_path / "low.flac").num_samples(RATE)
    # a filter rings at the ends; 16 bits and the filter's own error between them
    assert np.abs(high - low)[200:-200].max() < 0.01


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("frames_huge.flac", "cannot be read any more|samples that it names"),
        ("nan.wav", "samples that are not finite numbers"),
        ("rate_huge.wav", "2,147,483,647 samples a second"),
        ("rate_one.wav", "1 samples a second"),
    ],
)
def test_a_header_that_promises_more_than_there_is_and_sound_that_is_no_number_are_told(name: str, told: str) -> None:
    path = CORPUS / "audio" / name
    with pytest.raises((RowFault, DataError), match=told):
        look_at(path)
        read_audio(path, rate=RATE)


def test_a_long_clip_of_several_channels_is_read_whole(tmp_path: Path) -> None:
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, (3 * BLOCK // 2, 2)).astype(np.float32)
    soundfile.write(tmp_path / "long.wav", sound, RATE, subtype="FLOAT")
    assert np.array_equal(read_audio(tmp_path / "long.wav", rate=RATE), sound.mean(axis=1))


def refused(recipe: Recipe, *told: str) -> None:
    with pytest.raises(UserError) as error:
        run(recipe)
    for text in told:
        assert text in str(error.value), str(error.value)


@pytest.mark.parametrize(
    ("samples", "told"),
    [
        (None, "no audio file"),
        (np.zeros(0, dtype=np.float32), "holds no sound"),
        (np.zeros(RATE + 1, dtype=np.float32), "lasts 1.0 s, and the model hears 1 s at most"),
        (np.zeros(1, dtype=np.float32), "lasts 0.0625 ms, and one frame of the model 25"),
        (b"no audio at all", "is no audio that can be read"),
    ],
    ids=["missing", "empty", "too long", "one sample", "not audio"],
)
def test_a_clip_that_cannot_be_heard_is_refused_with_its_row(
    samples: Any, told: str, whisper: Path, tmp_path: Path
) -> None:
    recipe = parse_recipe(speech_settings(tmp_path, whisper))
    path = tmp_path / "clips" / "blue-1.wav"
    path.unlink()
    if isinstance(samples, bytes):
        path.write_bytes(samples)
    elif samples is not None:
        soundfile.write(path, samples, RATE)
    refused(recipe, "speech.jsonl, line 2", told, "clips/blue-1.wav")


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"audio": "clips/red-0.wav", "text": " "}, "the response is empty"),
        ({"audio": "", "text": "red"}, "'audio' is empty"),
        ({"audio": {"bytes": "x"}, "text": "red"}, "column 'audio' is an object, not text"),
    ],
)
def test_rows_without_a_path_or_a_transcript_are_refused(
    row: dict[str, object], told: str, whisper: Path, tmp_path: Path
) -> None:
    settings = speech_settings(tmp_path, whisper)
    with (tmp_path / "speech.jsonl").open("a") as file:
        file.write(json.dumps({**row, "clip": 99}) + "\n")
    refused(parse_recipe(settings), "speech.jsonl, line 33", told)


def test_letters_and_lengths_that_an_alignment_cannot_have_are_refused(tmp_path: Path) -> None:
    settings = speech_settings(tmp_path, save_ctc(tmp_path / "ctc"))
    rows = [{"audio": "clips/red-0.wav", "text": "Züge", "clip": 90}]
    rows.append({"audio": "clips/red-0.wav", "text": "redredredredredred", "clip": 91})
    with (tmp_path / "speech.jsonl").open("a") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))
    refused(parse_recipe(settings), "the model writes no 'Z', 'ü'", "has 18 tokens, the clip of 0.30 s only 14 places")


def test_the_language_is_asked_for_where_the_model_is_told_it_and_only_there(whisper: Path, tmp_path: Path) -> None:
    both = save_whisper(tmp_path / "both", is_multilingual=True)
    refused(parse_recipe(speech_settings(tmp_path, both)), "nothing says which", "data.language")
    refused(parse_recipe(speech_settings(tmp_path, both, data={"language": "klingon"})), "no language 'klingon'")
    refused(parse_recipe(speech_settings(tmp_path, whisper, data={"language": "it"})), "this model is told none")


def test_rows_and_models_that_do_not_go_together_are_refused(whisper: Path, settings: Settings, tmp_path: Path) -> None:
    speech = speech_settings(tmp_path, whisper)
    refused(parse_recipe({**speech, "model": settings["model"]}), "rows of format speech", "the family decoder")
    refused(parse_recipe({**speech, "data": settings["data"]}), "rows of format prompt_completion", "speech_encoder_de")
    prompt = {"kind": "prompt", "num_virtual_tokens": 2}
    refused(parse_recipe({**speech, "tuner": prompt}), "this model hears speech")
    ctc = save_ctc(tmp_path / "ctc")
    smoothed = speech_settings(tmp_path, ctc, optim={"label_smoothing": 0.1})
    refused(parse_recipe(smoothed), "optim.label_smoothing")
    assert not (tmp_path / "out").exists(), "told before anything is written"
    judged = speech_settings(tmp_path, whisper, evaluation={"metrics": ["accuracy"]})
    refused(parse_recipe(judged), "evaluation.metrics: accuracy cannot be measured where rows are answered in words")


def test_the_same_transcript_or_the_same_sound_on_two_sides_is_refused(whisper: Path, tmp_path: Path) -> None:
    settings = speech_settings(tmp_path, whisper, gate={"allow": []})
    (tmp_path / "clips" / "other.wav").write_bytes((tmp_path / "clips" / "red-0.wav").read_bytes())
    rows = [{"audio": "clips/other.wav", "text": "something else"}, {"audio": "clips/bad-7.wav", "text": "BAD!"}]
    test = tmp_path / "test.jsonl"
    test.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings["data"] = {"train": settings["data"]["train"], "test": str(test)}
    refused(
        parse_recipe(settings),
        "1 of 2 rows have a transcript that also occurs in training, 2 the same audio",
    )


def test_a_changed_clip_is_another_run(whisper: Path, tmp_path: Path) -> None:
    recipe = parse_recipe(speech_settings(tmp_path, whisper))
    run(recipe)
    soundfile.write(tmp_path / "clips" / "red-0.wav", tone("red", seconds=0.9), RATE)
    refused(recipe, "belongs to a different recipe", "these have changed since", "train rows (speech.jsonl)")


def test_without_the_audio_packages_the_message_says_what_to_install(
    whisper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = parse_recipe(speech_settings(tmp_path, whisper))
    monkeypatch.setitem(sys.modules, "soundfile", None)
    refused(recipe, "soundfile is not installed", "pip install 'tenfold[speech]'")


def test_predict_names_a_file_that_cannot_be_heard(whisper: Path, tmp_path: Path) -> None:
    artifact = run(parse_recipe(speech_settings(tmp_path, whisper)))
    with pytest.raises(UserError, match=r"--prompt(.|\n)*no audio file(.|\n)*start in the folder where you run"):
        predict(artifact, prompts=[str(tmp_path / "nothing.wav")])
    rows = tmp_path / "new.jsonl"
    rows.write_text('{"audio": "clips/red-0.wav"}\n')
    (line,) = predict(artifact, prompts=[], data=str(rows))
    assert {"audio", "response"} <= set(json.loads(line))
