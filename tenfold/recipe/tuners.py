"""The tuner section of a recipe: one small type for each way to choose what trains.

Default learning rates: LoRA and kin 2e-4 (QLoRA paper, table 9, for small models), full 2e-5 (the usual rate of
instruction tuning), prompt methods 1e-2 to 3e-2 (their papers train few parameters at high rates), bottleneck adapters
1e-3 (measured, docs/decisions.md; Houlsby et al. search 3e-5, 3e-4 and 3e-3, section 3.2), their fusion 5e-5 (Pfeiffer
et al. 2021, section 4.2).
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from tenfold.recipe.adapters import AdapterFusion, Bottleneck
from tenfold.recipe.tuner_settings import TunerSettings, WholeWeights

Rank = Annotated[int, Field(ge=1, le=4096)]
ModuleNames = Annotated[tuple[str, ...], Field(min_length=1)]
Targets = Literal["all-linear"] | ModuleNames


class Full(WholeWeights):
    """Every parameter trains."""

    kind: Literal["full"] = "full"
    start: Literal["base", "scratch"] = "base"
    """`scratch` trains the same architecture from random weights: what a model's knowledge is worth, by its absence."""


class Frozen(TunerSettings):
    """Nothing of the network trains, only the heads on it: for tasks that are answered with labels."""

    kind: Literal["frozen"] = "frozen"


class Partial(WholeWeights):
    """The parameters whose names match one of `modules` train, as they are."""

    kind: Literal["partial"] = "partial"
    modules: ModuleNames
    """Regular expressions searched in parameter names, for example `layers\\.(28|29)\\.`."""

    @field_validator("modules")
    @classmethod
    def _are_patterns(cls, modules: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in modules:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
        return modules


class Lora(TunerSettings):
    """Low-rank updates beside frozen linear layers (Hu et al. 2021, arXiv 2106.09685)."""

    learning_rate: ClassVar[float] = 2e-4
    """Ten times that of whole weights, as Schulman et al. 2025, "LoRA Without Regret", found best at every size."""
    largest_rate: ClassVar[float | None] = 1e-3

    kind: Literal["lora"] = "lora"
    rank: Rank = 16
    alpha: Annotated[float, Field(gt=0.0)] | None = None
    """Scale numerator; twice the rank when unset."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    targets: Targets = "all-linear"
    """Module name endings, or every linear layer but the output layer."""
    rank_stabilized: bool = False
    """rsLoRA: scale by alpha / sqrt(rank) (arXiv 2312.03732)."""
    decomposed: bool = False
    """DoRA: train magnitude and direction apart (arXiv 2402.09353)."""
    init: Literal["default", "gaussian", "pissa", "olora"] = "default"
    """PiSSA (arXiv 2404.02948) and OLoRA (arXiv 2406.01775) start from the base weight's own factors.

    Both compute with twice the rank, train half of it, and save a plain LoRA of twice the rank.
    """
    plus_ratio: Annotated[float, Field(ge=1.0)] = 1.0
    """LoRA+: learning rate of B over that of A (arXiv 2402.12354; the paper advises 16)."""
    also_train: tuple[str, ...] = ()
    """Whole modules to train and save beside the adapter, for example `lm_head`."""

    @model_validator(mode="after")
    def _fits(self) -> Lora:
        if self.decomposed and self.init in ("pissa", "olora"):
            raise ValueError(f"decomposed: true (DoRA) does not go with init: {self.init}; drop one of them")
        return self


class Qlora(Lora):
    """LoRA over a base held in 4-bit NormalFloat (Dettmers et al. 2023, arXiv 2305.14314)."""

    kind: Literal["qlora"] = "qlora"  # type: ignore[assignment]
    double_quantization: bool = True


class Ia3(TunerSettings):
    """Learned scales on keys, values and feed-forward activations (arXiv 2205.05638)."""

    kind: Literal["ia3"] = "ia3"
    targets: ModuleNames | None = None
    """Module name endings; when unset, PEFT's choice for the architecture."""
    feedforward: tuple[str, ...] = ()
    """Those of `targets` whose input is scaled, not their output (the layer after the activation)."""
    learning_rate: ClassVar[float] = 3e-3

    @model_validator(mode="after")
    def _fits(self) -> Ia3:
        if not set(self.feedforward) <= set(self.targets or ()):
            raise ValueError("feedforward names modules that are not in targets; name them there too")
        return self


class Prefix(TunerSettings):
    """Learned keys and values before every layer's own (Li & Liang 2021, arXiv 2101.00190)."""

    kind: Literal["prefix"] = "prefix"
    num_virtual_tokens: Annotated[int, Field(ge=1, le=4096)] = 16
    learning_rate: ClassVar[float] = 1e-2


class Prompt(TunerSettings):
    """Learned input embeddings before the text (Lester et al. 2021, arXiv 2104.08691)."""

    kind: Literal["prompt"] = "prompt"
    num_virtual_tokens: Annotated[int, Field(ge=1, le=4096)] = 16
    init_text: str | None = None
    """Start from the embeddings of this text; when unset, of random words (Lester et al. 2021, section 3.1)."""
    learning_rate: ClassVar[float] = 3e-2


class PTuning(TunerSettings):
    """Virtual tokens made by a small trained encoder (Liu et al. 2021, arXiv 2103.10385)."""

    kind: Literal["p_tuning"] = "p_tuning"
    num_virtual_tokens: Annotated[int, Field(ge=1, le=4096)] = 16
    encoder_hidden_size: Annotated[int, Field(ge=1)] = 128
    learning_rate: ClassVar[float] = 1e-2


class Vera(TunerSettings):
    """Shared frozen random factors, learned scaling vectors (arXiv 2310.11454)."""

    kind: Literal["vera"] = "vera"
    rank: Rank = 256
    targets: Targets = ("q_proj", "v_proj")
    learning_rate: ClassVar[float] = 4e-3


class Oft(TunerSettings):
    """Learned rotations of the weights (arXiv 2306.07280)."""

    kind: Literal["oft"] = "oft"
    block_size: Annotated[int, Field(ge=2)] = 32
    targets: Targets = "all-linear"
    learning_rate: ClassVar[float] = 5e-4


class Adalora(TunerSettings):
    """LoRA that moves its rank budget to the layers that need it (arXiv 2303.10512)."""

    kind: Literal["adalora"] = "adalora"
    initial_rank: Rank = 12
    target_rank: Rank = 8
    """The average rank that is left; pruned between a tenth and two thirds of the updates."""
    alpha: Annotated[float, Field(gt=0.0)] | None = None
    """Scale numerator; twice the initial rank when unset."""
    orthogonality: Annotated[float, Field(ge=0.0)] = 0.5
    """Weight of the penalty that keeps the directions orthogonal (equation 4; 0.5 is PEFT's default)."""
    targets: Targets = "all-linear"
    learning_rate: ClassVar[float] = 1e-3

    @model_validator(mode="after")
    def _fits(self) -> Adalora:
        if self.target_rank >= self.initial_rank:
            raise ValueError(f"target_rank ({self.target_rank}) must be below initial_rank ({self.initial_rank})")
        return self


class Peft(TunerSettings):
    """Any other method of the `peft` package, by its name there and with its options."""

    kind: Literal["peft"] = "peft"
    method: str
    """PEFT's name, for example `LOHA`, `FOURIERFT`, `BOFT`."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the method's PEFT config, under PEFT's names."""
    learning_rate: ClassVar[float] = 1e-3


Tuner = (
    Full
    | Partial
    | Frozen
    | Lora
    | Qlora
    | Ia3
    | Prefix
    | Prompt
    | PTuning
    | Vera
    | Oft
    | Adalora
    | Bottleneck
    | AdapterFusion
    | Peft
)
"""The tagged union of the recipe's `tuner` section."""

TUNERS: dict[str, type[TunerSettings]] = {
    "full": Full,
    "partial": Partial,
    "frozen": Frozen,
    "lora": Lora,
    "qlora": Qlora,
    "ia3": Ia3,
    "prefix": Prefix,
    "prompt": Prompt,
    "p_tuning": PTuning,
    "vera": Vera,
    "oft": Oft,
    "adalora": Adalora,
    "bottleneck": Bottleneck,
    "adapter_fusion": AdapterFusion,
    "peft": Peft,
}


def kind_of(settings: TunerSettings) -> str:
    """Return the `kind` that names this type of settings in a recipe."""
    return next(kind for kind, section in TUNERS.items() if section is type(settings))
