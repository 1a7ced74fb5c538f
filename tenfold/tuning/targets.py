"""Whether the modules that a recipe names exist in the network, told before PEFT is asked to change any."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from tenfold.errors import ModelError, Problem, nearest


def require_targets(network: nn.Module, targets: Iterable[str], *, where: str) -> None:
    """Check that every name is the ending of some module's path, PEFT's own rule for lists of names.

    PEFT itself complains only when none of the names is found, and drops the others in silence.

    Raises:
        ModelError: one or more match nothing; says which linear layers there are.
    """
    paths = [path for path, _ in network.named_modules()]
    problems = [
        Problem(
            where=where,
            found=f"{target!r} matches no module of {type(network).__name__}",
            allowed=", ".join(linear_names(network)),
            remedy=nearest(target, linear_names(network)) or "name modules by the end of their path",
        )
        for target in targets
        if not any(path == target or path.endswith(f".{target}") for path in paths)
    ]
    if problems:
        raise ModelError(*problems)


def linear_names(network: nn.Module) -> list[str]:
    """Return the last part of the path of every layer with a weight matrix, in the network's order, each once."""
    # GPT-2's linear layers are no nn.Linear, so the weight tells, not the class
    names = [
        path.rpartition(".")[2]
        for path, module in network.named_modules()
        if not isinstance(module, nn.Embedding)
        and any(name == "weight" and weight.dim() == 2 for name, weight in module.named_parameters(recurse=False))
    ]
    return list(dict.fromkeys(names))
