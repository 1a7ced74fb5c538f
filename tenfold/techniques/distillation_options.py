"""The settings of distillation, and which of them go together."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, model_validator

from tenfold.errors import Problem
from tenfold.recipe import Recipe
from tenfold.techniques.technique import Options

UNREAD_BY_SEQUENCE = ("alpha", "temperature", "divergence", "beta", "top_k", "hidden", "on_policy")
"""Options that say how the teacher's distribution counts, which a student of its answers never sees."""


def _read_layers(value: object) -> int | tuple[int, ...]:
    numbers = value if isinstance(value, list | tuple) else (value,)
    whole = tuple(number for number in numbers if isinstance(number, int) and not isinstance(number, bool))
    if len(whole) < len(numbers):
        raise ValueError("a number of layers, or a list of their numbers from 0")
    if not isinstance(value, list | tuple):
        if whole[0] < 1:
            raise ValueError("at least 1 layer")
        return whole[0]
    if not whole or list(whole) != sorted(set(whole)) or whole[0] < 0:
        raise ValueError("layer numbers from 0 that rise, each once, such as [0, 3, 6]")
    return whole


Layers = Annotated[int | tuple[int, ...], PlainValidator(_read_layers)]


class StudentOptions(Options):
    """How the student is made where it is not the recipe's model as it is: of layers, or anew by a configuration."""

    layers: Layers | None = None
    """How many layers to keep (evenly spaced, first and last among them), or which ones, from 0."""
    of: Literal["model", "teacher"] = "model"
    """Whose layers, or whose configuration: the recipe's model's, or the teacher's with all it has learned."""
    config: dict[str, Any] | None = None
    """Settings of a new configuration, such as `{num_hidden_layers: 4}`; the weights are random."""

    @model_validator(mode="after")
    def _is_one_of_two(self) -> StudentOptions:
        if (self.layers is None) == (self.config is None):
            raise ValueError("one of layers and config says how the student is made")
        return self


class HiddenOptions(Options):
    """Hidden states of the student that follow the teacher's; the teacher then stays in memory."""

    weight: float = Field(default=1.0, gt=0.0, le=1e4)
    """How much the mean distance counts beside the rest of the loss."""
    distance: Literal["cosine", "mse"] = "cosine"
    """1 - cosine (DistilBERT), or the mean squared difference (TinyBERT)."""
    layers: tuple[tuple[int, int], ...] | None = None
    """Pairs [student's layer, teacher's layer], from 0; when unset each of the student's has an evenly spaced one."""
    learning_rate: float = Field(default=1e-3, gt=0.0, le=10.0)
    """Rate of the projections to the teacher's width, where the widths differ; they are not saved."""


class OnPolicyOptions(Options):
    """How often the student answers training prompts itself, to be corrected by the teacher."""

    share: float = Field(default=0.5, gt=0.0, le=1.0)
    """Share of an update's rows; 0.5 is GKD's mixed setting."""
    every: int = Field(default=1, ge=1)
    """Updates from one with such rows to the next."""
    temperature: float = Field(default=1.0, gt=0.0, le=10.0)
    """Of the student's own answers."""
    max_new_tokens: int | None = Field(default=None, ge=1)
    """Longest answer; when unset, as for scoring."""


class DistillationOptions(Options):
    """Settings of distillation."""

    teacher: str = Field(default="smollm2-135m-instruct", min_length=1)
    """The folder of a run (adapter or model), a model folder, a `.gguf` file, a built-in alias or a hub id; for rows
    with labels the folder of a run that has learned the same labels."""
    student: StudentOptions | None = None
    """How to make the student out of the recipe's model; when unset, that model is the student."""
    level: Literal["logits", "sequence", "on_policy"] = "logits"
    """What is learned: the teacher's distribution at each token or over labels, its answers (any tokenizer), or its
    distribution also on answers that the student gives. Of rows with labels: `logits` alone."""
    alpha: float = Field(default=0.5, ge=0.0, le=1.0)
    """Weight of the teacher beside the rows' own responses or labels."""
    temperature: float = Field(default=1.0, gt=0.0, le=100.0)
    """Softens both distributions. Above 1 less of the teacher's mass is in its `top_k` tokens (docs/decisions.md)."""
    divergence: Literal["forward_kl", "reverse_kl", "jsd"] = "forward_kl"
    """`forward_kl` covers all that the teacher might say, `reverse_kl` keeps to what it would; `jsd` lies between."""
    beta: float = Field(default=0.5, gt=0.0, lt=1.0)
    """Of `jsd`: the teacher's part in the mixture that both are compared with."""
    top_k: int = Field(default=64, ge=1, le=4096)
    """The teacher's most probable tokens that are kept; all others count together."""
    hidden: HiddenOptions | None = None
    on_policy: OnPolicyOptions | None = None
    """Settings of `level: on_policy`."""
    curve: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Numbers of layers: students of these sizes too, made as the recipe's own and trained in the same run, for a table
    of size, speed and quality. The recipe's own student is the one that is saved."""
    compare: bool = False
    """Also train the same student without its teacher first, from the same start: one training and scoring more."""


def check(recipe: Recipe, options: DistillationOptions) -> list[Problem]:
    """Return what does not go together, as far as the recipe alone says it."""
    from tenfold.tuning.merging import can_merge  # brings torch and peft along

    given = options.model_fields_set
    problems = []
    if options.level == "sequence":
        for name in UNREAD_BY_SEQUENCE:
            if name in given:
                found = "a student of the teacher's answers never sees its distribution"
                problems.append(Problem(f"technique.{name}", found, remedy="remove it, or set level: logits"))
    elif options.alpha == 0.0 and options.hidden is None and options.level == "logits":
        found = "0 leaves the teacher out of the loss"
        problems.append(Problem("technique.alpha", found, remedy="raise it, or use technique.kind: instruction"))
    if "beta" in given and options.divergence != "jsd" and options.level != "sequence":
        problems.append(Problem("technique.beta", "read by divergence: jsd alone", remedy="remove it, or set jsd"))
    if options.on_policy is not None and options.level == "logits":
        problems.append(Problem("technique.on_policy", "read by level: on_policy alone", remedy="set that level"))
    if options.student is not None and not can_merge(recipe.tuner):
        found = f"{recipe.tuner.kind} cannot be merged into the student, which is a model of its own"
        problems.append(Problem("tuner.kind", found, remedy="choose full, or a tuner that merges, such as lora"))
    if len(set(options.curve)) < len(options.curve):
        problems.append(Problem("technique.curve", f"found {list(options.curve)}", "numbers of layers, each once"))
    if options.curve and options.student is not None and options.student.config is not None:
        found = "students of fewer layers are made of a model's layers, and student.config makes a new one"
        problems.append(Problem("technique.curve", found, remedy="remove it, or set student.layers"))
    if options.curve and options.hidden is not None and options.hidden.layers is not None:
        found = "pairs of layers fit one size of student only"
        problems.append(Problem("technique.hidden.layers", found, remedy="remove them: layers are spread evenly"))
    if len(recipe.tasks) > 1:
        found = f"{len(recipe.tasks)} tasks; one is distilled at a time"
        problems.append(Problem("data.tasks", found, remedy="name the rows of one task in data.train"))
    return problems
