from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tenfold.kernels import output_layer as module
from tenfold.kernels.linear_cross_entropy import (
    linear_cross_entropy,
    linear_cross_entropy_reference,
    token_losses,
)

VOCABULARY = 37


def _parts(
    num_rows: int, *, dtype: torch.dtype = torch.float32, has_bias: bool = True
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    torch.manual_seed(0)
    hidden = torch.randn(num_rows, 16).to(dtype).requires_grad_()
    weight = torch.randn(VOCABULARY, 16).to(dtype).requires_grad_()
    bias = torch.randn(VOCABULARY).to(dtype).requires_grad_() if has_bias else None
    return hidden, weight, torch.randint(VOCABULARY, (num_rows,)), bias


def _results(loss: Tensor, wanted: list[Tensor]) -> list[Tensor]:
    return [loss.detach(), *torch.autograd.grad(loss / 7, wanted)]


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five rows to a piece."""
    monkeypatch.setattr(module, "PIECE_BYTES", 5 * 4 * VOCABULARY)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("num_rows", [1, 5, 23])
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"softcap": 3.0},
        {"scale": 0.25},
        {"label_smoothing": 0.1},
        {"softcap": 2.0, "scale": 1.5, "label_smoothing": 0.2},
    ],
    ids=str,
)
def test_values_and_gradients_equal_torch(num_rows: int, has_bias: bool, options: dict[str, float]) -> None:
    hidden, weight, targets, bias = _parts(num_rows, has_bias=has_bias)
    wanted = [part for part in (hidden, weight, bias) if part is not None]
    ours = _results(linear_cross_entropy(hidden, weight, targets, bias=bias, **options), wanted)
    plain = _results(linear_cross_entropy_reference(hidden, weight, targets, bias=bias, **options), wanted)
    for mine, theirs in zip(ours, plain, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("has_autocast", [True, False])
def test_bf16_products_with_an_fp32_softmax(has_autocast: bool) -> None:
    dtype = torch.float32 if has_autocast else torch.bfloat16
    hidden, weight, targets, bias = _parts(203, dtype=dtype)
    assert bias is not None
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=has_autocast):
        loss = linear_cross_entropy(hidden, weight, targets, bias=bias)
    ours = _results(loss, [hidden, weight, bias])
    assert [part.dtype for part in ours] == [torch.float32, dtype, dtype, dtype]
    exact_parts = [part.detach().float().requires_grad_() for part in (hidden, weight, bias)]
    exact = _results(
        linear_cross_entropy_reference(exact_parts[0], exact_parts[1], targets, bias=exact_parts[2]),
        exact_parts,
    )
    for mine, theirs in zip(ours, exact, strict=True):  # logits rounded to 8 bits: about 1 % of a probability
        assert (mine.float() - theirs).norm() < 0.01 * theirs.norm()


@pytest.mark.usefixtures("small_pieces")
def test_many_small_weight_gradients_are_not_lost_in_bf16() -> None:
    # 2,000 equal contributions: a bf16 sum would stop growing at 256 of them
    hidden = torch.ones(2000, 4, dtype=torch.bfloat16)
    weight = torch.zeros(VOCABULARY, 4, dtype=torch.bfloat16, requires_grad=True)
    linear_cross_entropy(hidden, weight, torch.zeros(2000, dtype=torch.int64)).backward()
    assert weight.grad is not None
    expected = 2000 * (1 / VOCABULARY - 1)
    assert weight.grad[0, 0].item() == pytest.approx(expected, rel=0.01)


def test_no_supervised_row_gives_zero_loss_and_zero_gradients() -> None:
    hidden, weight, targets, bias = _parts(0)
    assert bias is not None
    loss = linear_cross_entropy(hidden, weight, targets, bias=bias)
    loss.backward()
    assert loss.item() == 0
    assert hidden.grad is not None and hidden.grad.shape == (0, 16)
    assert weight.grad is not None and not weight.grad.any()
    assert bias.grad is not None and not bias.grad.any()


def test_a_frozen_weight_gets_no_gradient() -> None:
    hidden, weight, targets, bias = _parts(4)
    frozen = weight.detach()
    linear_cross_entropy(hidden, frozen, targets, bias=bias).backward()
    assert frozen.grad is None
    assert hidden.grad is not None


def test_a_second_backward_says_that_the_gradients_are_freed() -> None:
    hidden, weight, targets, _ = _parts(4)
    loss = linear_cross_entropy(hidden, weight, targets)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="freed by an earlier backward"):
        loss.backward()


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("num_rows", [0, 1, 23])
def test_token_losses_equal_torch_row_by_row(num_rows: int) -> None:
    hidden, weight, targets, bias = _parts(num_rows)
    losses = token_losses(hidden, weight, targets, bias=bias, softcap=3.0, scale=0.5)
    assert not losses.requires_grad
    expected = [
        linear_cross_entropy_reference(
            hidden[row : row + 1], weight, targets[row : row + 1], bias=bias, softcap=3.0, scale=0.5
        ).item()
        for row in range(num_rows)
    ]
    torch.testing.assert_close(losses, torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_the_sum_without_gradient_equals_the_one_with() -> None:
    hidden, weight, targets, _ = _parts(9)
    with torch.no_grad():
        assert linear_cross_entropy(hidden, weight, targets).item() == pytest.approx(
            linear_cross_entropy_reference(hidden, weight, targets).item(), rel=1e-6
        )
