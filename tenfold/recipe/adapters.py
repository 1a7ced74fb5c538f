"""The tuner sections of bottleneck adapters and of their fusion."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from tenfold.recipe.tuner_settings import TunerSettings


class Bottleneck(TunerSettings):
    """Small two-layer networks inside each block of a frozen model (Houlsby et al. 2019, arXiv 1902.00751)."""

    kind: Literal["bottleneck"] = "bottleneck"
    style: Literal["houlsby", "pfeiffer", "parallel"] = "pfeiffer"
    """`houlsby`: after attention and after the feed-forward layer. `pfeiffer`: after the feed-forward layer alone
    (arXiv 2007.07779). `parallel`: beside the feed-forward layer, on the same input (He et al. 2022, arXiv 2110.04366).
    """
    reduction: Annotated[int, Field(ge=1, le=4096)] = 16
    """Hidden size over the bottleneck's (16 is Houlsby et al.'s 64 of 1,024; He et al. use 2)."""
    activation: Literal["relu", "gelu", "silu", "tanh"] | None = None
    """When unset, gelu for `houlsby` (its authors' code) and relu for the others."""
    scale: Annotated[float, Field(gt=0.0)] | None = None
    """What the adapter's output is multiplied by; when unset 4 for `parallel` (He et al., section 4.6), else 1."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """On the bottleneck's activations, while training."""
    drop_layers: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Blocks without an adapter, counted from 0, an encoder's before its decoder's.

    AdapterDrop (Rücklé et al. 2021, arXiv 2010.11918) leaves out the first ones, for example `[0, 1, 2, 3, 4]`.
    """
    below: tuple[str, ...] = ()
    """Artifacts whose adapters lie below this one, frozen, the lowest first: a language's, for instance (MAD-X,
    Pfeiffer et al. 2020, arXiv 2005.00052). Not for `parallel`."""
    quantized_base: bool = False
    """Hold the frozen base in 4-bit NormalFloat, as `qlora` does."""
    learning_rate: ClassVar[float] = 1e-3

    @model_validator(mode="after")
    def _fits(self) -> Bottleneck:
        if self.below and self.style == "parallel":
            raise ValueError("style: parallel does not stack: it does not read what the adapters below (`below`) give")
        twice = next((name for name in self.names_below if (*self.names_below, "default").count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two adapters would be called {twice!r}: `below` names each by its folder; rename one")
        return self

    @property
    def resolved(self) -> Bottleneck:
        """The same settings with activation and scale written out."""
        usual = {
            "activation": "gelu" if self.style == "houlsby" else "relu",
            "scale": 4.0 if self.style == "parallel" else 1.0,
        }
        return self.model_copy(update={key: value for key, value in usual.items() if vars(self)[key] is None})

    @property
    def names_below(self) -> tuple[str, ...]:
        """The names of the adapters below, the lowest first: those of the artifacts' folders."""
        folders = [Path(folder).absolute() for folder in self.below]
        names = [folder.parent.name if folder.name == "adapter" else folder.name for folder in folders]
        return tuple(re.sub(r"[^\w-]", "-", name) for name in names)


class AdapterFusion(TunerSettings):
    """Attention over the outputs of several frozen bottleneck adapters (Pfeiffer et al. 2021, arXiv 2005.00247)."""

    kind: Literal["adapter_fusion"] = "adapter_fusion"
    adapters: Annotated[dict[str, str | None], Field(min_length=2)]
    """A name for each adapter, and the artifact that holds it; null for one that this run itself trained before."""
    regularization: Annotated[float, Field(ge=0.0)] = 0.01
    """Weight of the squared distance of the value matrices from the identity (0.01 is the authors' code's)."""
    learning_rate: ClassVar[float] = 5e-5

    @field_validator("adapters")
    @classmethod
    def _are_names(cls, adapters: dict[str, str | None]) -> dict[str, str | None]:
        for name in adapters:
            if not re.fullmatch(r"[\w-]+", name):
                raise ValueError(f"{name!r} is not a name: use letters, digits, _ and -")
        return adapters
