"""Which PEFT configuration a recipe's tuner section becomes, and how PEFT's own complaints reach the user."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import peft
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from tenfold.errors import Problem, RecipeError, nearest
from tenfold.recipe.tuner_settings import TunerSettings
from tenfold.recipe.tuners import (
    Adalora,
    Ia3,
    Lora,
    Oft,
    Peft,
    Prefix,
    Prompt,
    PTuning,
    Qlora,
    Targets,
    Vera,
)

# Methods whose forward pass looks at a row as a whole, beside those that PEFT calls prompt learning.
_ROW_METHODS = frozenset({"ADAPTION_PROMPT", "SHADOW", "XLORA"})


def make_config(settings: TunerSettings, *, total_updates: int, base_name: str | None) -> peft.PeftConfig:
    """Return the PEFT configuration for `settings`.

    `base_name` is where the base model came from: PEFT reads the tokenizer there when a prompt starts from a text.

    Raises:
        RecipeError: PEFT does not accept the options.
    """
    with explained():
        if isinstance(settings, Prompt):
            return _prompt(settings, base_name)
        if isinstance(settings, Adalora):
            return _adalora(settings, total_updates)
        return _BUILDERS[type(settings)](settings)


def method_name(settings: TunerSettings) -> str:
    """Return PEFT's name of the method, in capitals.

    Raises:
        RecipeError: PEFT has no such method.
    """
    if not isinstance(settings, Peft):
        return _METHODS[type(settings)]
    known = {kind.value.upper(): kind for kind in PEFT_TYPE_TO_CONFIG_MAPPING}
    name = settings.method.upper().replace("-", "_")
    if name not in known:
        raise RecipeError(
            Problem(
                where="tuner.method",
                found=f"PEFT has no method {settings.method!r}",
                allowed=", ".join(sorted(known)),
                remedy=nearest(name, known) or "use one of PEFT's names",
            )
        )
    return name


def packs(settings: TunerSettings) -> bool:
    """Return whether the method treats every token alike, so that rows may be laid end to end."""
    name = method_name(settings)
    if isinstance(settings, Peft) and settings.options.get("alora_invocation_tokens"):
        return False  # activated LoRA starts at a place in each row
    kind = PEFT_TYPE_TO_CONFIG_MAPPING[name]
    return name not in _ROW_METHODS and name != "CPT" and not issubclass(kind, peft.PromptLearningConfig)


_REFUSALS = (
    AssertionError,
    ImportError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    UserWarning,
    ValueError,
)


@contextmanager
def explained() -> Iterator[None]:
    """Turn what PEFT raises in the block, for options it cannot use, into a `RecipeError` with its own words."""
    try:
        with warnings.catch_warnings():
            # PEFT sets the flag right for each layer (GPT-2 keeps its weights transposed) and says that it did
            warnings.filterwarnings("ignore", message="fan_in_fan_out is set to")
            # merging keeps a tied pair apart when only one of the two was trained, which this warns of
            warnings.filterwarnings("ignore", message="Model has `tie_word_embeddings=True`")
            # PEFT reads a property that transformers has renamed; the new name gives the same answer
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
            # PEFT asks every tuned layer for its width; a norm has none, and its method needs none
            warnings.filterwarnings("ignore", message="Unsupported layer type .*Norm")
            # a block size that PEFT would change by itself is the user's to choose
            warnings.filterwarnings("error", message="Invalid `(oft_block_size|r)`")
            yield
    except _REFUSALS as error:
        found = " ".join(str(error).split()) or type(error).__name__
        raise RecipeError(
            Problem("tuner", f"PEFT does not accept this: {found[:500]}", remedy="change the tuner's options")
        ) from error


def check_options(settings: Peft) -> None:
    """Check that the method can be run by its name alone, and that its configuration has every option.

    Raises:
        RecipeError: it cannot, or one or more options do not exist.
    """
    _require_general(settings)
    kind = PEFT_TYPE_TO_CONFIG_MAPPING[method_name(settings)]
    known = [field.name for field in dataclasses.fields(kind) if field.init and field.name not in _OURS]
    problems = [
        Problem(
            where=f"tuner.options.{name}",
            found=f"{kind.__name__} has no such option",
            allowed=", ".join(sorted(known)),
            remedy=nearest(name, known) or "remove it",
        )
        for name in settings.options
        if name not in known
    ]
    if problems:
        raise RecipeError(*problems)


def _require_general(settings: Peft) -> None:
    """Refuse what needs more than PEFT's layers: a schedule, a task number per row, or another base model."""
    name, start = method_name(settings), str(settings.options.get("init_lora_weights", ""))
    problem = None
    if name == "ADALORA":
        problem = Problem("tuner.method", "ADALORA follows a schedule of its own", remedy="use `kind: adalora`")
    elif name in _TASK_METHODS:
        problem = Problem("tuner.method", f"{name} needs a task number with every row, and a run has one task")
    elif name == "LORA" and (start.startswith(_REWRITES) or settings.options.get("kasa_config")):
        problem = Problem(
            where="tuner.options",
            found=f"{start or 'kasa'} rewrites the base weights, and the saved adapter would not fit the base",
            remedy="use `kind: lora` with `init: pissa` or `init: olora`, which leave the base as it is",
        )
    if problem is not None:
        raise RecipeError(problem)


_TASK_METHODS = frozenset({"MULTITASK_PROMPT_TUNING", "POLY"})
_REWRITES = ("corda", "loftq", "lora_ga", "olora", "pissa")

# fields of every PEFT configuration that are not the user's to set
_OURS = frozenset(
    {
        "auto_mapping",
        "base_model_name_or_path",
        "inference_mode",
        "peft_type",
        "peft_version",
        "revision",
        "task_type",
    }
)


def whole(number: float) -> float:
    """Return an int where `number` is one: loaders of LoRA files expect an integer alpha."""
    return int(number) if float(number).is_integer() else number


def _targets(targets: Targets) -> str | list[str]:
    return targets if isinstance(targets, str) else list(targets)


def _lora(settings: Lora) -> peft.PeftConfig:
    # PiSSA and OLoRA start as plain LoRA here: see principal.py, which never changes the base weights
    return peft.LoraConfig(
        r=settings.rank,
        lora_alpha=whole(settings.alpha if settings.alpha is not None else 2 * settings.rank),
        lora_dropout=settings.dropout,
        target_modules=_targets(settings.targets),
        use_rslora=settings.rank_stabilized,
        use_dora=settings.decomposed,
        init_lora_weights="gaussian" if settings.init == "gaussian" else True,
        modules_to_save=list(settings.also_train) or None,
        task_type="CAUSAL_LM",
    )


def _ia3(settings: Ia3) -> peft.PeftConfig:
    if settings.targets is None:
        return peft.IA3Config(task_type="CAUSAL_LM")
    return peft.IA3Config(
        target_modules=list(settings.targets),
        feedforward_modules=list(settings.feedforward),
        task_type="CAUSAL_LM",
    )


def _prefix(settings: Prefix) -> peft.PeftConfig:
    return peft.PrefixTuningConfig(num_virtual_tokens=settings.num_virtual_tokens, task_type="CAUSAL_LM")


def _p_tuning(settings: PTuning) -> peft.PeftConfig:
    return peft.PromptEncoderConfig(
        num_virtual_tokens=settings.num_virtual_tokens,
        encoder_hidden_size=settings.encoder_hidden_size,
        task_type="CAUSAL_LM",
    )


def _prompt(settings: Prompt, base_name: str | None) -> peft.PeftConfig:
    if settings.init_text is None:
        return peft.PromptTuningConfig(
            num_virtual_tokens=settings.num_virtual_tokens,
            prompt_tuning_init="SAMPLE_VOCAB",
            task_type="CAUSAL_LM",
        )
    return peft.PromptTuningConfig(
        num_virtual_tokens=settings.num_virtual_tokens,
        prompt_tuning_init="TEXT",
        prompt_tuning_init_text=settings.init_text,
        tokenizer_name_or_path=base_name,
        task_type="CAUSAL_LM",
    )


def _vera(settings: Vera) -> peft.PeftConfig:
    return peft.VeraConfig(r=settings.rank, target_modules=_targets(settings.targets), task_type="CAUSAL_LM")


def _oft(settings: Oft) -> peft.PeftConfig:
    return peft.OFTConfig(
        r=0,  # PEFT wants one of rank and block size, and 0 for the other
        oft_block_size=settings.block_size,
        target_modules=_targets(settings.targets),
        task_type="CAUSAL_LM",
    )


def _adalora(settings: Adalora, total_updates: int) -> peft.PeftConfig:
    # importance is measured from the first update on, so the last pruning needs at least one update before it
    total = max(2, total_updates)
    return peft.AdaLoraConfig(
        init_r=settings.initial_rank,
        target_r=settings.target_rank,
        lora_alpha=whole(settings.alpha if settings.alpha is not None else 2 * settings.initial_rank),
        orth_reg_weight=settings.orthogonality,
        target_modules=_targets(settings.targets),
        tinit=total // 10,
        tfinal=total // 3,
        deltaT=max(1, total // 100),
        total_step=total,
        task_type="CAUSAL_LM",
    )


def _generic(settings: Peft) -> peft.PeftConfig:
    check_options(settings)
    kind = PEFT_TYPE_TO_CONFIG_MAPPING[method_name(settings)]
    return kind(**settings.options, task_type="CAUSAL_LM")


_BUILDERS: dict[type[TunerSettings], Callable[[Any], peft.PeftConfig]] = {
    Lora: _lora,
    Qlora: _lora,
    Ia3: _ia3,
    Prefix: _prefix,
    PTuning: _p_tuning,
    Vera: _vera,
    Oft: _oft,
    Peft: _generic,
}

_METHODS: dict[type[TunerSettings], str] = {
    Lora: "LORA",
    Qlora: "LORA",
    Ia3: "IA3",
    Prefix: "PREFIX_TUNING",
    Prompt: "PROMPT_TUNING",
    PTuning: "P_TUNING",
    Vera: "VERA",
    Oft: "OFT",
    Adalora: "ADALORA",
}
