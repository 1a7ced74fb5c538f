from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tenfold.kernels import output_layer as module
from tenfold.kernels.linear_cross_entropy import linear_cross_entropy
from tenfold.kernels.linear_distillation import (
    Mixture,
    TopTokens,
    distillation_of_logits,
    linear_distillation,
    top_of_logits,
    top_tokens,
)
from tenfold.kernels.output_layer import Cap

VOCABULARY = 37
DIVERGENCES = ("forward_kl", "reverse_kl", "jsd")


def parts(
    num_rows: int, *, k: int = 5, dtype: torch.dtype = torch.float32, has_bias: bool = True
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, TopTokens]:
    torch.manual_seed(0)
    hidden = torch.randn(num_rows, 16).to(dtype).requires_grad_()
    weight = torch.randn(VOCABULARY, 16).to(dtype).requires_grad_()
    bias = torch.randn(VOCABULARY).to(dtype).requires_grad_() if has_bias else None
    teacher = top_of_logits(3 * torch.randn(num_rows, VOCABULARY), k=k, temperature=2.0)
    return hidden, weight, torch.randint(VOCABULARY, (num_rows,)), bias, teacher


def results(loss: Tensor, wanted: list[Tensor]) -> list[Tensor]:
    return [loss.detach(), *torch.autograd.grad(loss / 7, wanted)]


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five rows to a piece."""
    monkeypatch.setattr(module, "PIECE_BYTES", 5 * 4 * VOCABULARY)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("num_rows", [0, 1, 23])
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize(
    "options",
    [
        {"alpha": 1.0, "temperature": 1.0},
        {"alpha": 0.0, "temperature": 1.0, "label_smoothing": 0.1},
        {"alpha": 0.4, "temperature": 3.0, "beta": 0.2, "softcap": 3.0, "scale": 0.5},
    ],
    ids=str,
)
def test_values_and_gradients_equal_the_reference(
    num_rows: int, has_bias: bool, divergence: Any, options: dict[str, float]
) -> None:
    hidden, weight, targets, bias, teacher = parts(num_rows, has_bias=has_bias)
    wanted = [part for part in (hidden, weight, bias) if part is not None]
    cap = Cap(options.pop("scale", 1.0), options.pop("softcap", None))
    mixture = Mixture(divergence=divergence, **options)  # type: ignore[arg-type]
    ours = linear_distillation(
        hidden, weight, targets, teacher, mixture, bias=bias, softcap=cap.softcap, scale=cap.scale
    )
    plain = distillation_of_logits(cap.reference(hidden, weight, bias), targets, teacher, mixture)
    for mine, theirs in zip(results(ours, wanted), results(plain, wanted), strict=True):
        torch.testing.assert_close(mine, theirs, atol=2e-5, rtol=1e-5)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("has_autocast", [True, False])
def test_bf16_products_with_an_fp32_softmax(divergence: Any, has_autocast: bool) -> None:
    dtype = torch.float32 if has_autocast else torch.bfloat16
    hidden, weight, targets, bias, teacher = parts(203, dtype=dtype)
    assert bias is not None
    mixture = Mixture(alpha=0.5, temperature=2.0, divergence=divergence)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=has_autocast):
        loss = linear_distillation(hidden, weight, targets, teacher, mixture, bias=bias)
    ours = results(loss, [hidden, weight, bias])
    assert [part.dtype for part in ours] == [torch.float32, dtype, dtype, dtype]
    exact = [part.detach().float().requires_grad_() for part in (hidden, weight, bias)]
    logits = functional.linear(exact[0], exact[1], exact[2])
    theirs = results(distillation_of_logits(logits, targets, teacher, mixture), exact)
    for mine, other in zip(ours, theirs, strict=True):  # logits rounded to 8 bits: about 1 % of a probability
        assert (mine.float() - other).norm() < 0.015 * other.norm()


def full_divergence(log_q: Tensor, log_p: Tensor, divergence: str, beta: float) -> Tensor:
    """Return the divergence over the whole vocabulary, by torch's own `kl_div`."""

    def kl(first: Tensor, second: Tensor) -> Tensor:
        return functional.kl_div(second, first, reduction="sum", log_target=True)

    if divergence == "forward_kl":
        return kl(log_q, log_p)
    if divergence == "reverse_kl":
        return kl(log_p, log_q)
    middle = (beta * log_q.exp() + (1 - beta) * log_p.exp()).log()
    return beta * kl(log_q, middle) + (1 - beta) * kl(log_p, middle)


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("k", [1, 5, 36, 37])
def test_with_all_tokens_it_is_the_divergence_itself_and_with_fewer_never_more(divergence: Any, k: int) -> None:
    torch.manual_seed(1)
    logits = torch.randn(11, VOCABULARY, dtype=torch.float32, requires_grad=True)
    teacher_logits = 2 * torch.randn(11, VOCABULARY)
    mixture = Mixture(alpha=1.0, temperature=2.0, divergence=divergence, beta=0.3)
    teacher = top_of_logits(teacher_logits, k=k, temperature=2.0)
    identity = torch.eye(VOCABULARY)
    targets = torch.zeros(11, dtype=torch.int64)
    found = linear_distillation(logits, identity, targets, teacher, mixture)
    log_q, log_p = (torch.log_softmax(each / 2.0, -1) for each in (teacher_logits, logits))
    expected = 4.0 * full_divergence(log_q, log_p, divergence, 0.3)
    if k < 36:
        assert 0 < found < expected
        return
    (ours,), (plain,) = (torch.autograd.grad(each, logits) for each in (found, expected))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)  # 407 terms of fp32
    torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-5)
    again = distillation_of_logits(logits, targets, teacher, mixture)
    torch.testing.assert_close(torch.autograd.grad(again, logits)[0], plain, rtol=1e-3, atol=1e-5)


def test_without_a_teachers_part_it_is_cross_entropy() -> None:
    hidden, weight, targets, bias, teacher = parts(9)
    mixture = Mixture(alpha=0.0, temperature=4.0, divergence="forward_kl")
    ours = linear_distillation(hidden, weight, targets, teacher, mixture, bias=bias)
    assert torch.equal(ours, linear_cross_entropy(hidden, weight, targets, bias=bias))


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_a_student_that_answers_as_its_teacher_pays_nothing(divergence: Any) -> None:
    hidden, weight, targets, _, _ = parts(9)
    teacher = top_tokens(hidden, weight, k=6, temperature=2.0)
    mixture = Mixture(alpha=1.0, temperature=2.0, divergence=divergence)
    loss = linear_distillation(hidden, weight, targets, teacher, mixture)
    (gradient,) = torch.autograd.grad(loss, hidden)
    assert loss.item() == pytest.approx(0, abs=1e-4)
    assert gradient.abs().max() < 1e-4


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_a_student_and_a_teacher_that_are_sure_of_different_tokens_give_finite_numbers(divergence: Any) -> None:
    logits = torch.zeros(2, VOCABULARY)
    logits[:, 3] = 400.0
    teacher_logits = torch.zeros(2, VOCABULARY)
    teacher_logits[:, 7] = 400.0
    logits.requires_grad_()
    teacher = top_of_logits(teacher_logits, k=4, temperature=1.0)
    mixture = Mixture(alpha=1.0, temperature=1.0, divergence=divergence)
    loss = linear_distillation(logits, torch.eye(VOCABULARY), torch.zeros(2, dtype=torch.int64), teacher, mixture)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert torch.isfinite(loss) and torch.isfinite(gradient).all()


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("num_rows", [0, 1, 23])
def test_top_tokens_are_those_of_the_whole_softmax_and_their_rest(num_rows: int) -> None:
    hidden, weight, _, bias, _ = parts(num_rows)
    found = top_tokens(hidden, weight, k=6, temperature=2.0, bias=bias, softcap=3.0, scale=0.5)
    logits = 3.0 * torch.tanh(0.5 * functional.linear(hidden, weight, bias) / 3.0)
    p = torch.softmax(logits / 2.0, -1)
    top, ids = p.topk(6)
    assert torch.equal(found.ids, ids)
    assert not found.log_probabilities.requires_grad
    torch.testing.assert_close(found.log_probabilities.exp(), top)
    torch.testing.assert_close(found.log_rest.exp(), 1 - top.sum(-1), rtol=1e-4, atol=1e-6)
