"""The arithmetic of bottleneck adapters and of their fusion, apart from where they stand in a network.

Both return updates: what is to be added to a sub-layer's output. Their weights are fp32 and are cast to the dtype of
the hidden states for the products, as the fused LoRA layer does: the small weights are cast, not the activations.

Shape letters: H hidden size, B bottleneck, N adapters.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from tenfold.recipe.adapters import Bottleneck

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "tanh": torch.tanh,
}


class BottleneckLayer(nn.Module):
    """One adapter at one place: `scale * (up @ activation(down @ h + b) + c)`, zero until it is trained.

    Source: Houlsby et al. 2019 (arXiv 1902.00751) section 2.1; the scale: He et al. 2022 (arXiv 2110.04366) table 1.
    Houlsby et al. start with weights near zero and also train the layer norms of the base. Here `up` starts at exactly
    zero, as in LoRA, and the base stays as it is to the bit.
    """

    def __init__(self, hidden: int, settings: Bottleneck) -> None:
        super().__init__()
        settings = settings.resolved
        assert settings.activation is not None and settings.scale is not None, "resolved"
        bottleneck = max(1, hidden // settings.reduction)
        self.down = nn.Linear(hidden, bottleneck, dtype=torch.float32)  # [B, H], drawn as torch draws (He et al.)
        self.up = nn.Linear(bottleneck, hidden, dtype=torch.float32)  # [H, B]
        for parameter in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(parameter)
        self.dropout = nn.Dropout(settings.dropout)
        self.activation = _ACTIVATIONS[settings.activation]
        self.scale = settings.scale

    def forward(self, states: Tensor) -> Tensor:
        """Return the update for `states`, both `[..., H]` and of one dtype."""
        inner = self.dropout(self.activation(_linear(self.down, states)))
        update = _linear(self.up, inner)
        return update if self.scale == 1.0 else self.scale * update


class FusionLayer(nn.Module):
    """Attention over N adapters at one place: `V (sum of s_n z_n)` with `s = softmax((Q h) . (K z_n))`.

    Source: Pfeiffer et al. 2021 (arXiv 2005.00247), section 3.2. `h` is the sub-layer's output. As in the authors'
    code, `z_n` is the adapter's update without `h`, which is added once, afterwards. V starts as the identity (theirs
    has 1e-6 beside the diagonal), Q and K as BERT's weights do; there are no biases, as in the paper.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (
            nn.Linear(hidden, hidden, bias=False, dtype=torch.float32) for _ in range(3)
        )
        nn.init.normal_(self.query.weight, std=0.02)
        nn.init.normal_(self.key.weight, std=0.02)
        nn.init.eye_(self.value.weight)

    def forward(self, states: Tensor, updates: Tensor) -> Tensor:
        """Return the fused update `[..., H]` for `states` `[..., H]` and the adapters' `updates` `[..., N, H]`."""
        products = torch.einsum("...h,...nh->...n", _linear(self.query, states), _linear(self.key, updates))
        weights = torch.softmax(products.float(), dim=-1).to(updates.dtype)
        # V is linear: applied once to the sum instead of to each adapter
        return _linear(self.value, torch.einsum("...n,...nh->...h", weights, updates))

    def distance(self) -> Tensor:
        """Return the squared distance of V from the identity."""
        value = self.value.weight
        return (value - torch.eye(len(value), dtype=value.dtype, device=value.device)).pow(2).sum()


def _linear(layer: nn.Linear, states: Tensor) -> Tensor:
    bias = None if layer.bias is None else layer.bias.to(states.dtype)
    return functional.linear(states, layer.weight.to(states.dtype), bias)
