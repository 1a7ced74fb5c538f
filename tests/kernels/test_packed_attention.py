from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tenfold.kernels.packed_attention import packed_attention, packed_attention_reference
from tenfold.kernels.row_layout import spelled_out

LENGTHS = {
    "one row": [40],
    "odd, empty and one-token rows": [7, 0, 1, 33, 16, 0, 1],
    "rows of one length": [16] * 40,
    "rows longer than a block": [300, 129, 5],
}


def _inputs(
    lengths: list[int],
    *,
    heads: int = 4,
    key_heads: int = 2,
    size: int = 8,
    dtype: torch.dtype = torch.float32,
) -> tuple[list[Tensor], Tensor]:
    torch.manual_seed(0)
    total = sum(lengths)
    parts = [
        (2 * torch.randn(total, count, size)).to(dtype).transpose(0, 1).requires_grad_()
        for count in (heads, key_heads, key_heads)
    ]
    return parts, torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)


def _values_and_gradients(output: Tensor, parts: list[Tensor]) -> list[Tensor]:
    torch.manual_seed(1)
    gradients = torch.autograd.grad(output, parts, torch.randn(output.shape).to(output.dtype))
    return [output.detach().float(), *(gradient.float() for gradient in gradients)]


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS.keys())
@pytest.mark.parametrize("key_heads", [1, 2, 4])
@pytest.mark.parametrize(
    ("softcap", "window"), [(None, None), (3.0, None), (None, 1), (None, 5), (3.0, 20), (None, 150)]
)
def test_values_and_gradients_equal_the_masked_softmax(
    lengths: list[int], key_heads: int, softcap: float | None, window: int | None
) -> None:
    parts, borders = _inputs(lengths, key_heads=key_heads)
    options = {"scaling": 0.3, "softcap": softcap, "sliding_window": window}
    ours = _values_and_gradients(packed_attention(*parts, borders, **options), parts)
    reference = _values_and_gradients(packed_attention_reference(*parts, borders, **options), parts)
    for mine, theirs in zip(ours, reference, strict=True):
        torch.testing.assert_close(mine, theirs, atol=2e-5, rtol=1e-5)


def test_bf16_is_as_close_to_fp32_as_a_plain_bf16_softmax_is() -> None:
    # scores rounded to bf16 (8 bits) leave probabilities about 1 % off; eager attention has the same error
    parts, borders = _inputs([60, 90, 37], heads=6, key_heads=2, size=32, dtype=torch.bfloat16)
    ours = _values_and_gradients(packed_attention(*parts, borders, scaling=0.18), parts)
    exact_parts = [part.detach().float().requires_grad_() for part in parts]
    exact = _values_and_gradients(packed_attention_reference(*exact_parts, borders, scaling=0.18), exact_parts)
    for mine, theirs in zip(ours, exact, strict=True):
        assert (mine - theirs).norm() < 0.02 * theirs.norm()


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    parts, borders = _inputs([20, 9, 31])
    before = packed_attention(*parts, borders, scaling=0.3)
    changed = [part.detach().clone() for part in parts]
    for part in changed:
        part[:, :20] = torch.nan
        part[:, 29:] = torch.inf
    after = packed_attention(*changed, borders, scaling=0.3)
    assert torch.equal(before[20:29], after[20:29])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_same_inputs_give_the_same_bits(dtype: torch.dtype) -> None:
    parts, borders = _inputs([130, 12, 64], dtype=dtype)
    runs = [_values_and_gradients(packed_attention(*parts, borders, scaling=0.3), parts) for _ in range(2)]
    assert all(torch.equal(first, second) for first, second in zip(*runs, strict=True))


def test_autocast_computes_in_its_dtype() -> None:
    parts, borders = _inputs([20, 9])
    mixed = [parts[0], parts[1], parts[2].to(torch.bfloat16)]  # rotary leaves fp32 queries beside bf16 values
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = packed_attention(*mixed, borders, scaling=0.3)
    assert ours.dtype == torch.bfloat16
    assert torch.equal(ours, packed_attention(*(part.to(torch.bfloat16) for part in parts), borders, scaling=0.3))


def test_dropout_follows_the_seed() -> None:
    parts, borders = _inputs([30, 9])
    seeds = [5, 5, 6]
    outputs = []
    for seed in seeds:
        torch.manual_seed(seed)
        outputs.append(packed_attention(*parts, borders, scaling=0.3, dropout=0.3).detach())
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_dropout_keeps_the_mean_and_its_gradient_is_that_of_the_drawn_function() -> None:
    (query, key, value), borders = _inputs([12, 5], size=4)

    def drawn(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        torch.manual_seed(3)
        return packed_attention(query, key, value, borders, scaling=0.3, dropout=0.4)

    doubles = [part.detach().double().requires_grad_() for part in (query, key, value)]
    assert torch.autograd.gradcheck(drawn, doubles, eps=1e-6, atol=1e-6)
    # 600 draws of a share with standard deviation below 1: the mean is within 5 / sqrt(600)
    torch.manual_seed(0)
    draws = [packed_attention(query, key, value, borders, scaling=0.3, dropout=0.4).detach() for _ in range(600)]
    exact = packed_attention_reference(query, key, value, borders, scaling=0.3)
    spread = value.detach().abs().max()
    assert (torch.stack(draws).mean(0) - exact).abs().max() < 5 / 600**0.5 * spread


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("softcap", "window"), [(None, None), (None, 20), (3.0, None)])
def test_cuda_equals_the_masked_softmax(softcap: float | None, window: int | None) -> None:
    (query, key, value), borders = _inputs([33, 1, 300], size=32, dtype=torch.bfloat16)
    parts = [part.detach().cuda().requires_grad_() for part in (query, key, value)]
    exact_parts = [part.detach().float().requires_grad_() for part in (query, key, value)]
    options = {"scaling": 0.18, "softcap": softcap, "sliding_window": window}
    output = packed_attention(*parts, borders, **options)
    exact = packed_attention_reference(*exact_parts, borders, **options)
    torch.manual_seed(1)
    gradient = torch.randn(exact.shape)
    ours = [output, *torch.autograd.grad(output, parts, gradient.to(output))]
    theirs = [exact, *torch.autograd.grad(exact, exact_parts, gradient)]
    for mine, reference in zip(ours, theirs, strict=True):
        assert (mine.float().cpu() - reference).norm() < 0.02 * reference.norm()


@pytest.mark.parametrize("own", [(20, 3, 7), (150, 30, 1, 140)])
@pytest.mark.parametrize("window", [None, 12])
def test_borrowed_tokens_equal_rows_written_out_in_full(own: tuple[int, ...], window: int | None) -> None:
    borrowed = (0, 9, 0, 15)[: len(own)]
    parts, borders = _inputs(list(own))
    key_borders = torch.tensor([0, *(mine + more for mine, more in zip(own, borrowed, strict=True))]).cumsum(0)
    options = {"scaling": 0.3, "sliding_window": window}
    output = packed_attention(*parts, borders, cu_seqlens_keys=key_borders.to(torch.int32), **options)
    ours = _values_and_gradients(output, parts)

    def in_full(part: Tensor) -> Tensor:
        rows = part.split(own, 1)
        return torch.cat([torch.cat([rows[0][:, :more], row], 1) for row, more in zip(rows, borrowed, strict=True)], 1)

    full = packed_attention_reference(*map(in_full, parts), key_borders.to(torch.int32), **options)
    lengths = key_borders.diff().tolist()
    kept = [row[more:] for row, more in zip(full.split(lengths), borrowed, strict=True)]
    reference = _values_and_gradients(torch.cat(kept), parts)
    for mine, theirs in zip(ours, reference, strict=True):
        torch.testing.assert_close(mine, theirs, atol=2e-5, rtol=1e-5)


def test_spelled_out_rows_name_each_token_and_its_place() -> None:
    tokens, places = spelled_out(torch.tensor([0, 4, 6, 7]), torch.tensor([0, 4, 9, 10]))
    assert tokens.tolist() == [0, 1, 2, 3, 0, 1, 2, 4, 5, 6]
    assert places.tolist() == [0, 1, 2, 3, 7, 8, 9]
