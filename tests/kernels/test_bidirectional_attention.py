from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tenfold.kernels.bidirectional_attention import bidirectional_attention, bidirectional_attention_reference

LENGTHS = {
    "one row": [40],
    "odd, empty and one-token rows": [7, 0, 1, 33, 16, 0, 1],
    "rows of one length": [16] * 40,
    "long rows": [300, 129, 5],
}


def _inputs(lengths: list[int], *, key_heads: int, dtype: torch.dtype) -> tuple[list[Tensor], Tensor]:
    torch.manual_seed(0)
    parts = [
        (2 * torch.randn(sum(lengths), count, 8)).to(dtype).transpose(0, 1).requires_grad_()
        for count in (4, key_heads, key_heads)
    ]
    return parts, torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)


def _values_and_gradients(output: Tensor, parts: list[Tensor]) -> list[Tensor]:
    torch.manual_seed(1)
    gradients = torch.autograd.grad(output, parts, torch.randn(output.shape).to(output.dtype))
    return [output.detach().float(), *(gradient.float() for gradient in gradients)]


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS.keys())
@pytest.mark.parametrize("key_heads", [1, 2, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_and_gradients_equal_the_masked_softmax(lengths: list[int], key_heads: int, dtype: torch.dtype) -> None:
    parts, borders = _inputs(lengths, key_heads=key_heads, dtype=dtype)
    ours = _values_and_gradients(bidirectional_attention(*parts, borders, scaling=0.3), parts)
    reference = _values_and_gradients(bidirectional_attention_reference(*parts, borders, scaling=0.3), parts)
    # bf16 keeps 8 bits: scores and probabilities rounded to it are each off by up to 0.4 %
    allowed = 1e-5 if dtype == torch.float32 else 0.03
    for mine, theirs in zip(ours, reference, strict=True):
        assert (mine - theirs).norm() <= allowed * theirs.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_does_not_depend_on_its_neighbours(dtype: torch.dtype) -> None:
    parts, borders = _inputs([9, 21, 4], key_heads=2, dtype=dtype)
    changed = [part.detach().clone() for part in parts]
    for part in changed:
        part[:, :9] = 7.0
    before = bidirectional_attention(*parts, borders, scaling=0.3)
    after = bidirectional_attention(*changed, borders, scaling=0.3)
    assert torch.equal(before[9:], after[9:])


def test_dropout_leaves_the_mean_and_follows_the_generator() -> None:
    parts, borders = _inputs([16], key_heads=4, dtype=torch.float32)
    draws = []
    torch.manual_seed(3)
    for _ in range(400):
        draws.append(bidirectional_attention(*parts, borders, scaling=0.3, dropout=0.3).detach())
    torch.manual_seed(3)
    again = bidirectional_attention(*parts, borders, scaling=0.3, dropout=0.3)
    assert torch.equal(draws[0], again)
    exact = bidirectional_attention(*parts, borders, scaling=0.3)
    # the mean of 400 draws has a twentieth of one draw's deviation
    deviation = torch.stack(draws).std(0) / 20
    assert ((torch.stack(draws).mean(0) - exact).abs() <= 5 * deviation + 1e-6).all()
