"""Fused projections beside their plain references: values and all gradients, over dtypes and odd sizes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from tenfold.kernels.normed_projection import normed_projections, normed_projections_reference
from tenfold.kernels.projection import Projection
from tenfold.kernels.residual_projection import (
    gated_projection,
    gated_projection_reference,
    residual_projection,
    residual_projection_reference,
)
from tenfold.kernels.rotary import rotated, rotated_reference

TRAINS = {"lora": ("a", "b"), "all": ("weight", "bias", "a", "b"), "base": ("weight", "bias")}


def _normal(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape).to(dtype)


def _projection(
    inputs: int, outputs: int, *, rank: int, has_bias: bool, trains: str, dtype: torch.dtype = torch.float32
) -> Projection:
    wanted = TRAINS[trains]
    bias = _normal(outputs, dtype=dtype).requires_grad_("bias" in wanted) if has_bias else None
    return Projection(
        weight=_normal(outputs, inputs, dtype=dtype).requires_grad_("weight" in wanted),
        bias=bias,
        a=_normal(rank, inputs).requires_grad_("a" in wanted) if rank else None,
        b=_normal(outputs, rank).requires_grad_("b" in wanted) if rank else None,
        scaling=0.5 + rank,
    )


def _group(trains: str, dtype: torch.dtype = torch.float32) -> list[Projection]:
    """Three layers of one input: with an update, with another rank and a bias, and with none."""
    shapes = ((13, 3, False), (5, 2, True), (7, 0, True))
    return [
        _projection(11, outputs, rank=rank, has_bias=has_bias, trains=trains, dtype=dtype)
        for outputs, rank, has_bias in shapes
    ]


def _trained(projections: Sequence[Projection]) -> list[Tensor]:
    return [tensor for each in projections for tensor in each.tensors if tensor is not None and tensor.requires_grad]


def _results(outputs: Sequence[Tensor], wanted: list[Tensor]) -> list[Tensor]:
    torch.manual_seed(1)
    upstream = [torch.randn(output.shape).to(output.dtype) for output in outputs]
    return [output.detach() for output in outputs] + list(torch.autograd.grad(list(outputs), wanted, upstream))


def _assert_equal(ours: list[Tensor], plain: list[Tensor]) -> None:
    for mine, theirs in zip(ours, plain, strict=True):
        assert mine.dtype == theirs.dtype
        torch.testing.assert_close(mine, theirs, atol=2e-4, rtol=2e-5)  # sums of up to 40 products, in another order


def _assert_near(ours: list[Tensor], exact: list[Tensor]) -> None:
    for mine, reference in zip(ours, exact, strict=True):
        # bf16 keeps 8 bits; a few roundings in a row come to about 1 %
        assert (mine.float() - reference).norm() <= 0.02 * reference.norm()


@pytest.mark.parametrize("tokens", [7, 1, 0])
@pytest.mark.parametrize("trains", TRAINS)
def test_normed_projections_equal_the_plain_steps(tokens: int, trains: str) -> None:
    torch.manual_seed(0)
    x, weight = _normal(tokens, 11).requires_grad_(), _normal(11).requires_grad_(trains != "lora")
    group = _group(trains)
    wanted = [x, *([weight] if weight.requires_grad else []), *_trained(group)]
    options = {"epsilon": 1e-5, "projections": group}
    ours = _results(normed_projections(x, weight, **options), wanted)
    _assert_equal(ours, _results(normed_projections_reference(x, weight, **options), wanted))


def test_nothing_is_computed_below_the_lowest_layer_that_trains() -> None:
    x, weight, group = _normal(6, 11), _normal(11), _group("lora")
    residual, *outputs = normed_projections(x, weight, epsilon=1e-5, projections=group)
    torch.autograd.backward([residual, *outputs], [torch.ones_like(each) for each in (residual, *outputs)])
    assert x.grad is None and weight.grad is None
    assert all(tensor.grad is not None for tensor in _trained(group))


@pytest.mark.parametrize("tokens", [7, 1, 0])
@pytest.mark.parametrize("trains", TRAINS)
@pytest.mark.parametrize("rank", [0, 3])
def test_residual_and_gated_projections_equal_the_plain_steps(tokens: int, trains: str, rank: int) -> None:
    torch.manual_seed(0)
    residual, gate, up = (_normal(tokens, size).requires_grad_() for size in (5, 11, 11))
    layer = _projection(11, 5, rank=rank, has_bias=True, trains=trains)
    wanted = [residual, gate, *_trained([layer])]
    _assert_equal(
        _results([residual_projection(residual, gate, layer)], wanted),
        _results([residual_projection_reference(residual, gate, layer)], wanted),
    )
    wanted.append(up)
    _assert_equal(
        _results([gated_projection(residual, gate, up, layer)], wanted),
        _results([gated_projection_reference(residual, gate, up, layer)], wanted),
    )


def _in_fp32(projection: Projection) -> Projection:
    parts = [
        None if part is None else part.detach().float().requires_grad_(part.requires_grad)
        for part in projection.tensors
    ]
    return Projection(*parts, scaling=projection.scaling)  # type: ignore[arg-type]


def test_in_bf16_all_are_near_to_fp32() -> None:
    torch.manual_seed(0)
    low = torch.bfloat16
    x, weight = _normal(40, 64, dtype=low).requires_grad_(), _normal(64, dtype=low)
    group = [_projection(64, 48, rank=4, has_bias=False, trains="lora", dtype=low) for _ in range(2)]
    down = _projection(48, 64, rank=4, has_bias=False, trains="lora", dtype=low)
    exact_x, exact_group, exact_down = x.detach().float().requires_grad_(), [*map(_in_fp32, group)], _in_fp32(down)

    residual, gate, up = normed_projections(x, weight, epsilon=1e-5, projections=group)
    assert gate.dtype == low
    ours = _results([gated_projection(residual, gate / 8, up / 8, down)], [x, *_trained([*group, down])])
    residual, gate, up = normed_projections_reference(exact_x, weight.float(), epsilon=1e-5, projections=exact_group)
    exact = _results(
        [gated_projection_reference(residual, gate / 8, up / 8, exact_down)],
        [exact_x, *_trained([*exact_group, exact_down])],
    )
    assert [each.dtype for each in ours[2:]] == [torch.float32] * 6  # factors are trained in fp32
    _assert_near(ours, exact)


def test_under_autocast_fp32_weights_are_multiplied_in_bf16_and_get_fp32_gradients() -> None:
    torch.manual_seed(0)
    x, weight = _normal(40, 64).requires_grad_(), _normal(64).requires_grad_()
    group = [_projection(64, 48, rank=0, has_bias=True, trains="base") for _ in range(2)]
    wanted = [x, weight, *_trained(group)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = normed_projections(x, weight, epsilon=1e-5, projections=group)
    assert [each.dtype for each in outputs] == [torch.float32, torch.bfloat16, torch.bfloat16]
    ours = _results(outputs, wanted)
    exact = _results(normed_projections_reference(x, weight, epsilon=1e-5, projections=group), wanted)
    assert all(each.dtype == torch.float32 for each in ours[3:])
    _assert_near(ours, exact)


@pytest.mark.parametrize("shape", [(7, 3, 8), (1, 1, 2), (0, 2, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rotation_equals_the_plain_steps(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = _normal(*shape, dtype=dtype).requires_grad_()
    angles = torch.randn(shape[0], shape[2] // 2).repeat(1, 2)
    ours = _results([rotated(x, angles.cos(), angles.sin())], [x])
    plain = _results([rotated_reference(x, angles.cos(), angles.sin())], [x])
    for mine, theirs in zip(ours, plain, strict=True):
        tolerance = 1e-6 if dtype == torch.float32 else 0.02
        torch.testing.assert_close(mine, theirs, atol=tolerance, rtol=tolerance)


def test_rotation_keeps_the_dtype_under_angles_of_a_wider_one() -> None:
    x = _normal(5, 2, 4, dtype=torch.bfloat16)
    angles = torch.randn(5, 2).repeat(1, 2)
    exact = rotated_reference(x.float(), angles.cos(), angles.sin())
    assert torch.equal(rotated(x, angles.cos(), angles.sin()), exact.to(torch.bfloat16))
