from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tenfold.kernels.lora import lora_linear, lora_linear_reference

SCALING = 0.5


def _parts(
    shape: tuple[int, ...],
    *,
    outputs: int = 13,
    rank: int = 3,
    has_bias: bool = True,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor]:
    torch.manual_seed(0)
    x = torch.randn(*shape).to(dtype).requires_grad_()
    weight = torch.randn(outputs, shape[-1]).to(dtype)
    bias = torch.randn(outputs).to(dtype) if has_bias else None
    a = torch.randn(rank, shape[-1]).requires_grad_()
    b = torch.randn(outputs, rank).requires_grad_()
    return x, weight, bias, a, b


def _results(output: Tensor, wanted: list[Tensor]) -> list[Tensor]:
    torch.manual_seed(1)
    return [output.detach(), *torch.autograd.grad(output, wanted, torch.randn(output.shape).to(output.dtype))]


@pytest.mark.parametrize("shape", [(7, 11), (1, 5), (2, 3, 8), (0, 4)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_values_and_gradients_equal_the_plain_expression(shape: tuple[int, ...], has_bias: bool) -> None:
    x, weight, bias, a, b = _parts(shape, has_bias=has_bias)
    ours = _results(lora_linear(x, weight, bias, a, b, SCALING), [x, a, b])
    plain = _results(lora_linear_reference(x, weight, bias, a, b, SCALING), [x, a, b])
    for mine, theirs in zip(ours, plain, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("has_autocast", [True, False])
def test_bf16_gives_fp32_gradients_near_the_exact_ones(has_autocast: bool) -> None:
    dtype = torch.float32 if has_autocast else torch.bfloat16
    x, weight, bias, a, b = _parts((50, 64), outputs=40, rank=4, dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=has_autocast):
        output = lora_linear(x, weight, bias, a, b, SCALING)
    assert output.dtype == torch.bfloat16
    ours = _results(output, [x, a, b])
    assert [part.dtype for part in ours] == [torch.bfloat16, dtype, torch.float32, torch.float32]
    exact_x = x.detach().float().requires_grad_()
    exact_bias = bias.float() if bias is not None else None
    exact = _results(lora_linear_reference(exact_x, weight.float(), exact_bias, a, b, SCALING), [exact_x, a, b])
    for mine, theirs in zip(ours, exact, strict=True):  # bf16 keeps 8 bits: 0.4 % a rounding, a few in a row
        assert (mine.float() - theirs).norm() < 0.01 * theirs.norm()


def test_an_input_without_gradient_gets_none() -> None:
    x, weight, bias, a, b = _parts((7, 11))
    frozen = x.detach()
    lora_linear(frozen, weight, bias, a, b, SCALING).sum().backward()
    assert frozen.grad is None
    assert a.grad is not None and b.grad is not None


def test_a_trained_weight_and_bias_get_their_gradients() -> None:
    x, weight, bias, a, b = _parts((7, 11))
    assert bias is not None
    weight.requires_grad_()
    bias.requires_grad_()
    output = lora_linear(x, weight, bias, a, b, SCALING)
    gradient = torch.randn(output.shape)
    output.backward(gradient)
    torch.testing.assert_close(weight.grad, gradient.T @ x.detach())
    torch.testing.assert_close(bias.grad, gradient.sum(0))


def test_gradients_are_those_of_finite_differences() -> None:
    x, weight, bias, a, b = (None if part is None else part.detach().double() for part in _parts((4, 5)))
    assert torch.autograd.gradcheck(
        lambda x, a, b: lora_linear(x, weight, bias, a, b, SCALING),
        [part.requires_grad_() for part in (x, a, b) if part is not None],
    )


def test_the_backward_may_run_inside_autocast_too() -> None:
    x, weight, bias, a, b = _parts((7, 11))
    output = lora_linear(x, weight, bias, a, b, SCALING)
    expected = _results(lora_linear_reference(x, weight, bias, a, b, SCALING), [x, a, b])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        results = _results(output, [x, a, b])
    for mine, theirs in zip(results, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)
