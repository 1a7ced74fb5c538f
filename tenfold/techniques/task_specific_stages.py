"""What task-specific tuning does: its baselines, its stages, and what is settled on validation rows in the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from tenfold.errors import ModelError, Problem
from tenfold.evaluation.scorecard import BEFORE
from tenfold.techniques.task_specific_names import ALONE, CALIBRATED, DOMAIN, FEW_SHOT, TASK, WORDS, ZERO_SHOT

if TYPE_CHECKING:
    from tenfold.engine.stage import Stage
    from tenfold.evaluation.scorecard import Score
    from tenfold.models.trunk import Trunk
    from tenfold.tasks.task import Task
    from tenfold.techniques.context import Run
    from tenfold.techniques.task_specific_options import TaskSpecificOptions

SHOWN_THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Thresholds that are told beside the best one."""


def baselines(task: Task) -> list[str]:
    """Return the names of what the task's test rows can be compared with that trains no model."""
    from tenfold.tasks.baselines import has_words_baseline
    from tenfold.tasks.classification import Classification

    if not task.items:
        return []
    asked = [ZERO_SHOT, FEW_SHOT] if isinstance(task.kind, Classification) else []
    return [*asked, *([WORDS] if has_words_baseline(task) else [])]


def score_baselines(run: Run, options: TaskSpecificOptions) -> None:
    """Add a row of the scorecard for each baseline, on the same test rows as everything else."""
    from tenfold.tasks.baselines import asked_as_it_is, shown_examples, words_alone

    task, seed = run.world.first, run.runtime.seed

    def alone(model: Trunk, *, stage: str) -> Score:
        return words_alone(task, stage=stage)

    known: dict[str, Callable[..., Score]] = {
        ZERO_SHOT: partial(asked_as_it_is, task=task),
        FEW_SHOT: partial(shown_examples, task=task, shots=options.shots, seed=seed),
        WORDS: alone,
    }
    for name in baselines(task):
        judged = {"baseline": name, "train": task.train.fingerprint, "shots": options.shots, "seed": seed}
        run.measure(name, task.name, {**task.judged_by, **judged}, known[name])


def stages(run: Run, options: TaskSpecificOptions) -> list[Stage]:
    """Return the task without its domain, where that is compared, the domain's stage, and the task's.

    Raises:
        UserError: the model cannot go on with raw text, or the text gives test rows away.
    """
    task = run.stage(TASK)
    if options.domain is None:
        return [task]
    alone = [replace(run.stage(ALONE), starts_from=BEFORE)] if options.compare_domain else []
    return [*alone, replace(_domain(run, options, options.domain), starts_from=BEFORE), task]


def _domain(run: Run, options: TaskSpecificOptions, source: str) -> Stage:
    from tenfold.data.gate import check_signal
    from tenfold.data.prepare import prepare
    from tenfold.data.render import Renderer
    from tenfold.data.sources import open_rows
    from tenfold.data.windows import MICRO_BATCH_TOKENS, Windows
    from tenfold.objectives.causal_lm import CausalLanguageModelling

    if run.world.family != "decoder":
        found = "an encoder is opened without the layer that told its masked words, so raw text has nothing to train"
        raise ModelError(Problem("technique.domain", found, remedy="choose a decoder for model.name, or remove it"))
    task, recipe = run.world.first, run.recipe
    renderer = Renderer(run.world.tokenizer, task.data)
    text = prepare(open_rows(source, format="text"), renderer, task=task.name)
    check_signal(text, {"test": task.test}, renderer=renderer, gate=recipe.gate)
    windows = Windows(
        text,
        batch_size=recipe.optim.batch_size,
        micro_batch_tokens=recipe.runtime.micro_batch_tokens or MICRO_BATCH_TOKENS,
        seed=run.runtime.seed,
    )
    return replace(
        run.stage(DOMAIN),
        objective=CausalLanguageModelling(),
        windows=windows,
        total_updates=windows.total_updates(options.domain_epochs, options.domain_updates),
        selection=None,
        tasks=(),
    )


def settle(run: Run, options: TaskSpecificOptions) -> None:
    """Choose temperature and threshold on the validation rows, tell how, and score the test rows with them."""
    from tenfold.tasks.classification import Classification
    from tenfold.tasks.multi_label import MultiLabel
    from tenfold.tasks.settling import settled_on

    task, kind = run.world.first, run.world.first.kind
    if not isinstance(kind, Classification | MultiLabel):
        return
    if task.validation is None:
        run.report("calibration", "none: no validation rows (set evaluation.every to hold some out)")
        return
    found = settled_on(
        run.model,
        kind,
        task.validation,
        with_temperature=options.calibrate,
        with_threshold=options.threshold and isinstance(kind, MultiLabel),
    )
    kind.temperature, kind.threshold = found.temperature, found.threshold
    run.report("temperature", round(found.temperature, 4))
    if isinstance(kind, MultiLabel):
        run.report("threshold", round(found.threshold, 4))
    for row in found.table:
        is_best = row == found.best
        if is_best or row.threshold in SHOWN_THRESHOLDS:
            name = f"{'best F1' if is_best else 'answers'} at {row.threshold:g}"
            run.report(name, {key: round(value, 3) for key, value in vars(row).items() if key != "threshold"})
    if task.items:
        run.measure(CALIBRATED, task.name, task.judged_by, task.score)
