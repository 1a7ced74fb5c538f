"""The sections of a recipe: every setting, its range, its default and where the default comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tenfold.errors import Problem, RecipeError
from tenfold.recipe.choices import Format, MetricName, Place, Share, ShareBelowOne, TaskName
from tenfold.recipe.optim import OptimSection, in_the_way_of_in_backward
from tenfold.recipe.section import Positive, Section
from tenfold.recipe.tuners import Lora, Tuner

Name = Annotated[str, Field(min_length=1)]

DEFAULT_ROWS = "sample:household"
"""What is learned where a recipe names no rows."""

SIDES = ("train", "validation", "test")
"""The sides that rows are on, as the recipe names them."""

TASK = "main"
"""The name of the task of a recipe that has just one."""


class ModelSection(Section):
    """Which model to start from."""

    name: Place = "smollm2-135m-instruct"
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

    train: Place | None = None
    """File, folder, hub id (`org/name` or `org/name:split`), saved data set, or `sample:NAME`.

    When unset: `sample:household`, or nothing where `tasks` has rows of its own.
    """
    validation: Place | None = None
    """Rows that choose the checkpoint; else `validation_share` of the training rows when one is to be chosen."""
    test: Place | None = None
    """Rows that the scorecard reports; else `test_share` of the training rows."""
    validation_share: ShareBelowOne = 0.05
    test_share: ShareBelowOne = 0.1
    group_by: str | None = None
    """Column whose equal values never fall on two sides of a split (template, patient, source …)."""
    format: Format = "auto"
    columns: dict[str, str] = Field(default_factory=dict)
    """Your column for each of ours, for example `{prompt: question, completion: answer}`."""
    system: str | None = None
    """System prompt for rows that bring none."""
    prompt: str | None = None
    """What rows to translate are asked with; a decoder's default is `Translate into {language}: {source}`."""
    language: str | None = None
    """Which language is translated into, or spoken, where rows do not say: a name for a prompt, or a model's code."""
    source_language: str | None = None
    """Which language is translated from: a name for a prompt, or the code of a model that marks texts with theirs."""
    template: Literal["auto", "chat", "plain"] = "auto"
    """How turns become text: the tokenizer's own chat template, or prompt and completion as they are."""
    chat_template: str | None = None
    """A Jinja template in place of the tokenizer's own (the gate asks you to allow it)."""
    special_tokens: Literal["text", "control"] = "text"
    """What `<|im_end|>` and the like are in a row: text, or that token (rows a template made, from who you trust)."""
    train_on: Literal["all", "last"] = "all"
    """Which assistant turns are in the loss."""
    max_length: Positive = 1024
    """Tokens; longer rows are cut, and the gate counts them."""
    max_rows: Positive | None = None
    """Use at most this many training rows, the first ones in a seeded order."""
    where: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Use only rows whose column has one of these values, for example `{language: [de, fr]}`."""
    head: Name | None = None
    """Another task whose head answers this one too, for tasks with the same labels; when unset it has its own."""
    labels: tuple[Name, ...] = ()
    """The labels of rows with labels, in this order; when empty, those of the training rows in alphabetical order.

    Of sets of labels, those that are not listed are left out. Labels that are listed may be as rare as they are.
    """
    class_weights: Literal["none", "balanced"] | dict[str, Annotated[float, Field(gt=0.0)]] = "none"
    """What a row of each class counts in the loss; `balanced`: rows / (classes × rows of the class)."""
    pooling: Literal["auto", "first", "last", "mean"] = "auto"
    """Which states a label is read from; `auto`: the mean of an encoder's, the last one of a decoder's."""
    metrics: tuple[MetricName, ...] = ()
    """The task's own metrics, the first one its task metric; when empty, those of `evaluation`."""
    max_new_tokens: Positive | None = None
    """The task's own limit of an answer; when unset, that of `evaluation`."""
    tasks: dict[TaskName, DataSection] = Field(default_factory=dict)
    """Several tasks by name, each with rows of its own; what one leaves unset it takes from the settings above."""

    @model_validator(mode="before")
    @classmethod
    def _inherited(cls, tree: Any) -> Any:
        if not isinstance(tree, Mapping):
            return tree
        tasks = tree.get("tasks")
        if not tasks or not isinstance(tasks, Mapping):
            return {**tree, "train": DEFAULT_ROWS} if tree.get("train") is None else tree
        shared = {key: value for key, value in tree.items() if key not in ("tasks", *SIDES)}
        written = {name: {"train": task} if isinstance(task, str) else task for name, task in tasks.items()}
        whole = {name: {**shared, **task} if isinstance(task, Mapping) else task for name, task in written.items()}
        return {**tree, "tasks": whole}

    @field_validator("prompt")
    @classmethod
    def _holds_source(cls, prompt: str | None) -> str | None:
        if prompt is not None and prompt.count("{source}") != 1:
            raise ValueError("{source} must stand in it once; {language} and {source_language} may")
        return prompt

    @model_validator(mode="after")
    def _fits(self) -> DataSection:
        given = [side for side in SIDES if self.tasks and getattr(self, side) is not None]
        if given:
            raise ValueError(f"{' and '.join(given)} beside tasks: each task has rows of its own; move them there")
        nested = [name for name, task in self.tasks.items() if task.tasks]
        if nested:
            raise ValueError(f"tasks.{nested[0]} has tasks itself; one level is enough")
        return self


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
    """Tokens in memory at once; when unset 4,096, for adapters on a CPU 2,048. Halved by itself when memory is out."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: about a third slower, far less memory."""
    fully_shard: bool = False
    """Of several processes (`torchrun`) each holds a part of weights, gradients and AdamW's state; one holds all."""
    checkpoint_every: Positive = 50
    """Updates between checkpoints; one is also written every two minutes."""
    keep_checkpoints: Positive = 2
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """CPU threads; when unset, torch's own choice, or 1 if other work on the machine makes that faster (measured)."""


FREE_TO_CHANGE = frozenset({"threads", "checkpoint_every", "keep_checkpoints", "fully_shard"})
"""Runtime settings under which an interrupted run may go on with other values: they change no weight, or
only by rounding (`fully_shard` in bf16, where blocks are gathered in it, their norms' weights too)."""


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
    output: Place = "runs/latest"
    """The artifact's folder."""

    @property
    def tasks(self) -> dict[str, DataSection]:
        """Each task's data by name (`main` where there is one), with metrics and length of `evaluation` if unset."""
        shared = {key: getattr(self.evaluation, key) for key in ("metrics", "max_new_tokens")}
        return {
            name: data.model_copy(update={key: getattr(data, key) or value for key, value in shared.items()})
            for name, data in (self.data.tasks or {TASK: self.data}).items()
        }

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
        problems = []
        unread = "set evaluation.every: how many updates lie between evaluations"
        if self.evaluation.every is None and self.evaluation.patience is not None:
            problems.append(Problem("evaluation.patience", "nothing to be patient with", remedy=unread))
        if self.optim.in_backward:
            problems += in_the_way_of_in_backward(self.tuner, self.runtime.micro_batch_tokens)
        for name, data in self.tasks.items():
            where = f"data.tasks.{name}" if self.data.tasks else "data"
            if self.evaluation.every is None and data.validation is not None:
                problems.append(Problem(f"{where}.validation", "these rows would be read by nothing", remedy=unread))
            test = data.test_share if data.test is None else 0.0
            validation = data.validation_share if self.evaluation.every and data.validation is None else 0.0
            if test + validation >= 1.0:
                found = f"{where}.test_share and {where}.validation_share take {test + validation:.0%} of the rows"
                problems.append(Problem(where, found, remedy="leave some to train on"))
        if problems:
            raise RecipeError(*problems)
        return self
