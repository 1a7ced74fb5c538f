"""The fastest right route through a model: found for every family, dropped where it would be wrong."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tenfold.data.batch import Batch, pack
from tenfold.models.attention import register_attention
from tenfold.models.language_model import LanguageModel, find_route
from tenfold.recipe.tuners import Lora, Partial, Peft, TunerSettings
from tenfold.tuning.tuner import make_tuner
from tests.tiny_models import FAMILIES, VOCABULARY, tiny_model

CPU = torch.device("cpu")
LENGTHS = (9, 4, 12, 2, 7)

Rows = list[tuple[int, list[int], list[bool]]]


def rows() -> Rows:
    """Rows of different lengths, the first third of each (and always its first token) out of the loss."""
    generator = torch.Generator().manual_seed(3)
    return [
        (
            number,
            torch.randint(3, VOCABULARY, (length,), generator=generator).tolist(),
            [place > length // 3 for place in range(length)],
        )
        for number, length in enumerate(LENGTHS)
    ]


def batch() -> Batch:
    return pack(rows())


def own_losses(causal: PreTrainedModel) -> list[float]:
    """Return the loss of each row that the model itself computes from labels, a row at a time, as a sum."""
    losses = []
    for _, ids, in_loss in rows():
        input_ids = torch.tensor([ids])
        labels = torch.tensor([[token if kept else -100 for token, kept in zip(ids, in_loss, strict=True)]])
        with torch.no_grad():
            losses.append(float(causal(input_ids=input_ids, labels=labels).loss) * sum(in_loss[1:]))
    return losses


def opened(family: str) -> PreTrainedModel:
    register_attention()
    return tiny_model(family, attention="tenfold")


def routed(causal: PreTrainedModel) -> LanguageModel:
    return LanguageModel(causal, None, device=CPU, route=find_route(causal, CPU))  # type: ignore[arg-type]


def assert_right(model: LanguageModel) -> None:
    expected = own_losses(model.base)
    # fp32, the same sums in another order
    assert float(model.loss_sum(batch()).detach()) == pytest.approx(sum(expected), rel=1e-5)
    found = model.token_losses(batch())
    counts = [sum(in_loss[1:]) for _, _, in_loss in rows()]
    assert [float(row.sum()) for row in found.split(counts)] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_packs_splits_its_head_and_has_its_own_loss(family: str) -> None:
    model = routed(opened(family))
    assert (model.route.packs, model.route.splits_head) == (True, True)
    assert_right(model)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_models_own_attention_is_right_too(attention: str) -> None:
    assert_right(routed(tiny_model("llama", attention=attention)))


def test_a_head_that_does_more_than_multiply_is_not_split() -> None:
    causal = opened("llama")

    def scale(module: nn.Module, inputs: tuple[Tensor], logits: Tensor) -> Tensor:
        return 1.5 * logits

    causal.lm_head.register_forward_hook(scale)
    model = routed(causal)
    assert (model.route.packs, model.route.splits_head) == (True, False)
    assert_right(model)


def test_a_model_that_looks_across_rows_is_not_packed() -> None:
    causal = opened("llama")

    def mix(module: nn.Module, inputs: tuple[Tensor], embedded: Tensor) -> Tensor:
        # a causal convolution over two tokens, as in models that are not all attention: it sees the row before
        return embedded + 0.5 * nn.functional.pad(embedded, (0, 0, 1, 0))[:, :-1]

    causal.get_input_embeddings().register_forward_hook(mix)
    model = routed(causal)
    assert (model.route.packs, model.route.splits_head) == (False, True)
    assert_right(model)


def test_with_both_short_cuts_off_it_is_still_right() -> None:
    causal = opened("llama")

    def mix(module: nn.Module, inputs: tuple[Tensor], embedded: Tensor) -> Tensor:
        return embedded + 0.5 * nn.functional.pad(embedded, (0, 0, 1, 0))[:, :-1]

    causal.get_input_embeddings().register_forward_hook(mix)
    causal.lm_head.register_forward_hook(lambda module, inputs, logits: logits.tanh())
    model = routed(causal)
    assert (model.route.packs, model.route.splits_head, model.route.compacts) == (False, False, False)
    assert_right(model)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("family", ["gemma2", "gpt2"])
def test_gradients_are_those_of_the_models_own_forward(family: str, smoothing: float) -> None:
    model = routed(opened(family))
    model.loss_sum(batch(), label_smoothing=smoothing).backward()
    found = {name: weight.grad for name, weight in model.base.named_parameters()}
    model.base.zero_grad()
    for _, ids, in_loss in rows():
        logits = model.base(input_ids=torch.tensor([ids])).logits[0, :-1]
        kept = torch.tensor(in_loss[1:])
        nn.functional.cross_entropy(
            logits[kept], torch.tensor(ids[1:])[kept], reduction="sum", label_smoothing=smoothing
        ).backward()
    for name, weight in model.base.named_parameters():
        # fp32 through two layers and a wide vocabulary, summed in another order
        torch.testing.assert_close(found[name], weight.grad, rtol=1e-3, atol=1e-4)


TIED_TOKENS = Peft(method="TRAINABLE_TOKENS", options={"token_indices": [5, 6, 7], "target_modules": ["embed_tokens"]})


@pytest.mark.parametrize(
    ("settings", "splits_head"),
    [
        (Lora(rank=2), True),
        (Lora(rank=2, also_train=("lm_head",)), True),
        (Lora(rank=2, targets=("embed_tokens", "q_proj")), True),
        (Partial(modules=("lm_head",)), True),
        (Lora(rank=2, targets=("lm_head", "q_proj")), False),
        (Lora(rank=2, targets=("lm_head", "q_proj"), decomposed=True), False),
        (TIED_TOKENS, False),
    ],
    ids=["lora", "also_train", "embedding", "partial", "head", "dora_head", "tied_tokens"],
)
def test_what_trains_in_the_output_layer_is_in_the_loss(settings: TunerSettings, splits_head: bool) -> None:
    register_attention()
    causal = tiny_model("llama", attention="tenfold", tie_word_embeddings=settings is TIED_TOKENS)
    model, tuner = routed(causal), make_tuner(settings)
    model.wrap(tuner.attach(causal), packs=True, autocast=None)
    assert (model.route.packs, model.route.splits_head) == (True, splits_head)
    trainable = tuner.trainable(model.network)
    assert {name for name, weight in causal.named_parameters() if weight.requires_grad}
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in trainable.values():
            weight += 0.1 * torch.randn(weight.shape, generator=generator)
    assert_right(model)
    model.loss_sum(batch()).backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in trainable.values())
