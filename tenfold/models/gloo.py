"""How gradients in parts are added up on CPUs: each rank's part where it is wanted, with no copy of the whole."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor


class AddedInPieces:
    """What FSDP2 calls to add a buffer up and divide it; it keeps the interface, `ReduceScatter`, to itself.

    gloo's own makes a copy of the whole buffer and adds all of it up on every rank: measured for 28 million numbers and
    two ranks, 113 MB more and twice the time.
    """

    def allocate(self, size: Sequence[int], *, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Return a new buffer."""
        return torch.empty(*size, dtype=dtype, device=device)

    def __call__(
        self,
        output_tensor: Tensor,
        input_tensor: Tensor,
        group: dist.ProcessGroup,
        op: dist.ReduceOp,
        async_op: bool = False,
    ) -> None:
        """Fill `output_tensor` with this rank's part of the sum; `input_tensor` is used up."""
        pieces = input_tensor.view(-1).chunk(group.size())
        for rank, piece in enumerate(pieces):
            dist.reduce(piece, group=group, group_dst=rank, op=op)
        output_tensor.view(-1).copy_(pieces[group.rank()])
