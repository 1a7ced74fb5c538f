"""More words for a tokenizer that cuts a language into crumbs: new BPE merges learned from text, new embedding rows.

The tokenizer's own merges stay and come first, so it cuts text as before and then joins what the new merges join:
what the model knows of its old tokens is not lost.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
from tokenizers import Tokenizer as BackendTokenizer
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tenfold.errors import ModelError, Problem

Init = Literal["pieces", "mean", "random"]
"""What a new embedding starts from: its old pieces' mean, all old tokens' mean, or noise like the model's own."""

Pair = tuple[str, str]


@dataclass(frozen=True)
class Fertility:
    """How finely a tokenizer cuts text: tokens per word (1 is best) and per character.

    Source: Ács 2019, "Exploring BERT's vocabulary"; Rust et al. 2021 (arXiv 2012.15613), section 4.1.
    """

    tokens: int
    words: int
    characters: int

    @property
    def per_word(self) -> float:
        """Tokens per word that white space parts."""
        return self.tokens / max(1, self.words)

    @property
    def per_character(self) -> float:
        """Tokens per character: the measure for scripts without spaces."""
        return self.tokens / max(1, self.characters)


def fertility(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> Fertility:
    """Return how finely `tokenizer` cuts `texts`."""
    ids = tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []
    return Fertility(
        tokens=sum(map(len, ids)),
        words=sum(len(text.split()) for text in texts),
        characters=sum(map(len, texts)),
    )


def extended_tokenizer(
    tokenizer: PreTrainedTokenizerBase, texts: Iterable[str], *, num_tokens: int
) -> PreTrainedTokenizerBase:
    """Return a tokenizer with at most `num_tokens` new tokens, the most frequent joins of old ones in `texts`.

    Source: Sennrich et al. 2016 (arXiv 1508.07909), algorithm 1, begun from the old tokenizer's pieces, not letters.

    Raises:
        ModelError: not a fast BPE tokenizer, or the texts have no join that occurs twice.
    """
    tree = _bpe_tree(tokenizer)
    model = tree["model"]
    merges = _learned_merges(_cut_words(tokenizer, texts), num_tokens, known=set(model["vocab"]))
    if not merges:
        found = "no two neighbouring tokens occur twice in these rows"
        raise ModelError(Problem("vocabulary", found, remedy="give more text"))
    is_spelled = bool(model["merges"]) and isinstance(model["merges"][0], str)
    next_id = len(tokenizer)
    for pair in merges:
        model["merges"].append(" ".join(pair) if is_spelled else list(pair))
        if "".join(pair) not in model["vocab"]:
            model["vocab"]["".join(pair)] = next_id
            next_id += 1
    copy = type(tokenizer)(tokenizer_object=BackendTokenizer.from_str(json.dumps(tree)), **_special(tokenizer))
    copy.chat_template = tokenizer.chat_template
    copy.padding_side = tokenizer.padding_side
    return copy


def extend_embeddings(
    base: PreTrainedModel, old: PreTrainedTokenizerBase, new: PreTrainedTokenizerBase, *, init: Init, seed: int
) -> None:
    """Give `base` a row for each new token of `new` in its embeddings and, where it is untied, its output layer.

    `pieces` starts a row from the mean of its old pieces' rows (Koto et al. 2021, arXiv 2109.04607, section 3.2),
    `mean` from the mean of all old rows (Hewitt 2021, "Initializing new word embeddings"), `random` from a normal
    distribution with the old rows' deviation. Mutates `base`.
    """
    first, count = len(old), len(new)
    generator = torch.Generator().manual_seed(seed)
    kept = {id(layer): layer for layer in (base.get_input_embeddings(), base.get_output_embeddings()) if layer}
    before = {key: layer.weight.detach().clone() for key, layer in kept.items()}
    if count > base.get_input_embeddings().weight.shape[0]:
        base.resize_token_embeddings(count, mean_resizing=False)
    pieces = [_old_pieces(old, new, token) for token in range(first, count)]
    layers = (base.get_input_embeddings(), base.get_output_embeddings())
    for rows, layer in zip(before.values(), [each for each in layers if each is not None], strict=False):
        rows = rows[:first].float()
        with torch.no_grad():
            for token, ids in enumerate(pieces, first):
                layer.weight[token] = _first_row(rows, ids, init, generator).to(layer.weight.dtype)
    if base.config.tie_word_embeddings:
        base.tie_weights()


def _first_row(rows: torch.Tensor, ids: list[int], init: Init, generator: torch.Generator) -> torch.Tensor:
    if init == "pieces" and ids:
        return rows[ids].mean(0)
    if init == "random":
        return torch.randn(rows.shape[1], generator=generator) * rows.std()
    return rows.mean(0)


def _old_pieces(old: PreTrainedTokenizerBase, new: PreTrainedTokenizerBase, token: int) -> list[int]:
    piece = new.convert_ids_to_tokens(token)
    ids = [old.convert_tokens_to_ids(each.value) for each in old.backend_tokenizer.model.tokenize(piece)]
    return [each for each in ids if each is not None]


def _bpe_tree(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    if tokenizer.is_fast:
        tree: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
        if tree["model"]["type"] == "BPE":
            return tree
    found = f"its tokenizer is a {tree['model']['type'] if tokenizer.is_fast else 'slow one'}"
    raise ModelError(Problem("model.name", found, allowed="a fast BPE tokenizer", remedy="choose another model"))


def _special(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    names = ("bos_token", "eos_token", "pad_token", "unk_token", "additional_special_tokens")
    found = {name: getattr(tokenizer, name, None) for name in names}
    return {name: value for name, value in found.items() if value}


def _cut_words(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]) -> Counter[tuple[str, ...]]:
    """Return the words of `texts` as the tokenizer cuts them, and how often each occurs."""
    backend = tokenizer.backend_tokenizer
    words: Counter[str] = Counter()
    for text in texts:
        normal = text if backend.normalizer is None else backend.normalizer.normalize_str(text)
        before = backend.pre_tokenizer
        words.update([normal] if before is None else (word for word, _ in before.pre_tokenize_str(normal)))
    return Counter({tuple(each.value for each in backend.model.tokenize(word)): n for word, n in words.items()})


def _learned_merges(words: Counter[tuple[str, ...]], num_tokens: int, *, known: set[str]) -> list[Pair]:
    """Return the merges, most frequent pair first, until `num_tokens` new tokens exist or no pair occurs twice."""
    cut = [list(word) for word in words]
    counts = list(words.values())
    pairs: Counter[Pair] = Counter()
    places: dict[Pair, set[int]] = defaultdict(set)
    for number, word in enumerate(cut):
        _count_pairs(word, number, counts[number], pairs, places)
    merges: list[Pair] = []
    added = 0
    while added < num_tokens and pairs:
        pair, count = max(pairs.items(), key=lambda item: (item[1], item[0]))
        if count < 2:
            break
        merges.append(pair)
        added += "".join(pair) not in known
        for number in list(places[pair]):
            _count_pairs(cut[number], number, -counts[number], pairs, places)
            cut[number] = _joined(cut[number], pair)
            _count_pairs(cut[number], number, counts[number], pairs, places)
        pairs = +pairs
    return merges


def _count_pairs(word: list[str], number: int, count: int, pairs: Counter[Pair], places: dict[Pair, set[int]]) -> None:
    for pair in pairwise(word):
        pairs[pair] += count
        if count > 0:
            places[pair].add(number)
        else:
            places[pair].discard(number)


def _joined(word: list[str], pair: Pair) -> list[str]:
    joined: list[str] = []
    for piece in word:
        if joined and (joined[-1], piece) == pair:
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined
