"""Models of a Llama's shape with random weights: what a size costs, without the weights of anybody's model."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

SHAPES: Mapping[str, Mapping[str, int]] = {
    # widths, depths and heads of SmolLM2-135M and -360M, Llama 3.2 1B and Llama 3.1 8B
    "135M": {"hidden": 576, "inner": 1536, "layers": 30, "heads": 9, "key_heads": 3},
    "360M": {"hidden": 960, "inner": 2560, "layers": 32, "heads": 15, "key_heads": 5},
    "1B": {"hidden": 2048, "inner": 8192, "layers": 16, "heads": 32, "key_heads": 8},
    "8B": {"hidden": 4096, "inner": 14336, "layers": 32, "heads": 32, "key_heads": 8},
}
"""The vocabulary is that of the tokenizer beside them, so the sizes are not quite those of the names."""

CONTEXT = 8192


def random_model(folder: Path, shape: Mapping[str, int], *, tokenizer: Path) -> Path:
    """Write a model of `shape` in bf16 with the tokenizer of the model folder `tokenizer`; return `folder`.

    The output layer is the embedding, as in all small models. What is there already stays.
    """
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    if (folder / "config.json").is_file():
        return folder
    words = AutoTokenizer.from_pretrained(tokenizer)
    config = LlamaConfig(
        hidden_size=shape["hidden"],
        intermediate_size=shape["inner"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["key_heads"],
        vocab_size=len(words),
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        eos_token_id=words.eos_token_id,
        bos_token_id=words.bos_token_id,
        pad_token_id=words.pad_token_id,
        dtype="bfloat16",
    )
    torch.manual_seed(0)
    partial = folder.with_name(f"{folder.name}-partial")
    shutil.rmtree(partial, ignore_errors=True)
    torch.set_default_dtype(torch.bfloat16)
    try:
        LlamaForCausalLM(config).save_pretrained(partial)
    finally:
        torch.set_default_dtype(torch.float32)
    words.save_pretrained(partial)
    partial.rename(folder)
    return folder
