"""How deep each parameter lies: the number of its block, for rates and for unfreezing that follow the depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from tenfold.models.layout import find_blocks


@dataclass(frozen=True)
class Depths:
    """The number of each parameter's block: -1 for what comes before all, the number of blocks for what is above."""

    num_blocks: int
    of_parameter: Mapping[int, int]
    """By the parameter's `id`."""

    def of(self, parameter: nn.Parameter) -> int:
        """Return the parameter's depth, from -1 to the number of blocks; a head is above all blocks."""
        return self.of_parameter.get(id(parameter), self.num_blocks)


def find_depths(base: PreTrainedModel) -> Depths:
    """Return how deep every parameter of `base` lies, what a tuner has put into its blocks included.

    Embeddings of positions, or what a speech model hears with, lie below the first block; what stands between an
    encoder's blocks and its decoder's lies as deep as the encoder's last one.

    Raises:
        ModelError: where the blocks of this architecture are is not known.
    """
    numbers = {f"{block.path}.": number for number, block in enumerate(find_blocks(base))}
    places, reached = {}, -1
    for name, parameter in base.base_model.named_parameters():  # in the order of computation, as the blocks are
        inside = next((number for path, number in numbers.items() if name.startswith(path)), None)
        if inside is not None:
            reached = inside
        is_above = inside is None and reached == len(numbers) - 1
        places[id(parameter)] = len(numbers) if is_above else reached
    places |= {id(parameter): -1 for layer in _word_embeddings(base) for parameter in layer.parameters()}
    return Depths(len(numbers), places)


def _word_embeddings(base: PreTrainedModel) -> list[nn.Module]:
    try:
        return [base.get_input_embeddings()]
    except NotImplementedError:  # a model that hears has none
        return []


def top_blocks(base: PreTrainedModel, count: int) -> tuple[str, ...]:
    """Return patterns that match the parameter names of the topmost `count` blocks.

    Raises:
        ModelError: where the blocks of this architecture are is not known.
    """
    return tuple(_pattern(block.path) for block in find_blocks(base)[-count:])


def _pattern(path: str) -> str:
    return rf"(^|\.){path.replace('.', chr(92) + '.')}\."


def decayed(groups: Sequence[Mapping[str, object]], depths: Depths, *, decay: float) -> list[dict[str, object]]:
    """Return the optimizer's groups parted by depth, each rate `decay` times that of the block above it.

    Source: Howard & Ruder 2018 (arXiv 1801.06146), section 3.2; as a constant factor a layer, Clark et al. 2020
    (arXiv 2003.10555), appendix A.
    """
    parted: list[dict[str, object]] = []
    for group in groups:
        by_depth: dict[int, list[nn.Parameter]] = {}
        parameters, rate = group["params"], group["lr"]
        assert isinstance(parameters, list) and isinstance(rate, float)
        for parameter in parameters:
            by_depth.setdefault(depths.of(parameter), []).append(parameter)
        for depth, members in sorted(by_depth.items()):
            parted.append({**group, "params": members, "lr": rate * decay ** (depths.num_blocks - depth)})
    return parted
