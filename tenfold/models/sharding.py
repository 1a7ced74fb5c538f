"""How a model's weights are divided over processes: each rank holds a part of every tensor and gathers what it needs.

It is torch's FSDP2: a block's weights are gathered when the block is called and given back after it, in the forward
pass and again in the backward, where their gradients are added up and divided in the same way. What is in no block
(embeddings, last norm, output layer) stays gathered for the whole of a computation, for it is read by name, not by
calling a module. What is small stays whole on every rank: a block's norms and biases, which a gathering in bf16 would
round, and what is put on the model later (adapters, heads).

Source: Rajbhandari et al. 2020, "ZeRO" (arXiv 1910.02054), stage 3; Zhao et al. 2023 (arXiv 2304.11277).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from tenfold.models.blocks import find_blocks
from tenfold.models.gloo import AddedInPieces

Result = TypeVar("Result")


class Shards(nn.Module):
    """A network whose weights lie in parts on the ranks of `mesh`; what is computed in `gathered` finds them whole."""

    def __init__(self, network: nn.Module, mesh: DeviceMesh, *, compute_dtype: torch.dtype | None) -> None:
        """Divide the network's weights in place; blocks are gathered in `compute_dtype`, where one is given."""
        super().__init__()
        self.network = network
        self._in = (mesh.device_type, compute_dtype)
        # the stream between blocks stays as it is; what a block multiplies with is in the smaller type
        blocks_in = MixedPrecisionPolicy(
            param_dtype=compute_dtype, reduce_dtype=torch.float32, cast_forward_inputs=False
        )
        _, blocks = find_blocks(network)
        for block in blocks:
            vectors = {parameter for parameter in block.parameters() if parameter.dim() == 1}
            fully_shard(block, mesh=mesh, mp_policy=blocks_in, ignored_params=vectors)
            setattr(block, _INSIDE, _inside)
            register_fsdp_forward_method(block, _INSIDE)
        fully_shard(self, mesh=mesh, mp_policy=MixedPrecisionPolicy(reduce_dtype=torch.float32))
        for module in (*blocks, self):
            assert isinstance(module, FSDPModule)
            module.set_gradient_divide_factor(1.0)  # losses are sums over a weight that all ranks know
            module.set_force_sum_reduction_for_comms(True)  # gloo can add, and nothing else
            if mesh.device_type == "cpu":
                module.set_custom_reduce_scatter(AddedInPieces())  # type: ignore[arg-type]

    def forward(self, work: Callable[[], Result]) -> Result:
        """Return what `work` gives, called where the weights outside of blocks are whole."""
        device_type, dtype = self._in
        with nullcontext() if dtype is None else torch.autocast(device_type, dtype):
            return work()

    def gathered(self, work: Callable[[], Result]) -> Result:
        """Return what `work` gives; every rank calls this alike. A tensor with a gradient holds on to what it needs."""
        result: Result = self(work)
        if not (isinstance(result, Tensor) and result.requires_grad):
            assert isinstance(self, FSDPModule)
            self.reshard()  # no backward pass will, and what was gathered would go out of date
        return result


_INSIDE = "computed_inside"
"""The method of a block that gathers its weights as `forward` does."""


def _inside(x: Tensor, work: Callable[[Tensor], Tensor]) -> Tensor:
    return work(x)


def is_gathered_by_itself(module: nn.Module) -> bool:
    """Return whether `module` is a block (or all) of a sharded network: it has one hook before and one behind it."""
    return isinstance(module, FSDPModule)


def computed_inside(block: nn.Module, x: Tensor, work: Callable[[Tensor], Tensor]) -> Tensor:
    """Return what `work` makes of `x`, called where the weights of a sharded network's `block` are whole."""
    answer: Tensor = getattr(block, _INSIDE)(x, work)
    return answer


def load_in_turn(load: Callable[[], Result], mesh: DeviceMesh) -> Result:
    """Return what `load` gives on each rank, one rank after the other: whole models are in memory one at a time."""
    for turn in range(mesh.size()):
        if turn == mesh.get_rank():
            loaded = load()
        dist.barrier(mesh.get_group())
    return loaded


def is_sharded(tensor: Tensor) -> bool:
    """Return whether this rank holds only a part of `tensor`."""
    return isinstance(tensor, DTensor)


def whole(tensor: Tensor) -> Tensor:
    """Return all of `tensor`; every rank calls this alike for one that is sharded."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def whole_on_first(tensors: Mapping[str, Tensor], *, is_first: bool) -> dict[str, Tensor]:
    """Return all of the tensors, those that are sharded on the CPU, to the first rank and nothing to the others.

    Every rank calls this alike. The others hold no more than one of them at a time.
    """
    kept = {}
    for name, tensor in tensors.items():
        value = whole(tensor.detach())
        if is_first:
            kept[name] = value.cpu() if is_sharded(tensor) else value
    return kept


@dataclass(frozen=True)
class Rows:
    """What this rank holds of a tensor: all of its rows, or some, from number `start` on."""

    part: Tensor
    start: int


def own_rows(tensor: Tensor) -> Rows:
    """Return what this rank holds of `tensor`, sharing its memory."""
    if not isinstance(tensor, DTensor):
        return Rows(tensor.detach(), 0)
    mesh = tensor.device_mesh
    chunk = -(-tensor.shape[0] // mesh.size())
    return Rows(tensor.to_local().detach(), min(mesh.get_rank() * chunk, tensor.shape[0]))


def own_part(tensor: Tensor, like: Tensor) -> Tensor:
    """Return the part of a whole `tensor` that this rank holds of `like`, laid out as that; one in parts as it is."""
    if not isinstance(like, DTensor) or isinstance(tensor, DTensor):
        return tensor
    rows = own_rows(like)
    own = tensor[rows.start : rows.start + len(rows.part)]
    return DTensor.from_local(
        own.to(like.device).contiguous(),
        like.device_mesh,
        like.placements,
        run_check=False,
        shape=like.shape,
        stride=like.stride(),
    )


def put_together(network: nn.Module, *, is_first: bool) -> None:
    """Give the first rank the network's weights whole, on the CPU, and the others none; only saving comes after it.

    Every rank calls this alike.
    """
    made: dict[int, nn.Parameter] = {}
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not is_sharded(parameter):
                if is_first:  # adapters: they may be merged into what is put together
                    parameter.data = parameter.data.cpu()
                continue
            if id(parameter) not in made:
                value = whole(parameter.detach())
                held = value.cpu() if is_first else torch.empty(0, dtype=value.dtype)
                made[id(parameter)] = nn.Parameter(held, requires_grad=parameter.requires_grad)
            module.register_parameter(name, made[id(parameter)])


def sum_of_squares(tensors: Iterable[Tensor]) -> Tensor:
    """Return the sum of the squares of all numbers in `tensors`, in fp64: of sharded ones over all ranks.

    Every rank calls this alike; tensors that are whole must be the same on all.
    """
    every = list(tensors)
    if not every:
        return torch.zeros((), dtype=torch.float64)
    local = [tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in every]
    squares = torch.stack([torch.linalg.vector_norm(part).double().square() for part in local])
    is_part = torch.tensor([is_sharded(tensor) for tensor in every], device=squares.device)
    parts = squares[is_part].sum()
    mesh = next((tensor.device_mesh for tensor in every if isinstance(tensor, DTensor)), None)
    if mesh is not None:
        dist.all_reduce(parts, group=mesh.get_group())
    return parts + squares[~is_part].sum()
