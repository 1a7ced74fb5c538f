"""The layer that tells masked words: transformers' own answers, opened from every layout, made where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import AutoModel, AutoModelForMaskedLM, PreTrainedModel

from tenfold.data.batch import IGNORED, Entry
from tenfold.data.masking import MaskedRenderer
from tenfold.models.attention import register_attention
from tenfold.models.heads import HeadSettings, load_heads, save_heads
from tenfold.models.load import load_network, outline
from tenfold.models.masked_head import holds_masked_head, open_masked_head
from tenfold.models.trunk import Route, Trunk, find_packing
from tenfold.objectives.masked_lm import MaskedLanguageModelling
from tenfold.recipe import DataSection
from tenfold.testing import check_objective
from tests.tiny_models import tiny_bert, tiny_masked_lm
from tests.tiny_tokenizers import framed_tokenizer

CPU = torch.device("cpu")
SETTINGS = HeadSettings(0, "none", tells="masked_words")
FAMILIES = ("bert", "roberta", "xlm-roberta", "distilbert")
TOKENIZER = framed_tokenizer()


def save(folder: Path, family: str) -> PreTrainedModel:
    masked = tiny_masked_lm(family, vocab_size=len(TOKENIZER))
    masked.save_pretrained(folder)
    return masked


def opened(folder: Path, *, packs: bool = True) -> Trunk:
    base = load_network(folder, dtype=torch.float32, device=CPU)
    assert isinstance(base, PreTrainedModel)
    route = find_packing(base, CPU)
    assert route.packs
    model = Trunk(base, TOKENIZER, device=CPU, route=route if packs else Route(packs=False))
    model.add_head("main", SETTINGS)
    return model


def entries(*lengths: int) -> list[Entry]:
    generator = torch.Generator().manual_seed(3)
    rows = [torch.randint(5, 250, (length,), generator=generator).tolist() for length in lengths]
    return [Entry(n, [1, *row, 2], [False, *[True] * len(row), False], draw=(7, 3)) for n, row in enumerate(rows)]


def renderer() -> MaskedRenderer:
    return MaskedRenderer(TOKENIZER, DataSection())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_that_of_transformers_on_the_same_masked_rows(family: str, tmp_path: Path) -> None:
    masked = save(tmp_path, family)
    model = opened(tmp_path)
    assert holds_masked_head(tmp_path) and model.masked_head("main").is_opened
    batch = renderer().collate(entries(40, 7, 19))
    total = MaskedLanguageModelling()(model, batch).total
    # the reference is transformers' own model, saved and opened again, on each row by itself
    own = AutoModelForMaskedLM.from_pretrained(tmp_path, attn_implementation="eager").eval()
    assert torch.equal(own.get_input_embeddings().weight, masked.get_input_embeddings().weight)
    expected = torch.zeros(())
    for ids, labels in zip(batch.input_ids.split(batch.lengths), batch.targets.split(batch.lengths), strict=True):
        with torch.no_grad():
            expected += own(input_ids=ids[None], labels=labels[None]).loss * (labels != IGNORED).sum()
    torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-4)
    losses, hits = model.judged(batch)
    torch.testing.assert_close(losses.sum(), expected, rtol=1e-5, atol=1e-4)
    assert len(losses) == len(hits) == batch.num_supervised


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_rows_learn_what_each_learns_alone(family: str, tmp_path: Path) -> None:
    save(tmp_path, family)
    rows = entries(40, 7, 19)
    whole, parts = renderer().collate(rows), [renderer().collate([row]) for row in rows]
    for model in (opened(tmp_path), opened(tmp_path, packs=False)):
        model.train_opened_heads(True)
        check_objective(MaskedLanguageModelling(), model, whole, parts)


def test_one_row_of_a_pack_does_not_see_another(tmp_path: Path) -> None:
    save(tmp_path, "bert")
    model = opened(tmp_path)
    first, other, second = entries(12, 12, 30)
    own = renderer().collate([second]).num_supervised
    with torch.no_grad():
        losses = [model.judged(renderer().collate([each, second]))[0][-own:] for each in (first, other)]
        alone = model.judged(renderer().collate([second]))[0]
    assert torch.equal(losses[0], losses[1])
    torch.testing.assert_close(losses[0], alone, rtol=1e-5, atol=1e-5)


def test_gradients_are_those_of_transformers(tmp_path: Path) -> None:
    save(tmp_path, "bert")
    model = opened(tmp_path)
    model.base.requires_grad_(True)
    (row,) = entries(40)
    batch = renderer().collate([row])
    MaskedLanguageModelling()(model, batch).total.backward()
    own = AutoModelForMaskedLM.from_pretrained(tmp_path, attn_implementation="eager").eval()
    logits = own(input_ids=batch.input_ids[None]).logits[0]
    functional.cross_entropy(logits, batch.targets, ignore_index=IGNORED, reduction="sum").backward()
    # the embeddings are read at the bottom and multiplied with at the top: both gradients are in the sum
    for ours, theirs in (
        (model.embeddings, own.get_input_embeddings().weight),
        (model.masked_head("main").dense.weight, own.cls.predictions.transform.dense.weight),
        (model.masked_head("main").bias, own.cls.predictions.bias),
    ):
        assert ours.grad is not None and theirs.grad is not None and theirs.grad.abs().sum() > 0
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-4)


def test_old_names_of_the_norm_are_read(tmp_path: Path) -> None:
    save(tmp_path, "bert")
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    renamed = {}
    for name, tensor in tensors.items():
        ending = ".".join(name.split(".")[-2:])
        is_head = name.startswith("cls.") and ending in old
        renamed[name.replace(ending, old[ending]) if is_head else name] = tensor
    assert renamed.keys() != tensors.keys()
    save_file(renamed, path, {"format": "pt"})
    head = open_masked_head(outline(tmp_path))
    assert head.is_opened
    assert torch.equal(head.norm.weight, tensors["cls.predictions.transform.LayerNorm.weight"])


@pytest.mark.parametrize("case", ["bare", "untied", "of another vocabulary"])
def test_a_head_is_made_where_there_is_none_that_fits(case: str, tmp_path: Path) -> None:
    if case == "bare":
        tiny_bert(vocab_size=len(TOKENIZER)).save_pretrained(tmp_path)
    else:
        masked = tiny_masked_lm(vocab_size=len(TOKENIZER))
        masked.config.tie_word_embeddings = case != "untied"
        masked.save_pretrained(tmp_path)
    if case == "of another vocabulary":
        path = tmp_path / "model.safetensors"
        tensors = load_file(path)
        name = next(name for name in tensors if name.startswith("cls.") and tensors[name].shape == (len(TOKENIZER),))
        save_file(tensors | {name: torch.zeros(len(TOKENIZER) + 8)}, path, {"format": "pt"})
    assert holds_masked_head(tmp_path) == (case != "bare")
    torch.manual_seed(0)
    head = open_masked_head(outline(tmp_path))
    assert not head.is_opened and not head.bias.any() and head.dense.weight.abs().sum() > 0


def test_a_saved_head_answers_as_before(tmp_path: Path) -> None:
    tiny_bert(vocab_size=len(TOKENIZER)).save_pretrained(tmp_path)
    model, again = opened(tmp_path), opened(tmp_path)
    batch = renderer().collate(entries(20))
    assert not torch.equal(model.judged(batch)[0], again.judged(batch)[0]), "each is made anew"
    save_heads(model.heads, tmp_path)
    load_heads(again.heads, tmp_path)
    assert torch.equal(model.judged(batch)[0], again.judged(batch)[0])


def test_opened_heads_train_with_the_network_and_made_ones_always(tmp_path: Path) -> None:
    save(tmp_path / "full", "bert")
    tiny_bert(vocab_size=len(TOKENIZER)).save_pretrained(tmp_path / "bare")
    with_head, made = opened(tmp_path / "full"), opened(tmp_path / "bare")
    for model in (with_head, made):
        model.train_opened_heads(False)
    assert not with_head.head_parameters() and len(made.head_parameters()) == 5
    with_head.train_opened_heads(True)
    assert len(with_head.head_parameters()) == len(with_head.opened_head_parameters()) == 5
    assert not made.opened_head_parameters()


def test_the_bare_encoder_in_the_same_folder_is_the_same(tmp_path: Path) -> None:
    register_attention()
    save(tmp_path, "roberta")
    assert torch.equal(AutoModel.from_pretrained(tmp_path).get_input_embeddings().weight, opened(tmp_path).embeddings)
