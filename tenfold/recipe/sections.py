"""The sections of a recipe: every setting, its range, its default and where the default comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tenfold.errors import Problem, RecipeError
from tenfold.recipe.tuners import Lora, Tuner

Share = Annotated[float, Field(ge=0.0, le=1.0)]
ShareBelowOne = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(min_length=1)]


class Section(BaseModel):
    """A part of the recipe: frozen, and closed to keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)


class ModelSection(Section):
    """Which model to start from."""

    name: Name = "smollm2-135m-instruct"
    """Built-in alias, hub id, local Hugging Face folder, or a `.gguf` file."""
    revision: str | None = None
    """Hub revision; the hash of the weights is recorded whatever this says."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model. Off unless you say so, and then it is printed."""


class TechniqueSection(BaseModel):
    """Which technique, and its own options: those are read by the technique itself (the `fit` layer)."""

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: str = "instruction"
    """A built-in technique, or `my_module:my_technique` for one of yours."""

    @property
    def options(self) -> dict[str, Any]:
        """Everything beside `kind`."""
        return dict(self.model_extra or {})


class DataSection(Section):
    """Which rows to learn from, and how a row becomes tokens and a loss mask."""

    train: Name = "sample:household"
    """File, folder, hub id (`org/name` or `org/name:split`), saved data set, or `sample:NAME`."""
    validation: Name | None = None
    """Rows that choose the checkpoint; else `validation_share` of the training rows when one is to be chosen."""
    test: Name | None = None
    """Rows that the scorecard reports; else `test_share` of the training rows."""
    validation_share: ShareBelowOne = 0.05
    test_share: ShareBelowOne = 0.1
    group_by: str | None = None
    """Column whose equal values never fall on two sides of a split (template, patient, source …)."""
    format: Literal["auto", "messages", "sharegpt", "alpaca", "prompt_completion", "text"] = "auto"
    columns: dict[str, str] = Field(default_factory=dict)
    """Your column for each of ours, for example `{prompt: question, completion: answer}`."""
    system: str | None = None
    """System prompt for rows that bring none."""
    template: Literal["auto", "chat", "plain"] = "auto"
    """How turns become text: the tokenizer's own chat template, or prompt and completion as they are."""
    chat_template: str | None = None
    """A Jinja template in place of the tokenizer's own (the gate asks you to allow it)."""
    train_on: Literal["all", "last"] = "all"
    """Which assistant turns are in the loss."""
    max_length: Positive = 1024
    """Tokens; longer rows are cut, and the gate counts them."""
    max_rows: Positive | None = None
    """Use at most this many training rows, the first ones in a seeded order."""


class OptimSection(Section):
    """How the parameters move."""

    learning_rate: Annotated[float, Field(gt=0.0, le=10.0)] | None = None
    """Peak rate; when unset, the tuner's own default."""
    epochs: Annotated[float, Field(gt=0.0, le=1000.0)] = 1.0
    max_updates: Positive | None = None
    """Stop after this many updates, however many epochs that is."""
    batch_size: Positive = 16
    """Rows per update. How they are cut into micro-batches never changes the update."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_share: Share = 0.05
    """Share of all updates over which the rate rises from 0."""
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    betas: tuple[ShareBelowOne, ShareBelowOne] = (0.9, 0.999)
    epsilon: Annotated[float, Field(gt=0.0)] = 1e-8
    max_gradient_norm: Annotated[float, Field(gt=0.0)] | None = 1.0
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0


MetricName = Literal["exact_match", "json_match", "token_f1", "rouge_l", "chrf"]


class EvaluationSection(Section):
    """What the scorecard measures, and when."""

    metrics: tuple[MetricName, ...] = ()
    """The first is the task metric. When empty, chosen from the test rows: JSON answers, short ones, long ones."""
    max_rows: Positive = 100
    """Test rows to generate for, before and after."""
    max_new_tokens: Positive | None = None
    """When unset, what the longest reference of the evaluated rows needs, plus an eighth."""
    every: Positive | None = None
    """Updates between evaluations on the validation rows; needed for `patience`. The best checkpoint is kept."""
    patience: Positive | None = None
    """Stop after this many evaluations in a row without a better task metric."""
    retention: bool = True
    """Also score held-out general text and general-knowledge items, before and after."""
    samples: Annotated[int, Field(ge=0, le=50)] = 3
    """Generations to show side by side, before and after."""


GateRule = Literal["no_supervision", "end_of_turn", "template", "truncation", "overlap"]


class GateSection(Section):
    """The training-signal gate: what refuses a run, and what you allow all the same."""

    allow: tuple[GateRule, ...] = ()
    """Rules to downgrade to a warning; the artifact records that you did."""
    max_truncated: Share = 0.01
    """Largest share of rows that may be cut by `max_length`; a response that is cut is always refused."""


class RuntimeSection(Section):
    """Where and how it computes."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto` takes bf16 where the machine has it and it measures faster, else fp32."""
    micro_batch_tokens: Positive | None = None
    """Tokens in memory at once; when unset 4,096, for adapters on a CPU 640. Halved by itself when memory runs out."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: about a third slower, far less memory."""
    checkpoint_every: Positive = 50
    """Updates between checkpoints; one is also written every two minutes."""
    keep_checkpoints: Positive = 2
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """CPU threads; when unset, torch's own choice, or 1 if other work on the machine makes that faster (measured)."""


FREE_TO_CHANGE = frozenset({"threads", "checkpoint_every", "keep_checkpoints"})
"""Runtime settings under which an interrupted run may go on with other values: they change no weight."""


class LogSection(Section):
    """Where the log goes beside `log.jsonl`."""

    trackers: tuple[Literal["tensorboard", "wandb", "mlflow", "trackio"], ...] = ()
    project: str = "tenfold"


SHORTHAND = {"model": "name", "technique": "kind", "tuner": "kind"}
"""Sections that may be written as one word, and the key that the word stands for: `tuner: lora`."""


def written_out(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return `tree` with one-word sections as mappings, and without sections that hold nothing."""
    return {
        section: {SHORTHAND[section]: value} if section in SHORTHAND and isinstance(value, str) else value
        for section, value in tree.items()
        if value is not None
    }


class Recipe(Section):
    """A whole run. The resolved copy, with every `auto` replaced by what it became, is saved with the artifact."""

    model: ModelSection = ModelSection()
    technique: TechniqueSection = TechniqueSection()
    tuner: Annotated[Tuner, Field(discriminator="kind")] = Lora()
    data: DataSection = DataSection()
    optim: OptimSection = OptimSection()
    evaluation: EvaluationSection = EvaluationSection()
    gate: GateSection = GateSection()
    runtime: RuntimeSection = RuntimeSection()
    log: LogSection = LogSection()
    output: Name = "runs/latest"
    """The artifact's folder."""

    def __init__(self, **sections: Any) -> None:
        """Validate; every problem of shape and range is raised at once as a `RecipeError`."""
        from tenfold.recipe.problems import explained

        with explained(type(self)):
            super().__init__(**sections)

    @model_validator(mode="before")
    @classmethod
    def _written_out(cls, tree: dict[str, Any]) -> dict[str, Any]:
        return written_out(tree)

    @model_validator(mode="after")
    def _fits(self) -> Recipe:
        data, evaluation = self.data, self.evaluation
        problems = []
        if evaluation.every is None:
            remedy = "set evaluation.every: how many updates lie between evaluations"
            if evaluation.patience is not None:
                problems.append(Problem("evaluation.patience", "nothing to be patient with", remedy=remedy))
            if data.validation is not None:
                problems.append(Problem("data.validation", "these rows would be read by nothing", remedy=remedy))
        test = data.test_share if data.test is None else 0.0
        validation = data.validation_share if evaluation.every and data.validation is None else 0.0
        if test + validation >= 1.0:
            found = f"data.test_share and data.validation_share take {test + validation:.0%} of the rows"
            problems.append(Problem("data", found, remedy="leave some to train on"))
        if problems:
            raise RecipeError(*problems)
        return self
