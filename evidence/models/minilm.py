"""`all-minilm-l6-v2`: a small English sentence encoder; the package ships it as a Hugging Face folder already."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoModel, AutoTokenizer

POOLING = '{"pooling": "mean", "normalize": true}'


def convert(weight_file: Path, folder: Path) -> None:
    """Write model and tokenizer to `folder` as this transformers saves them; the numbers stay what they are."""
    source = weight_file.parent
    AutoModel.from_pretrained(source).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
