"""Updates in which a share of the rows is answered by the model in training, with the weights it has at that moment.

Which rows, and every draw, follow from the seed and the update's number; what is drawn, from the weights too. So
nothing must be remembered from one update to the next, and a run that was killed meets the same rows again.

Source: Agarwal et al. 2023, GKD (arXiv 2306.13649), algorithm 1. They draw for each update whether it is on-policy; we
take the same share of the rows of every such update.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from tenfold.data.batch import Entry, SampledBatch, Window, pack
from tenfold.data.examples import Example
from tenfold.data.render import Renderer
from tenfold.data.windows import Windows, pack_bins
from tenfold.engine.ranks import ALONE, Ranks
from tenfold.models.generate import Sampling, continue_prompts, end_token_ids, evaluating, is_cut
from tenfold.models.language_model import LanguageModel


@dataclass(frozen=True)
class Drawing:
    """How the student is asked: which share of an update's rows, every how many updates, how freely, how long."""

    share: float
    every: int
    temperature: float
    max_new_tokens: int


@dataclass(frozen=True)
class OnPolicyWindows:
    """The windows of `source`, some of their rows with replies that the model in training draws when asked for one."""

    source: Windows
    drawing: Drawing
    load: Callable[[], LanguageModel] = field(repr=False)
    renderer: Renderer = field(repr=False)
    ranks: Ranks = field(default=ALONE, repr=False)
    """The processes that train together: the first one draws for all, since they must learn from the same replies."""

    @property
    def micro_batch_tokens(self) -> int:
        """The bound on the tokens of one micro-batch."""
        return self.source.micro_batch_tokens

    @property
    def content(self) -> object:
        """All that decides which rows make which update, for given weights, as plain values."""
        return [self.source.content, vars(self.drawing)]

    def window(self, update: int) -> Window:
        """Return the micro-batches of update number `update`, drawn with the model's weights of now."""
        window = self.source.window(update)
        if update % self.drawing.every:
            return window
        rows = sorted(window.rows)
        order = np.random.default_rng([self.source.seed, update, 1]).permutation(len(rows))
        drawn = {rows[place] for place in order[: round(self.drawing.share * len(rows))]}
        kept = [row for row in rows if row not in drawn]
        batches = self.source.cut(kept).batches if kept else ()
        entries = self.ranks.first(lambda: self._drawn(sorted(drawn), update))
        lengths, source = [len(entry.input_ids) for entry in entries], self.source
        bins = pack_bins(lengths, source.micro_batch_tokens, is_padded=source.is_padded, ranks=source.ranks)
        sampled = [pack([entries[place] for place in members], task=self.source.prepared.task) for members in bins]
        return Window((*batches, *(SampledBatch(**vars(batch)) for batch in sampled)))

    def _drawn(self, rows: list[int], update: int) -> list[Entry]:
        """Return `rows` with replies of the model in place of their own; one that it did not end has no end."""
        if not rows:
            return []
        prepared, model = self.source.prepared, self.load()
        network = model.network
        examples = [prepared.rows.example(row) for row in rows]
        prompts = [self.renderer.prompt(example) for example in examples if isinstance(example, Example)]
        sampling = Sampling(
            temperature=self.drawing.temperature,
            seed=int(np.random.SeedSequence([self.source.seed, update]).generate_state(1)[0]),
        )
        end_ids = end_token_ids(network, model.tokenizer, self.renderer.stop_ids)
        with model.autocasting(), evaluating(network):
            made = continue_prompts(
                network, prompts, max_new_tokens=self.drawing.max_new_tokens, end_ids=end_ids, sampling=sampling
            )
        entries = []
        for entry, prompt, tokens in zip(prepared.entries(rows), prompts, made, strict=True):
            ends = [] if is_cut(network, prompt, tokens, max_new_tokens=self.drawing.max_new_tokens) else [_end(entry)]
            reply = [*tokens, *ends]
            room = max(1, self.renderer.data.max_length - len(prompt))
            supervised = [False] * len(prompt) + [True] * len(reply[:room])
            entries.append(Entry(entry.row, [*prompt, *reply[:room]], supervised))
        return entries

    def with_micro_batch_tokens(self, tokens: int) -> OnPolicyWindows:
        """Return the same windows with another bound on a micro-batch."""
        return replace(self, source=self.source.with_micro_batch_tokens(tokens))

    def padded(self, is_padded: bool) -> OnPolicyWindows:
        """Return the same windows for a model that pads rows (or packs them)."""
        return replace(self, source=self.source.padded(is_padded))

    def over_ranks(self, count: int) -> OnPolicyWindows:
        """Return the same windows with micro-batches for `count` processes, about as much for each."""
        return replace(self, source=self.source.over_ranks(count))

    def origin(self, row: int) -> str:
        """Return where a row of a batch stands, for messages."""
        return self.source.origin(row)


def _end(entry: Entry) -> int:
    """Return the token that ends the row's own last reply."""
    return [token for token, in_loss in zip(entry.input_ids, entry.supervised, strict=True) if in_loss][-1]
