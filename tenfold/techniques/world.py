"""What a recipe meets: its model's files, tokenizer and rows, opened and checked before any weight is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tenfold.data.gate import Finding, check_signal
from tenfold.data.prepare import Item, Prepared, items, prepare
from tenfold.data.render import Renderer
from tenfold.data.sources import Rows
from tenfold.data.splits import Splits, open_splits
from tenfold.data.windows import MICRO_BATCH_TOKENS, Windows
from tenfold.engine.trackers import require_trackers
from tenfold.errors import DataError, Problem, UserError
from tenfold.evaluation.metrics import choose_metrics
from tenfold.evaluation.score import default_max_new_tokens
from tenfold.files import sha256_text
from tenfold.models.context import context_length
from tenfold.models.load import Tokenizer, load_tokenizer, outline
from tenfold.models.sources import ModelFiles, resolve
from tenfold.recipe import FREE_TO_CHANGE, Recipe
from tenfold.tuning.identity import Identity, identify
from tenfold.tuning.rehearsal import rehearse
from tenfold.tuning.tuner import make_tuner


@dataclass(frozen=True)
class World:
    """The recipe, resolved, beside the model files, tokenizer and tokenised rows that it names."""

    recipe: Recipe
    files: ModelFiles
    tokenizer: Tokenizer
    identity: Identity
    renderer: Renderer
    train: Prepared
    validation: Prepared | None
    test: Prepared | None
    test_items: list[Item]
    windows: Windows
    findings: list[Finding]

    @property
    def fingerprint(self) -> str:
        """The hash of what decides the run: settings, model, tokenizer and rows; not the output folder or trackers."""
        settings = self.recipe.model_dump_json(exclude={"output": True, "log": True, "runtime": set(FREE_TO_CHANGE)})
        parts = [part.fingerprint for part in (self.train, self.validation, self.test) if part is not None]
        return sha256_text(settings, self.identity.sha256, *parts)

    @property
    def test_fingerprint(self) -> str:
        """The hash of the rows that the scorecard reports."""
        return "" if self.test is None else self.test.fingerprint

    @property
    def total_updates(self) -> int:
        """Updates in one stage of the recipe's length."""
        return self.windows.total_updates(self.recipe.optim.epochs, self.recipe.optim.max_updates)


def open_world(recipe: Recipe) -> World:
    """Open everything `recipe` names but the weights, and fill in what it left to `auto`.

    Raises:
        UserError: with every problem of model and data together.
    """
    problems: list[Problem] = []
    files, splits, context = None, None, None
    with _collecting(problems):
        files = resolve(recipe.model)
        network = outline(files.folder, trust_remote_code=recipe.model.trust_remote_code)
        context = context_length(network)
        rehearse(make_tuner(recipe.tuner), network)
    with _collecting(problems):
        splits = open_splits(recipe.data, seed=recipe.runtime.seed, with_validation=recipe.evaluation.every is not None)
        if recipe.evaluation.every is not None and splits.validation is None:
            remedy = "set data.validation, or a data.validation_share above 0"
            problems.append(Problem("evaluation.every", "there are no validation rows to evaluate on", remedy=remedy))
    with _collecting(problems):
        require_trackers(recipe.log)
    if problems or files is None or splits is None:
        raise UserError(*problems)
    return _world(recipe, files, splits, context)


def _world(recipe: Recipe, files: ModelFiles, splits: Splits, context: int | None) -> World:
    tokenizer = load_tokenizer(files.folder, trust_remote_code=recipe.model.trust_remote_code)
    renderer = Renderer(tokenizer, recipe.data)
    sides = _prepared({"train": splits.train, "validation": splits.validation, "test": splits.test}, renderer)
    train, validation, test = sides["train"], sides.get("validation"), sides.get("test")
    require_context(list(sides.values()), context)
    findings = check_signal(train, {"validation": validation, "test": test}, renderer=renderer, gate=recipe.gate)
    evaluation = recipe.evaluation
    test_items = [] if test is None else items(test, renderer, max_rows=evaluation.max_rows, seed=recipe.runtime.seed)
    return World(
        recipe=_resolved(recipe, tokenizer, test_items),
        files=files,
        tokenizer=tokenizer,
        identity=identify(files.folder, tokenizer, name=files.name),
        renderer=renderer,
        train=train,
        validation=validation,
        test=test,
        test_items=test_items,
        windows=Windows(
            train,
            batch_size=recipe.optim.batch_size,
            micro_batch_tokens=recipe.runtime.micro_batch_tokens or MICRO_BATCH_TOKENS,
            seed=recipe.runtime.seed,
        ),
        findings=findings,
    )


def _resolved(recipe: Recipe, tokenizer: Tokenizer, test_items: list[Item]) -> Recipe:
    evaluation = recipe.evaluation
    references = [item.reference for item in test_items if item.reference]
    if references:
        metrics = evaluation.metrics or choose_metrics(references)
        limit = evaluation.max_new_tokens or default_max_new_tokens(tokenizer, references)
        evaluation = evaluation.model_copy(update={"metrics": metrics, "max_new_tokens": limit})
    rate = recipe.optim.learning_rate or type(recipe.tuner).learning_rate
    return recipe.model_copy(
        update={
            "evaluation": evaluation,
            "optim": recipe.optim.model_copy(update={"learning_rate": rate}),
        }
    )


def _prepared(sides: Mapping[str, Rows | None], renderer: Renderer) -> dict[str, Prepared]:
    """Return the sides that have rows, as tokens; faulty rows of all sides are told together."""
    problems: list[Problem] = []
    prepared = {}
    for name, rows in sides.items():
        if rows is not None:
            with _collecting(problems):
                prepared[name] = prepare(rows, renderer)
    if problems:
        raise DataError(*dict.fromkeys(problems))
    return prepared


def require_context(sides: Sequence[Prepared], context: int | None) -> None:
    """Check that no row is longer than the `context` tokens that the model reads at most (None: no limit).

    Raises:
        DataError: some are; with the place of the first one of each side.
    """
    problems = []
    for side in sides if context is not None else ():
        lengths = side.column("length")
        longest = int(lengths.argmax())
        if lengths[longest] > context:
            count = int((lengths > context).sum())
            found = f"{lengths[longest]:,} tokens, more than the model can read ({count} such rows)"
            problems.append(
                Problem(side.origin(longest), found, f"at most {context:,}", f"set data.max_length: {context}")
            )
    if problems:
        raise DataError(*problems)


@contextmanager
def _collecting(problems: list[Problem]) -> Iterator[None]:
    """Keep the problems of a user's error for later instead of stopping at the first."""
    try:
        yield
    except UserError as error:
        problems.extend(error.problems)
