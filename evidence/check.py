"""Tell whether the models still do what they did: `python -m evidence.check` writes evidence/checks.json.

A conversion can keep every number and still put one in the wrong place, so it is judged by what the model can do.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
import transformers
from transformers import AutoModel, AutoProcessor, AutoTokenizer, WhisperForConditionalGeneration

from evidence.edit_distance import error_rate
from evidence.speech.waves import read
from evidence.tables import draw, plain
from evidence.tables import read as read_table
from tenfold import samples
from tenfold.files import write_json

FOLDER = Path(__file__).parent
CLIPS = 40
PAIRS = 300


def whisper(data: Path) -> dict[str, object]:
    """Return word and character error rates on test clips, English and (which it never learned) Italian."""
    folder = data / "models" / "whisper-tiny-en"
    processor = AutoProcessor.from_pretrained(folder)
    model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    found: dict[str, object] = {"clips": CLIPS}
    for language in ("en", "it"):
        table = data / "tables" / f"speech_{language}"
        rows = [row for row in read_table(table, "test") if not row["spelled"]]
        rows = sorted(rows, key=lambda row: draw("check", row["audio"]))[:CLIPS]
        heard: list[str] = []
        for start in range(0, len(rows), 8):
            waves = [read(table / str(row["audio"])) for row in rows[start : start + 8]]
            features = processor.feature_extractor(waves, sampling_rate=16_000, return_tensors="pt").input_features
            with torch.inference_mode():
                tokens = model.generate(features, max_length=100)
            heard += [plain(text) for text in processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)]
        said = [plain(str(row["text"])) for row in rows]
        found[language] = {
            "word error rate": round(error_rate([text.split() for text in heard], [text.split() for text in said]), 3),
            "character error rate": round(error_rate(heard, said), 3),
        }
    return found


def multilingual(data: Path) -> dict[str, object]:
    """Return how often the nearest of 30 articles in another language is the same article of the declaration."""
    rows = samples.load("declaration")
    texts: dict[str, list[str]] = {}
    for row in sorted(rows, key=lambda row: int(str(row["article"]))):
        texts.setdefault(str(row["code"]), []).append(f"query: {row['text']}")
    embed = _encoder(data / "models" / "multilingual-e5-small")
    english = embed(texts.pop("eng"))
    accuracy = {code: round(_first_right(english, embed(own)), 3) for code, own in sorted(texts.items())}
    return {"articles": len(english), "accuracy at 1, English to": accuracy}


def english(data: Path) -> dict[str, object]:
    """Return how often a description's nearest synopsis, of 300, is its own; chance is 0.003."""
    rows = read_table(data / "tables" / "debian_synopsis", "test")
    rows = sorted(rows, key=lambda row: draw("check", row["group"]))[:PAIRS]
    embed = _encoder(data / "models" / "all-minilm-l6-v2")
    prompts = embed([str(row["prompt"]).split("\n\n", maxsplit=1)[1] for row in rows])
    return {
        "pairs": PAIRS,
        "accuracy at 1": round(_first_right(prompts, embed([str(row["completion"]) for row in rows])), 3),
    }


CHECKS: Mapping[str, Callable[[Path], dict[str, object]]] = {
    "whisper-tiny-en": whisper,
    "multilingual-e5-small": multilingual,
    "all-minilm-l6-v2": english,
}


def _encoder(folder: Path) -> Callable[[Sequence[str]], torch.Tensor]:
    """Return what gives the mean of the last layer over the tokens of each text, at unit length [text, width]."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()

    def embed(texts: Sequence[str]) -> torch.Tensor:
        parts = []
        for start in range(0, len(texts), 16):
            batch = tokenizer(
                list(texts[start : start + 16]), padding=True, truncation=True, max_length=512, return_tensors="pt"
            )
            with torch.inference_mode():
                hidden = model(**batch).last_hidden_state
            mask = batch["attention_mask"][..., None]
            parts.append(torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1))
        return torch.cat(parts)

    return embed


def _first_right(queries: torch.Tensor, answers: torch.Tensor) -> float:
    nearest = (queries @ answers.T).argmax(dim=1)
    return float((nearest == torch.arange(len(queries))).double().mean())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the named checks, or all, print their figures and keep them; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m evidence.check", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*CHECKS, []], metavar="NAME", help=", ".join(CHECKS))
    parser.add_argument("--data", type=Path, default=FOLDER / "data")
    options = parser.parse_args(arguments)
    path = FOLDER / "checks.json"
    kept: dict[str, object] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for name in options.names or CHECKS:
        started = time.monotonic()
        figures = CHECKS[name](options.data)
        versions = {"torch": torch.__version__, "transformers": transformers.__version__}
        taken = {"date": time.strftime("%Y-%m-%d"), "seconds": round(time.monotonic() - started), **versions}
        kept[name] = {**figures, "taken": taken}
        print(f"{name}: {kept[name]}", flush=True)
        write_json(path, kept)
    return 0


if __name__ == "__main__":
    sys.exit(main())
