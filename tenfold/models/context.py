"""How many tokens a model can read, and what room that leaves for an answer."""

from __future__ import annotations

from transformers import PreTrainedModel

from tenfold.errors import DataError, Problem


def context_length(causal: PreTrainedModel) -> int | None:
    """Return how many tokens the model reads at most, where its configuration says."""
    config = causal.config.get_text_config()
    # Whisper has a number of places for what it writes, and another for what it hears
    length = getattr(config, "max_target_positions", None) or getattr(config, "max_position_embeddings", None)
    return length if isinstance(length, int) and length > 0 else None


def room_for(causal: PreTrainedModel, *, prompt_tokens: int, new_tokens: int) -> int:
    """Return `new_tokens`, or as many as the model can still read after a prompt of `prompt_tokens`.

    Raises:
        DataError: the prompt alone is too long.
    """
    context = context_length(causal)
    if context is None:
        return new_tokens
    if prompt_tokens >= context:
        raise DataError(
            Problem(
                "prompt",
                f"{prompt_tokens:,} tokens, and no room for an answer",
                f"fewer than {context:,}",
                "shorten it",
            )
        )
    return min(new_tokens, context - prompt_tokens)
