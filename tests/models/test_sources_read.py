"""Models with an encoder: their own loss, each row as if it were alone, and answers that plain transformers gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoModelForSpeechSeq2Seq

from tenfold.data.batch import IGNORED, Batch, Entry
from tenfold.data.prepare import Prepared, prepare
from tenfold.data.sources import open_rows
from tenfold.models.encoder_decoder import EncoderDecoder
from tenfold.models.load import load_tokenizer
from tenfold.models.open import open_model, processor_of
from tenfold.models.speech_encoder import SpeechEncoder
from tenfold.models.trunk import Trunk
from tenfold.recipe import DataSection
from tenfold.tasks.task import make_kind
from tests.tiny_sources import (
    TEXT_FAMILIES,
    save_ctc,
    save_encoder_decoder,
    save_whisper,
    write_speech,
    write_translations,
)

CPU = torch.device("cpu")
FAMILIES = (*TEXT_FAMILIES, "whisper", "whisper_multilingual", "wav2vec2", "wav2vec2_group", "hubert")


def opened(family: str, tmp_path: Path) -> tuple[Trunk, Prepared]:
    """Return a tiny model and the rows that it learns from."""
    folder, data = tmp_path / family, DataSection(train="unused")
    if family in TEXT_FAMILIES:
        save_encoder_decoder(folder, family)
    elif family.startswith("whisper"):
        save_whisper(folder, is_multilingual=family == "whisper_multilingual")
        data = data.model_copy(update={"language": "italian"} if family == "whisper_multilingual" else {})
    else:
        save_ctc(folder, family.removesuffix("_group"), norm="group" if family.endswith("_group") else "layer")
    model = open_model(folder, load_tokenizer(folder), dtype=torch.float32, device=CPU)
    rows = write_translations(tmp_path) if family in TEXT_FAMILIES else write_speech(tmp_path)
    table = open_rows(str(rows))
    return model, prepare(table, make_kind(table, processor_of(model), data, task="main").renderer)


def batch_of(prepared: Prepared, places: range) -> Batch:
    return prepared.batch(prepared.entries(list(places)))


def own_loss(model: Trunk, entry: Entry, batch: Batch) -> float:
    """Return the sum that the model itself computes from labels, for a batch of one row."""
    assert batch.source is not None
    inputs = dict(batch.source.read())
    in_loss = torch.tensor([entry.supervised])
    ids = torch.tensor([entry.input_ids])
    with torch.no_grad():
        if isinstance(model, SpeechEncoder):
            return float(model.base(**inputs, labels=ids[in_loss][None]).loss)
        labels = torch.where(in_loss, ids, IGNORED)[:, 1:]
        output = model.base(**inputs, decoder_input_ids=ids[:, :-1], labels=labels)
        return float(output.loss) * int((labels != IGNORED).sum())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_the_models_own_and_each_rows_is_that_of_the_row_alone(family: str, tmp_path: Path) -> None:
    model, prepared = opened(family, tmp_path)
    assert isinstance(model, EncoderDecoder | SpeechEncoder)
    batch = batch_of(prepared, range(5))
    assert batch.num_supervised > 10
    expected = [own_loss(model, prepared.row(row), batch_of(prepared, range(row, row + 1))) for row in range(5)]
    # fp32, the same sums in another order and over padded lines
    assert float(model.loss_sum(batch).detach()) == pytest.approx(sum(expected), rel=2e-5)
    assert model.row_losses(batch).tolist() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_of_a_batch_are_those_of_each_row_alone(family: str, tmp_path: Path) -> None:
    model, prepared = opened(family, tmp_path)
    assert isinstance(model, EncoderDecoder | SpeechEncoder)
    starts = [Entry(*entry[:1], *given(entry), *entry[3:]) for entry in prepared.entries(list(range(6)))]
    together = model.answers(prepared.batch(starts), max_new_tokens=8)
    alone = [model.answers(prepared.batch([entry]), max_new_tokens=8)[0] for entry in starts]
    assert together == alone
    assert any(answer.text for answer in together), "random as it is, it says something"


def given(entry: Entry) -> tuple[list[int], list[bool]]:
    count = entry.supervised.index(True)
    return entry.input_ids[:count], entry.supervised[:count]


def test_a_norm_over_the_whole_line_is_noticed(tmp_path: Path) -> None:
    group, layer = (opened(family, tmp_path / family)[0] for family in ("wav2vec2_group", "wav2vec2"))
    assert isinstance(group, SpeechEncoder) and isinstance(layer, SpeechEncoder)
    assert not group.hears_together and layer.hears_together


@pytest.fixture(autouse=True)
def folders(tmp_path: Path) -> None:
    for family in ("wav2vec2_group", "wav2vec2"):
        (tmp_path / family).mkdir()


@pytest.mark.parametrize("family", ["t5", "bart", "m2m_100"])
def test_text_answers_are_those_of_plain_transformers(family: str, tmp_path: Path) -> None:
    model, prepared = opened(family, tmp_path)
    assert isinstance(model, EncoderDecoder)
    entries = prepared.entries(list(range(4)))
    plain = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / family, dtype=torch.float32)
    for entry in entries:
        tokens = plain.generate(input_ids=torch.tensor([entry.source]), max_new_tokens=8, do_sample=False)
        expected = model.tokenizer.decode(tokens[0], skip_special_tokens=True).strip()
        asked = Entry(0, *given(entry), *entry[3:])
        assert model.answers(prepared.batch([asked]), max_new_tokens=8)[0].text == expected


@pytest.mark.parametrize("family", ["whisper", "whisper_multilingual"])
def test_whispers_answers_are_those_of_its_own_generate(family: str, tmp_path: Path) -> None:
    model, prepared = opened(family, tmp_path)
    assert isinstance(model, EncoderDecoder)
    plain = AutoModelForSpeechSeq2Seq.from_pretrained(tmp_path / family, dtype=torch.float32)
    told = {"language": "it", "task": "transcribe"} if family == "whisper_multilingual" else {}
    for entry in prepared.entries([0, 3]):
        batch = prepared.batch([Entry(0, *given(entry), *entry[3:])])
        assert batch.source is not None
        features = batch.source.read()["input_features"]
        assert features.shape == (1, 20, 100), "a whole window, however short the clip"
        tokens = plain.generate(features, max_new_tokens=8, do_sample=False, **told)
        expected = model.tokenizer.decode(tokens[0], skip_special_tokens=True).strip()
        assert model.answers(batch, max_new_tokens=8)[0].text == expected


def test_whisper_is_told_language_and_task_and_writes_no_times(tmp_path: Path) -> None:
    model, prepared = opened("whisper_multilingual", tmp_path)
    entry = prepared.row(0)
    given_tokens = model.tokenizer.convert_ids_to_tokens(given(entry)[0])
    assert given_tokens == ["<|startoftranscript|>", "<|it|>", "<|transcribe|>", "<|notimestamps|>"]
    learned = [token for token, kept in zip(entry.input_ids, entry.supervised, strict=True) if kept]
    assert model.tokenizer.decode(learned[:-1]) == " red" and learned[-1] == model.tokenizer.eos_token_id
