"""Direct preference optimisation: teach a model which of two answers people prefer, without a reward model.

Idea: the policy's log-probability ratio to the model it started from is an implicit reward; a logistic loss raises the
reward of the chosen answer above that of the rejected one.
Source: Rafailov et al. 2023, "Direct Preference Optimization" (arXiv 2305.18290), equation 7; `label_smoothing` is
Mitchell 2023, "A note on DPO with noisy preferences".
When: you have pairs of answers to one prompt of which one is better: human edits, ratings, a right and a wrong answer.
Costs: one stage on both answers of every pair, and one pass before it for the starting model's log-probabilities.

This file is the whole technique. It lives outside the package and is used by its name, with its folder where Python
looks for modules: `PYTHONPATH=examples tenfold run recipe.yaml`.

    technique: {kind: "eleventh_technique:TECHNIQUE", beta: 0.1}
    data: {train: pairs.jsonl, columns: {completion: chosen}}      # rows {"prompt", "chosen", "rejected"}
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from pydantic import Field
from torch.nn import functional

from tenfold.data.batch import Batch, Entry, Window, pack
from tenfold.data.prepare import Prepared, prepare
from tenfold.data.windows import Windows, pack_bins
from tenfold.engine.stage import Stage, StageResult
from tenfold.errors import DataError, Problem, nearest
from tenfold.evaluation.scorecard import BEFORE, Measure, Score
from tenfold.models.language_model import LanguageModel
from tenfold.models.trunk import Trunk
from tenfold.objectives.objective import Loss
from tenfold.recipe import Recipe
from tenfold.techniques.claims import keeps_general_text
from tenfold.techniques.context import Run
from tenfold.techniques.technique import Claim, Evidence, Options, Technique, Verdict
from tenfold.techniques.world import World

TASK = "preferences"
PREFERRED = "reward_accuracy"
"""Held-out pairs whose chosen answer has the greater implicit reward; a half is chance."""
LIKELIER = "likelihood_accuracy"
"""Held-out pairs whose chosen answer is the more probable one, as a whole."""
SOURCE = "Rafailov et al. 2023, arXiv 2305.18290"


class PreferenceOptions(Options):
    """Settings of direct preference optimisation."""

    beta: float = Field(default=0.1, gt=0.0)
    """How dearly each step away from the starting model is paid (0.1: section 6 of the paper)."""
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=0.5)
    """The share of pairs that are taken to be labelled the wrong way round."""
    rejected: str = "rejected"
    """The column that holds the worse answer."""


@dataclass(frozen=True)
class Pairs:
    """Windows of pairs: in every batch the chosen and the rejected answer to a prompt stand side by side."""

    chosen: Windows
    rejected: Prepared

    @property
    def micro_batch_tokens(self) -> int:
        """The bound on the tokens of one micro-batch."""
        return self.chosen.micro_batch_tokens

    @property
    def content(self) -> object:
        """All that decides which rows make which update."""
        return [self.chosen.content, self.rejected.fingerprint]

    def window(self, update: int) -> Window:
        """Return the micro-batches of one update; `batch_size` counts pairs."""
        return Window(tuple(self.batches(self.chosen.window(update).rows)))

    def batches(self, rows: Sequence[int]) -> list[Batch]:
        """Return the pairs of `rows` in batches."""
        pairs = list(zip(self.chosen.prepared.entries(rows), self.rejected.entries(rows), strict=True))
        lengths = [len(chosen.input_ids) + len(rejected.input_ids) for chosen, rejected in pairs]
        bins = pack_bins(lengths, self.micro_batch_tokens, is_padded=self.chosen.is_padded)
        return [pack(_flat([pairs[place] for place in members])) for members in bins]

    def with_micro_batch_tokens(self, tokens: int) -> Pairs:
        """Return the same windows with another bound on a micro-batch."""
        return replace(self, chosen=self.chosen.with_micro_batch_tokens(tokens))

    def padded(self, is_padded: bool) -> Pairs:
        """Return the same windows for a model that pads rows (or packs them)."""
        return replace(self, chosen=self.chosen.padded(is_padded))

    def origin(self, row: int) -> str:
        """Return where a pair stands, for messages."""
        return self.chosen.origin(row)


def _flat(pairs: Sequence[tuple[Entry, Entry]]) -> list[Entry]:
    return [entry for pair in pairs for entry in pair]


@dataclass(frozen=True)
class DirectPreference:
    """−log σ(β · (margin of the policy − margin of the reference)), summed over pairs."""

    beta: float
    label_smoothing: float
    digest: str
    """The hash of `reference`, which is too long to be told."""
    reference: Mapping[int, float] = field(repr=False)
    """log p(chosen) − log p(rejected) of the starting model, by row."""

    def weight(self, batch: Batch) -> int:
        """Return the number of pairs."""
        return len(batch.rows) // 2

    def __call__(self, model: Trunk, batch: Batch) -> Loss:
        """Return the summed loss."""
        margins = margins_of(model, batch)
        reference = torch.tensor([self.reference[row] for row in batch.rows[::2]], device=margins.device)
        logits = self.beta * (margins - reference)
        right, wrong = functional.logsigmoid(logits).sum(), functional.logsigmoid(-logits).sum()
        return Loss(-(1 - self.label_smoothing) * right - self.label_smoothing * wrong)


def margins_of(model: Trunk, batch: Batch) -> torch.Tensor:
    """Return log p(chosen) − log p(rejected) of each pair in `batch`, [N / 2] in fp32."""
    assert isinstance(model, LanguageModel), "preferences are between words"
    losses = model.row_losses(batch)
    return losses[1::2] - losses[::2]


def reference_margins(model: Trunk, pairs: Pairs, rows: Sequence[int]) -> dict[int, float]:
    """Return the margin of the model as it is now for each of `rows`."""
    found: dict[int, float] = {}
    with torch.no_grad():
        for batch in pairs.batches(rows):
            found |= zip(batch.rows[::2], margins_of(model, batch).tolist(), strict=True)
    return found


def preference(run: Run, options: PreferenceOptions) -> Generator[Stage, StageResult, None]:
    """Yield one stage on pairs; row 0 and the last row of the scorecard get the accuracy on held-out pairs."""
    stage = run.stage("preference")
    pairs = _pairs(run.world, options, run.world.first.train)
    test = run.world.first.test
    held_out = None if test is None else _pairs(run.world, options, test)
    reference = reference_margins(run.model, pairs, range(len(pairs.rejected)))
    if held_out is not None:
        before = reference_margins(run.model, held_out, range(len(held_out.rejected)))
        run.record(Score(BEFORE, TASK, {LIKELIER: _share(LIKELIER, before.values())}))
    digest = hashlib.sha256(repr(sorted(reference.items())).encode()).hexdigest()
    objective = DirectPreference(options.beta, options.label_smoothing, digest, reference)
    result = yield replace(stage, objective=objective, windows=pairs)
    if held_out is not None:
        after = reference_margins(run.model, held_out, range(len(held_out.rejected)))
        rewards = [margin - before[row] for row, margin in after.items()]
        measures = {PREFERRED: _share(PREFERRED, rewards), LIKELIER: _share(LIKELIER, after.values())}
        run.record(Score(result.name, TASK, measures))


def meet(world: World, options: PreferenceOptions) -> None:
    """Refuse rows without the worse answer before anything is trained, in `tenfold check` too.

    Raises:
        DataError: no row has the column, or one cannot be learned from.
    """
    for side in world.first.sides.values():
        if not any(options.rejected in row for _, rows in side.rows.chunks() for row in rows):
            known = list(side.rows.row(0))
            found, remedy = f"no column {options.rejected!r} in {side.rows.name}", nearest(options.rejected, known)
            remedy = remedy or "name the column with the worse answer"
            raise DataError(Problem("technique.rejected", found, ", ".join(known), remedy))
        _rejected(world, options, side)


def _pairs(world: World, options: PreferenceOptions, chosen: Prepared) -> Pairs:
    return Pairs(replace(world.first.windows, prepared=chosen), _rejected(world, options, chosen))


def _rejected(world: World, options: PreferenceOptions, chosen: Prepared) -> Prepared:
    rows = chosen.rows.with_columns({**chosen.rows.columns, "completion": options.rejected})
    return prepare(rows, world.first.kind.renderer, task=world.first.name)


def _share(name: str, margins: Iterable[float]) -> Measure:
    """Return the share of pairs in which the chosen answer is ahead."""
    return Measure(name, "share", higher_is_better=True, items=tuple(float(margin > 0) for margin in margins))


def _judge(evidence: Evidence) -> Verdict:
    score = evidence.scorecard.score("preference", TASK)
    if score is None:
        return Verdict("unclear", "no held-out pairs to measure it on")
    interval = score.primary.interval
    figure = f"{interval.mean:.2f} [{interval.low:.2f}, {interval.high:.2f}] of the held-out pairs"
    if interval.low > 0.5:
        return Verdict("held", figure)
    return Verdict("not held here" if interval.high <= 0.5 else "unclear", figure)


def check(recipe: Recipe, options: PreferenceOptions) -> list[Problem]:
    """Return a problem if the recipe has several tasks: pairs are of one."""
    if recipe.data.tasks:
        return [Problem("data.tasks", "preferences are learned from one table", remedy="set data.train")]
    return []


TECHNIQUE = Technique(
    kind="preference",
    summary="teach a model which of two answers is preferred",
    when="you have pairs of answers, of which one is better",
    stages=preference,
    options=PreferenceOptions,
    check=check,
    meet=meet,
    claims=(
        Claim("prefers the chosen answer in more than half of held-out pairs", SOURCE, _judge),
        keeps_general_text(source=f"{SOURCE}, section 5: the reference model is not left far behind"),
    ),
)
