"""Rows with labels as tokens: framed as the tokenizer frames them, cut within the frame, labels on the right tokens."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tokenizers import Tokenizer, decoders
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from tenfold.data.batch import IGNORED, LabelForm, pack_labelled
from tenfold.data.fields import RowFault
from tenfold.data.label_render import LabelRenderer
from tenfold.data.label_space import FORMS, LabelSpace, read_labels
from tenfold.data.labelled import Answer, Label, Labelled
from tenfold.data.prepare import prepare
from tenfold.data.preview import preview
from tenfold.data.rendered import Rendered
from tenfold.data.sources import open_rows
from tenfold.data.windows import Windows
from tenfold.errors import DataError
from tenfold.recipe import DataSection
from tests.tiny_tokenizers import byte_tokenizer, framed_tokenizer

NAMES = ("B-place", "I-place", "O")


def renderer(
    form: LabelForm, *, tokenizer: PreTrainedTokenizerFast | None = None, is_encoder: bool = True, max_length: int = 64
) -> LabelRenderer:
    space = LabelSpace(form, NAMES)
    data = DataSection(train="x", max_length=max_length)
    return LabelRenderer(tokenizer or framed_tokenizer(), data, space=space, is_encoder=is_encoder)


def rendered(renders: LabelRenderer, *texts: str, label: Label = "O", words: tuple[str, ...] = ()) -> Rendered:
    (found,) = renders.render_all([Labelled(texts, label, words)])
    assert isinstance(found, Rendered), found
    return found


def test_an_encoders_rows_are_framed_as_its_tokenizer_frames_them() -> None:
    tokenizer = framed_tokenizer()
    renders = renderer("class", tokenizer=tokenizer)
    assert rendered(renders, "hello world").input_ids == tokenizer("hello world")["input_ids"]
    assert rendered(renders, "hello", "the lamp").input_ids == tokenizer("hello", "the lamp")["input_ids"]


def test_a_decoders_rows_end_with_the_end_token() -> None:
    tokenizer = byte_tokenizer()
    renders = renderer("class", tokenizer=tokenizer, is_encoder=False)
    assert tokenizer.decode(rendered(renders, "hello world").input_ids) == "hello world<|endoftext|>"
    assert tokenizer.decode(rendered(renders, "hello", "lamp").input_ids) == "hello\nlamp<|endoftext|>"


@pytest.mark.parametrize(
    "texts", [("lamp " * 20,), ("lamp " * 20, "yes"), ("yes", "lamp " * 20), ("a " * 30, "b " * 30)]
)
def test_what_is_too_long_is_cut_within_the_frame(texts: tuple[str, ...]) -> None:
    tokenizer = framed_tokenizer()
    found = rendered(renderer("class", tokenizer=tokenizer, max_length=12), *texts)
    special = [tokenizer.cls_token_id, tokenizer.sep_token_id]
    assert (len(found.input_ids), found.truncated, found.response_cut) == (12, True, False)
    assert [token for token in found.input_ids if token in special] == special[:1] + special[1:] * len(texts)
    assert found.input_ids[-1] == tokenizer.sep_token_id
    if "yes" in texts:
        assert "yes" in tokenizer.decode(found.input_ids)


def test_no_room_for_a_text_is_refused() -> None:
    with pytest.raises(DataError, match=r"data.max_length: 4 leaves no room"):
        rendered(renderer("class", max_length=4), "hello world", "hello world")


def test_the_first_piece_of_a_word_carries_its_tag() -> None:
    tokenizer = framed_tokenizer()
    words = ("in", "Rutherford", "kitchen", "!?")
    found = rendered(
        renderer("tags", tokenizer=tokenizer), " ".join(words), label=("O", "B-place", "I-place", "O"), words=words
    )
    tagged = [
        (tokenizer.decode(found.input_ids[: place + 1]), NAMES[int(tag)])
        for place, tag in enumerate(found.labels)
        if tag != IGNORED
    ]
    assert [tag for _, tag in tagged] == ["O", "B-place", "I-place", "O"]
    # before each first piece stand exactly the words before it
    befores = [
        tokenizer.decode(found.input_ids[1:place]).split() for place, tag in enumerate(found.labels) if tag != IGNORED
    ]
    assert befores == [list(words[:n]) for n in range(4)]
    assert found.supervised == [tag != IGNORED for tag in found.labels]
    assert found.num_supervised == 4


def test_a_tag_or_an_answer_that_is_cut_off_is_told() -> None:
    words = ("lamp",) * 30
    cut = rendered(renderer("tags", max_length=10), " ".join(words), label=("O",) * 30, words=words)
    assert (cut.truncated, cut.response_cut) == (True, True)
    context = "lamp " * 30 + "kitchen"
    lost = rendered(renderer("span", max_length=20), "where?", context, label=(Answer("kitchen", 150),))
    assert (lost.response_cut, lost.num_supervised) == (True, 0)
    kept = rendered(renderer("span", max_length=20), "where?", context, label=(Answer("lamp", 5),))
    assert (kept.truncated, kept.response_cut, kept.num_supervised) == (True, False, 1)


@pytest.mark.parametrize("answer", ["kitchen", "the kitchen", "lamp in the kitchen, please", "please"])
def test_an_answers_ends_lie_on_its_tokens(answer: str) -> None:
    tokenizer, context = framed_tokenizer(), "the lamp in the kitchen, please"
    found = rendered(
        renderer("span", tokenizer=tokenizer), "where is it?", context, label=(Answer(answer, context.find(answer)),)
    )
    first, last = map(int, found.labels)
    assert tokenizer.decode(found.input_ids[first : last + 1]).strip() == answer


def test_a_label_that_training_never_met_is_a_fault_of_its_row(write_rows: Callable[..., str]) -> None:
    rows = open_rows(write_rows([{"text": "a", "label": "kitchn"}]))
    space = LabelSpace("class", ("kitchen", "hall"))
    renders = LabelRenderer(framed_tokenizer(), DataSection(train="x"), space=space, is_encoder=True)
    with pytest.raises(DataError, match=r"rows.jsonl, line 1: label 'kitchn' is not one(.|\n)*did you mean 'kitchen'"):
        prepare(rows, renders)


def test_a_word_without_a_token_is_a_fault() -> None:
    (found,) = renderer("tags").render_all([Labelled(("a",), ("O", "O"), ("a", "b"))])  # the text lacks its word
    assert isinstance(found, RowFault) and "word 2, 'b', has no token" in str(found)


SHOWN: dict[str, tuple[list[object], str, str]] = {
    "classification": ([{"text": f"t{n % 3}", "label": f"l{n % 3}"} for n in range(6)], "l", ""),
    "multi_label": ([{"text": f"t{n % 3}", "labels": ["x", f"l{n % 3}"]} for n in range(6)], "l", ""),
    "regression": ([{"text": f"t{n}", "target": n} for n in range(6)], "", ""),
    "tags": ([{"tokens": ["g", f"t{n % 2}"], "tags": ["O", f"l{n % 2}"]} for n in range(6)], "O l", "gt"),
    "span": ([{"question": "q", "context": f"in hall {n}", "answer": "hall"} for n in range(6)], "hall", "hall"),
}


@pytest.mark.parametrize("format", SHOWN)
def test_the_preview_shows_the_label_of_the_batch(write_rows: Callable[..., str], format: str) -> None:
    content, start, marked = SHOWN[format]
    rows, data = open_rows(write_rows(content)), DataSection(train="x")
    renders = LabelRenderer(framed_tokenizer(), data, space=read_labels(rows, data), is_encoder=True)
    prepared = prepare(rows, renders)
    assert prepared.form == FORMS[format]
    shown = preview(Windows(prepared, batch_size=3, micro_batch_tokens=20, seed=0), renders, num_rows=4).rows
    assert len(shown) == 4
    for row in shown:
        number = int(row.origin.rsplit(" ", 1)[1]) - 1
        source = content[number]
        assert isinstance(source, dict)
        label = source[list(source)[-1]]
        assert (
            row.label == " ".join(sorted(label) if format == "multi_label" else label)
            if isinstance(label, list)
            else str(label)
        )
        assert row.label.startswith(start)
        assert "".join(text for text, in_loss in row.runs if in_loss).replace(" ", "").startswith(marked)


@pytest.mark.parametrize(
    ("form", "labels", "expected"),
    [
        ("class", [(1.0,), (0.0,)], torch.tensor([1, 0])),
        ("classes", [(1.0, 0.0), (1.0, 1.0)], torch.tensor([[1.0, 0.0], [1.0, 1.0]])),
        ("value", [(0.5,), (-1.0,)], torch.tensor([0.5, -1.0])),
        ("tags", [(1.0, -100.0), (2.0,)], torch.tensor([1, -100, 2])),
        ("span", [(0.0, 1.0), (0.0, 0.0)], torch.tensor([[0, 1], [0, 0]])),
    ],
)
def test_a_batch_holds_the_labels_of_its_rows(
    form: LabelForm, labels: list[tuple[float, ...]], expected: torch.Tensor
) -> None:
    from tenfold.data.batch import Entry

    batch = pack_labelled([Entry(0, [5, 6], [True, False], labels[0]), Entry(1, [7], [True], labels[1])], form=form)
    assert batch.labels is not None and batch.labels.dtype == expected.dtype
    assert torch.equal(batch.labels, expected)
    assert batch.num_supervised == 0


def test_words_of_an_encoder_are_shown_apart_and_pieces_of_a_word_together() -> None:
    names = ["[UNK]", "lamp", "##shade", "on"]
    wordpiece = Tokenizer(WordPiece({name: index for index, name in enumerate(names)}, unk_token="[UNK]"))
    wordpiece.pre_tokenizer = Whitespace()
    wordpiece.decoder = decoders.WordPiece()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=wordpiece, unk_token="[UNK]")
    renders = renderer("class", tokenizer=tokenizer)
    assert renders.text_of(tokenizer("lampshade on")["input_ids"]) == " lampshade on"
