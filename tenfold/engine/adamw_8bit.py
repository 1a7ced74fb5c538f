"""AdamW whose state takes two bytes a parameter in place of eight, on every device, with nothing but torch.

Both moments lie as whole numbers of 8 bits in blocks of 256, each block with its largest magnitude beside it. What is
kept is the fourth root of a value's share of that magnitude: in fp32 a block's second moments span many powers of ten,
and a root spends the 8 bits more evenly over them.

Source: Dettmers et al. 2022, "8-bit Optimizers via Block-wise Quantization" (arXiv 2110.02861), section 2: the blocks,
and states that are 32 bits wide only while they are used. It departs from them in the map: theirs is a table of 256
values, and searching it took a core 15 of 19 ns a parameter. A second moment never becomes 0 beside larger ones, as
Li et al. 2023 (arXiv 2309.01507) found that it must not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

BLOCK = 256
"""Values that share a magnitude (arXiv 2110.02861 takes 2,048; bitsandbytes 256)."""

PIECES: Mapping[str, int] = {"cpu": 2**16}
"""Values of a parameter that are 32 bits wide at once: on a CPU what its cache holds."""

PIECE = 2**22
"""The same on any other device."""


class AdamW8bit(torch.optim.Optimizer):
    """AdamW (arXiv 1711.05101) with both moments in 8 bits. Parameters are contiguous; other numbers stay as they are.

    Tensors of a parameter's state: `mean` int8 and `square` uint8 `[blocks, 256]`, `mean_largest` and
    `square_largest` fp32 `[blocks, 1]`, and `step`, always on the CPU.
    """

    def __init__(
        self,
        groups: Iterable[Mapping[str, Any]],
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
    ) -> None:
        super().__init__(
            [dict(group) for group in groups], dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
        )

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group)

    def _move(self, parameter: nn.Parameter, group: Mapping[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state.update(_nothing_seen(parameter))
        state["step"] = state["step"].cpu() + 1
        step, (beta1, beta2) = int(state["step"]), group["betas"]
        weights, gradient = parameter.view(-1), parameter.grad.reshape(-1)  # type: ignore[union-attr]
        size = PIECES.get(parameter.device.type, PIECE)
        for start in range(0, len(weights), size):
            blocks = slice(start // BLOCK, (start + size) // BLOCK)
            piece = weights[start : start + size]
            gradients = _in_blocks(gradient[start : start + size])
            mean = _decoded(state["mean"][blocks], state["mean_largest"][blocks], 127).lerp_(gradients, 1 - beta1)
            square = _decoded(state["square"][blocks], state["square_largest"][blocks], 255)
            square.mul_(beta2).addcmul_(gradients, gradients, value=1 - beta2)
            _encode(mean, state["mean"][blocks], state["mean_largest"][blocks], 127, least=-127)
            _encode(square, state["square"][blocks], state["square_largest"][blocks], 255, least=1)
            size_of_step = square.sqrt_().div_(math.sqrt(1 - beta2**step)).add_(group["eps"])
            moved = mean.div_(size_of_step).view(-1)[: len(piece)]
            piece.mul_(1 - group["lr"] * group["weight_decay"])
            piece.add_(moved, alpha=-group["lr"] / (1 - beta1**step))


def _nothing_seen(parameter: nn.Parameter) -> dict[str, Tensor]:
    num_blocks = -(-parameter.numel() // BLOCK)

    def zeros(width: int, dtype: torch.dtype) -> Tensor:
        return torch.zeros(num_blocks, width, dtype=dtype, device=parameter.device)

    return {
        "step": torch.zeros(()),
        "mean": zeros(BLOCK, torch.int8),
        "mean_largest": zeros(1, torch.float32),
        "square": zeros(BLOCK, torch.uint8),
        "square_largest": zeros(1, torch.float32),
    }


def _in_blocks(values: Tensor) -> Tensor:
    """Return `values` `[n]` in fp32 as `[blocks, 256]`, zeros at the end."""
    return nn.functional.pad(values.float(), (0, -len(values) % BLOCK)).view(-1, BLOCK)


def _decoded(codes: Tensor, largest: Tensor, top: int) -> Tensor:
    """Return the values that `codes` `[blocks, 256]` stand for, in fp32: `largest · (codes / top)⁴`, sign kept."""
    roots = codes.float().div_(top)
    return roots.square().square_().copysign_(roots).mul_(largest)


def _encode(values: Tensor, codes: Tensor, largest: Tensor, top: int, *, least: int) -> None:
    """Write `values` `[blocks, 256]` into `codes` and `largest`, rounded to the nearest code, `least` or more."""
    sizes = values.abs()
    torch.amax(sizes, 1, keepdim=True, out=largest)
    roots = sizes.div_(largest.clamp(min=torch.finfo(torch.float32).tiny)).sqrt_().sqrt_().mul_(top)
    codes.copy_(roots.copysign_(values).round_().clamp_(min=least))
