"""The blocks of a model: where they are, what they answer inside, and a smaller model made of some of them.

A student starts from its origin's own blocks: evenly spaced ones, the first and the last kept. Sanh et al. 2019,
"DistilBERT" (arXiv 1910.01108), section 3, took one of two in the same way.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from tenfold.errors import ModelError, Problem, nearest
from tenfold.models.load import opener_of
from tenfold.models.quiet import quiet_loading
from tenfold.models.sources import first_line


def find_blocks(network: nn.Module) -> tuple[str, nn.ModuleList]:
    """Return the name and the list of the network's blocks: the one list that is as long as its configuration says.

    Raises:
        ModelError: there is no such list, or more than one.
    """
    assert isinstance(network, PreTrainedModel), "only a plain transformers model says how many blocks it has"
    count = network.config.get_text_config().num_hidden_layers
    found = [
        (name, module)
        for name, module in network.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == count
    ]
    if len(found) != 1:
        names = ", ".join(name for name, _ in found) or "none"
        raise ModelError(Problem("model.name", f"cannot tell which of its lists are its {count} blocks: {names}"))
    return found[0]


@contextmanager
def capturing(network: nn.Module, blocks: Sequence[int]) -> Iterator[list[Tensor]]:
    """Yield a list that holds, after a forward pass in the block, what each of `blocks` (from 0) answered, in order."""
    caught: dict[int, Tensor] = {}
    answers: list[Tensor] = []
    handles = []
    if blocks:
        _, modules = find_blocks(network)
        last = max(blocks)

        def keep(number: int) -> Any:
            def hook(module: nn.Module, inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
                caught[number] = output if isinstance(output, Tensor) else output[0]
                if number == last:
                    answers[:] = [caught[each] for each in blocks]

            return hook

        handles = [modules[number].register_forward_hook(keep(number)) for number in set(blocks)]
    try:
        yield answers
    finally:
        for handle in handles:
            handle.remove()


def evenly_spaced(count: int, of: int) -> tuple[int, ...]:
    """Return `count` of the numbers 0 to `of` - 1, evenly spaced; first and (of two or more) last among them."""
    if count == 1:
        return (0,)
    return tuple((2 * place * (of - 1) + count - 1) // (2 * (count - 1)) for place in range(count))


def take_blocks(network: nn.Module, blocks: Sequence[int]) -> PreTrainedModel:
    """Return a model of some of the network's blocks, in the order given, with everything else as it is there.

    Raises:
        ModelError: its blocks cannot be found.
    """
    path, modules = find_blocks(network)
    assert isinstance(network, PreTrainedModel)
    config = copy.deepcopy(network.config)
    text = config.get_text_config()
    for name, value in vars(text).items():
        if isinstance(value, list) and len(value) == len(modules):  # what is said block by block, as `layer_types`
            setattr(text, name, [value[number] for number in blocks])
    text.num_hidden_layers = len(blocks)
    smaller = _from_config(config, network.dtype)
    state = network.state_dict()
    kept = {name: value for name, value in state.items() if not name.startswith(f"{path}.")}
    for place, number in enumerate(blocks):
        start = f"{path}.{number}."
        kept |= {
            f"{path}.{place}.{name.removeprefix(start)}": value
            for name, value in state.items()
            if name.startswith(start)
        }
    smaller.load_state_dict(kept)
    if network.can_generate():
        smaller.generation_config = copy.deepcopy(network.generation_config)
    return smaller.eval()


def random_model(folder: Path, changes: Mapping[str, object], *, seed: int) -> PreTrainedModel:
    """Return a model with random weights whose configuration is that of `folder` with `changes`.

    Raises:
        ModelError: the configuration has no such setting, or makes no model.
    """
    config: PreTrainedConfig = AutoConfig.from_pretrained(folder, local_files_only=True)
    text = config.get_text_config()
    known = set(text.to_dict())
    problems = [
        Problem(
            f"technique.student.config.{name}",
            f"{config.model_type} has no such setting",
            remedy=nearest(name, known) or f"see {type(config).__name__} of transformers",
        )
        for name in changes
        if name not in known
    ]
    if problems:
        raise ModelError(*problems)
    for name, value in changes.items():
        setattr(text, name, value)
    count = text.num_hidden_layers
    if isinstance(getattr(text, "layer_types", None), list) and "layer_types" not in changes:
        text.layer_types = [text.layer_types[place % len(text.layer_types)] for place in range(count)]
    if isinstance(text.to_dict().get("head_dim"), int) and not {"head_dim"} & changes.keys():
        text.head_dim = text.hidden_size // text.num_attention_heads
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            config.validate()
            return _from_config(config, torch.float32).eval()
        except Exception as error:  # a value that fits no model ends in errors of many unrelated types
            raise ModelError(
                Problem("technique.student.config", f"makes no model: {first_line(error)}", remedy="change its sizes")
            ) from error


def _from_config(config: PreTrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
    with quiet_loading():
        model: PreTrainedModel = opener_of(config).from_config(
            config, dtype=dtype, attn_implementation=config._attn_implementation
        )
    return model
