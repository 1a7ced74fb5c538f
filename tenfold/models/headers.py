"""What a model's small files say of it: size, family, context, lengths in tokens; no weight is read or fetched.

The exact questions import transformers' models, which takes seconds; here they are asked only where `config.json` by
itself does not settle the answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from tenfold.errors import ModelError, Problem
from tenfold.models.sources import ModelFiles

if TYPE_CHECKING:
    from tenfold.models.architecture import Family


WIDTHS = ("hidden_size", "d_model", "n_embd", "dim")
LENGTHS = ("max_target_positions", "max_position_embeddings", "n_positions")
"""What architectures call the width of their embeddings, and how many tokens they read."""


@dataclass(frozen=True)
class Headers:
    """A model as its configuration and the headers of its weight files describe it."""

    parameters: int
    inner_parameters: int
    """Those outside the input embeddings: what every token is multiplied with."""
    family: Family
    context: int | None
    """Tokens that it reads at most, where it says so."""


def read_headers(files: ModelFiles) -> Headers:
    """Return what the model's folder says of it.

    Raises:
        ModelError: the configuration is damaged, or of no family that Tenfold tunes.
    """
    config = _config(files.folder)
    parameters = files.num_parameters or _counted(files.folder)
    inner = config.get("text_config")
    text = inner if isinstance(inner, dict) and inner else config
    embedded = _first(text, "vocab_size") * _first(text, *WIDTHS)
    context = _first(text, *LENGTHS)
    return Headers(
        parameters,
        parameters - embedded if 0 < embedded < parameters else parameters,
        said_family(config) or _exact_family(files.folder),
        context or None,
    )


def _first(config: Mapping[str, Any], *names: str) -> int:
    """Return the first of these settings that is a number, or 0."""
    return next((value for name in names if isinstance(value := config.get(name), int)), 0)


def said_family(config: Mapping[str, Any]) -> Family | None:
    """Return the family that the plain values of a `config.json` leave no doubt of, as `family_of` would, or None."""
    listed = config.get("architectures")
    name = listed[0] if isinstance(listed, list) and listed and isinstance(listed[0], str) else ""
    # BERT's kin have types of tokens; they count as encoders even when saved as writers
    is_bert = "type_vocab_size" in config
    if config.get("is_encoder_decoder") or config.get("is_decoder") or "auto_map" in config:
        return None
    if name.endswith("ForMaskedLM") or (is_bert and name.endswith("Model")):
        return "encoder"
    if name.endswith(("ForCausalLM", "LMHeadModel")) and not is_bert:
        return "decoder"
    return None


def count_tokens(folder: Path, texts: Sequence[str]) -> list[int]:
    """Return how many tokens each text has, special ones included.

    Raises:
        ModelError: the folder holds no usable tokenizer.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        from tenfold.models.load import load_tokenizer

        return [len(ids) for ids in load_tokenizer(folder)(list(texts))["input_ids"]] if texts else []
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises no type of its own
        remedy = "make the folder complete: a sound tokenizer.json"
        raise ModelError(Problem(str(path), f"cannot be used: {error}", remedy=remedy)) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return [len(encoding.ids) for encoding in tokenizer.encode_batch(list(texts))]


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(config, dict):
            return config
        found = "not an object"
    except (OSError, ValueError, RecursionError) as error:
        found = f"cannot be used: {error}"
    raise ModelError(Problem(str(path), found, remedy="get the model again"))


def _counted(folder: Path) -> int:
    """Return the parameters of a model of which only the configuration is here."""
    from tenfold.models.load import outline

    return sum(parameter.numel() for parameter in outline(folder).parameters())


def _exact_family(folder: Path) -> Family:
    from tenfold.models.architecture import family_of
    from tenfold.models.load import outline

    family = family_of(outline(folder).config)
    assert family is not None, "an outline is of a model that can be tuned"
    return family
