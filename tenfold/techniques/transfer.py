"""Transfer learning: let what a model knows carry a new task, from the top of the network down.

Idea: train a new head on the frozen trunk first, then unfreeze block after block from the top, lower blocks at lower
rates, so that what was learned before is bent and not broken.
Source: Howard & Ruder 2018, "ULMFiT" (arXiv 1801.06146), sections 3.2 and 3.3; Yosinski et al. 2014 (arXiv 1411.1792)
for what lower layers keep; new embeddings first, de Vries & Nissim 2021 (arXiv 2012.05628).
When: few labelled rows, another domain, another language (with `tenfold extend` for its words), speech.
Costs: the recipe's own training, and before it `head_epochs` and `unfreeze_steps` shorter ones.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from tenfold.errors import Problem, RecipeError
from tenfold.recipe import Recipe
from tenfold.techniques.claims import task_metric_rises
from tenfold.techniques.technique import Options, Plan, Technique
from tenfold.techniques.transfer_claims import (
    PRETRAINED,
    ROWS_MET,
    SCRATCH,
    fewer_rows_than_from_scratch,
    rows_of_curve,
)

if TYPE_CHECKING:
    from tenfold.engine.stage import Stage, StageResult
    from tenfold.recipe.tuner_settings import TunerSettings
    from tenfold.techniques.context import Run
    from tenfold.techniques.world import World

Epochs = Annotated[float, Field(ge=0.0, le=1000.0)]


class TransferOptions(Options):
    """Settings of transfer learning."""

    embeddings_epochs: Epochs = 0.0
    """Epochs in which the input embeddings alone train, first of all: for a vocabulary that was just extended."""
    head_epochs: Epochs = 1.0
    """Epochs in which the new head alone trains; tasks that are answered in words have none."""
    unfreeze_steps: int = Field(default=2, ge=0, le=64)
    """With `tuner: full`: stages that unfreeze equal parts of the blocks from the top, before all of it trains."""
    step_epochs: Epochs = 0.5
    """Epochs of each such stage."""
    layer_decay: float = Field(default=0.9, gt=0.0, le=1.0)
    """Each block's rate as a share of that of the block above it (ULMFiT's 1 / 2.6 is for three layers)."""
    curve: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Also train on so many rows, with the model as it came and from random weights: the data-efficiency curve."""
    scratch_learning_rate: Annotated[float, Field(gt=0.0, le=10.0)] = 1e-4
    """Peak rate from random weights, whatever the model's own: that of BERT's training (Devlin et al. 2018, A.2)."""


def plan(run: Run, options: TransferOptions) -> Plan:
    """Return the stages: those of the curve where it is asked for, then from the top of the network down."""
    curve = tuple(_curve(run, options))
    notes = []
    if curve:
        updates = sum(stage.total_updates for stage in curve)
        notes.append(f"curve trains {len(curve)} more models, {updates} updates and {len(curve)} scorings more")
        rates = f"{run.recipe.optim.learning_rate:g}, and from random weights at {options.scratch_learning_rate:g}"
        notes += _unmet(curve)
        notes.append(f"the model as it came trains at a rate of {rates} (technique.scratch_learning_rate)")
    return Plan((*curve, *_from_the_top(run, options, is_first=not curve)), tuple(notes))


def _unmet(curve: Sequence[Stage]) -> Iterator[str]:
    """Yield a note where the updates of a stage are too few to meet all of its rows."""
    met = {rows_of_curve(stage.name): stage.total_updates * stage.optim.batch_size for stage in curve}
    told = [f"{rows} of {count}" for count, rows in met.items() if rows < count]
    if told:
        yield f"the curve's updates are too few to meet all rows: {', '.join(told)} (optim.epochs, optim.max_updates)"


def transfer(run: Run, options: TransferOptions) -> Generator[Stage, StageResult, None]:
    """Yield the stages of the plan, and report how many of a number of rows its stage of the curve has met."""
    met: dict[str, object] = {}
    for stage in plan(run, options).stages:
        result = yield stage
        count = rows_of_curve(stage.name)
        if count:
            met[stage.name] = min(count, result.updates * stage.optim.batch_size)
    if met:
        run.report(ROWS_MET, met)


def meet(world: World, options: TransferOptions) -> None:
    """Refuse a curve of more rows than there are, and more stages of unfreezing than the model has blocks.

    Raises:
        RecipeError: either of them, both at once.
        ModelError: where the blocks of this architecture are is not known.
    """
    from tenfold.models.layout import find_blocks
    from tenfold.models.load import outline

    problems, rows = [], len(world.first.train)
    over = [count for count in options.curve if count > rows]
    if over:
        found = f"{rows} training rows, and it asks for {', '.join(map(str, over))}"
        problems.append(Problem("technique.curve", found, f"at most {rows}", "remove what is more"))
    if _unfreezes(world.recipe, options):
        trust = world.recipe.model.trust_remote_code
        blocks = len(find_blocks(outline(world.files.folder, trust_remote_code=trust)))
        if options.unfreeze_steps > blocks:
            found = f"{options.unfreeze_steps} stages that unfreeze blocks, and {world.files.name} has {blocks} blocks"
            problems.append(Problem("technique.unfreeze_steps", found, f"at most {blocks}"))
    if problems:
        raise RecipeError(*problems)


def _unfreezes(recipe: Recipe, options: TransferOptions) -> bool:
    return recipe.tuner.kind == "full" and bool(options.unfreeze_steps and options.step_epochs)


def _from_the_top(run: Run, options: TransferOptions, *, is_first: bool) -> Iterator[Stage]:
    from tenfold.evaluation.scorecard import BEFORE

    stages = list(_stages(run, options))
    yield stages[0] if is_first else replace(stages[0], starts_from=BEFORE)
    yield from stages[1:]


def _stages(run: Run, options: TransferOptions) -> Iterator[Stage]:
    from tenfold.recipe.tuners import Frozen, Partial

    if options.embeddings_epochs:
        pattern = rf"(^|\.){_name_of_embeddings(run)}$"
        yield _step(run, "embeddings", Partial(modules=(pattern,)), options.embeddings_epochs)
    if options.head_epochs and run.world.first.kind.head is not None:
        yield _step(run, "head", Frozen(), options.head_epochs)
    for number, patterns in enumerate(_unfrozen(run, options), 1):
        step = _step(run, f"top-{number}", Partial(modules=patterns), options.step_epochs)
        yield replace(step, layer_decay=options.layer_decay)
    yield replace(run.stage("all"), layer_decay=options.layer_decay)


def _step(run: Run, name: str, settings: TunerSettings, epochs: float) -> Stage:
    from tenfold.tuning.tuner import make_tuner

    updates = run.world.first.windows.total_updates(epochs, run.recipe.optim.max_updates)
    return replace(run.stage(name), tuner=make_tuner(settings), total_updates=updates)


def _unfrozen(run: Run, options: TransferOptions) -> Iterator[tuple[str, ...]]:
    """Yield for each step the patterns of the blocks that train in it."""
    from tenfold.models.depth import top_blocks
    from tenfold.models.layout import find_blocks

    if not _unfreezes(run.recipe, options):
        return
    count = len(find_blocks(run.model.base))
    for step in range(1, options.unfreeze_steps + 1):
        part = math.ceil(count * step / (options.unfreeze_steps + 1))
        yield top_blocks(run.model.base, part)


def _name_of_embeddings(run: Run) -> str:
    weights = run.model.base.get_input_embeddings().weight
    name: str = next(name for name, parameter in run.model.base.named_parameters() if parameter is weights)
    return name.replace(".", r"\.")


def _curve(run: Run, options: TransferOptions) -> Iterator[Stage]:
    """Yield for each number of rows a stage that starts from the model as it came, and one from random weights."""
    from tenfold.evaluation.scorecard import BEFORE
    from tenfold.recipe.tuners import Full
    from tenfold.tuning.tuner import make_tuner

    task, optim = run.world.first, run.recipe.optim
    for count in options.curve:
        windows = task.windows.of_first(count)
        common = replace(
            run.stage("curve"),
            windows=windows,
            total_updates=windows.total_updates(optim.epochs, optim.max_updates),
            starts_from=BEFORE,
        )
        yield replace(common, name=f"{PRETRAINED}{count}", layer_decay=options.layer_decay)
        scratch = replace(common, name=f"{SCRATCH}{count}", tuner=make_tuner(Full(start="scratch")))
        yield replace(scratch, learning_rate=options.scratch_learning_rate)


def check(recipe: Recipe, options: TransferOptions) -> list[Problem]:
    """Return what does not fit: several tasks, a curve of one size, from-scratch weights under another tuner."""
    problems = []
    if recipe.tuner.kind == "frozen":
        found = "frozen trains the head alone, and transfer goes on to train what lies below it"
        remedy = "set tuner: full or lora, or technique.kind: task_specific for the head alone"
        problems.append(Problem("tuner.kind", found, remedy=remedy))
    if recipe.data.tasks:
        remedy = "set data.train, or choose technique.kind: multi_task or sequential"
        problems.append(Problem("data.tasks", "transfer is to one task", remedy=remedy))
    if len(set(options.curve)) != len(options.curve) or list(options.curve) != sorted(options.curve):
        problems.append(Problem("technique.curve", f"found {list(options.curve)}", "numbers of rows that rise"))
    if options.curve and recipe.tuner.kind != "full":
        found = f"{recipe.tuner.kind} cannot train a model from random weights, which the curve compares with"
        problems.append(Problem("technique.curve", found, "tuner: full", remedy="set tuner: full, or remove curve"))
    if not options.curve and "scratch_learning_rate" in options.model_fields_set:
        remedy = "set curve, or remove it; for a run from random weights, set optim.learning_rate"
        problems.append(Problem("technique.scratch_learning_rate", "would be read by the curve alone", remedy=remedy))
    if options.embeddings_epochs and recipe.tuner.kind != "full":
        found = f"trained embeddings are part of the model, and {recipe.tuner.kind} leaves it as it is"
        problems.append(Problem("technique.embeddings_epochs", found, "tuner: full", remedy="set tuner: full"))
    return problems


TECHNIQUE = Technique(
    kind="transfer",
    summary="a new head on the frozen trunk, then unfreezing from the top down, lower layers at lower rates",
    when="few labelled rows, another domain or language, or speech, and a model that knows something near it",
    stages=transfer,
    options=TransferOptions,
    check=check,
    meet=meet,
    plan=plan,
    claims=(
        task_metric_rises(source="Howard & Ruder 2018, arXiv 1801.06146"),
        fewer_rows_than_from_scratch(source="Howard & Ruder 2018, arXiv 1801.06146, figure 3"),
    ),
)
