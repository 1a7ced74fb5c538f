"""What task-specific tuning does: its baselines, its stages, and what is settled on validation rows in the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from tenfold.evaluation.scorecard import BEFORE
from tenfold.techniques.task_specific_names import ALONE, CALIBRATED, DOMAIN, FEW_SHOT, TASK, WORDS, ZERO_SHOT

if TYPE_CHECKING:
    from tenfold.engine.stage import Learned, Stage
    from tenfold.evaluation.scorecard import Score
    from tenfold.objectives.masked_lm import MaskedLanguageModelling
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


Scorer = Callable[..., "Score"]
"""Called with `model`, `task` and `stage`."""


def scorers(run: Run, options: TaskSpecificOptions) -> dict[str, tuple[Scorer, dict[str, object]]]:
    """Return for each baseline what scores it, and what decides its score beside the test rows."""
    from tenfold.tasks.baselines import asked_as_it_is, shown_examples, words_alone

    task, seed = run.world.first, run.runtime.seed
    shown = {"train": task.train.fingerprint, "shots": options.shots, "seed": seed}
    known: dict[str, tuple[Scorer, dict[str, object]]] = {
        ZERO_SHOT: (asked_as_it_is, {}),
        FEW_SHOT: (partial(shown_examples, shots=options.shots, seed=seed), shown),
        WORDS: (lambda model, task, *, stage: words_alone(task, stage=stage), {"train": task.train.fingerprint}),
    }
    return {name: known[name] for name in baselines(task)} if options.baselines else {}


def score_baselines(run: Run, options: TaskSpecificOptions) -> None:
    """Add a row of the scorecard for each baseline, on the same test rows as everything else."""
    task = run.world.first
    for name, (score, judged) in scorers(run, options).items():
        run.measure(name, task.name, {**task.judged_by, "baseline": name, **judged}, partial(score, task=task))


def stages(run: Run, options: TaskSpecificOptions) -> list[Stage]:
    """Return the task without its domain, where that is compared, the domain's stage, and the task's.

    Raises:
        UserError: the tokenizer cannot mask words, or the text gives test rows away.
    """
    task = run.stage(TASK)
    if options.domain is None:
        return [task]
    alone = [replace(run.stage(ALONE), starts_from=BEFORE)] if options.compare_domain else []
    return [*alone, replace(_domain(run, options, options.domain), starts_from=BEFORE), task]


def told_masked_words(run: Run, options: TaskSpecificOptions) -> str | None:
    """Return in words where the layer comes from that tells an encoder's masked words, if there is a domain's text."""
    from tenfold.tasks.masked_words import told_by

    return told_by(run.world.processor) if options.domain is not None and run.world.family == "encoder" else None


def _domain(run: Run, options: TaskSpecificOptions, source: str) -> Stage:
    from tenfold.data.gate import check_signal
    from tenfold.data.masking import MaskedRenderer
    from tenfold.data.prepare import prepare
    from tenfold.data.render import Renderer
    from tenfold.data.sources import open_rows
    from tenfold.data.windows import MICRO_BATCH_TOKENS, Windows
    from tenfold.objectives.causal_lm import CausalLanguageModelling

    task, recipe, is_encoder = run.world.first, run.recipe, run.world.family == "encoder"
    renderer = (MaskedRenderer if is_encoder else Renderer)(run.world.tokenizer, task.data)
    text = prepare(open_rows(source, format="text"), renderer, task=task.name)
    check_signal(text, {"test": task.test}, renderer=renderer, gate=recipe.gate)
    windows = Windows(
        text,
        batch_size=recipe.optim.batch_size,
        micro_batch_tokens=recipe.runtime.micro_batch_tokens or MICRO_BATCH_TOKENS,
        seed=run.runtime.seed,
    )
    stage = run.stage(DOMAIN)
    objective, learned = _masked(run, stage) if is_encoder else (CausalLanguageModelling(), None)
    return replace(
        stage,
        objective=objective,
        learned=learned,
        windows=windows,
        total_updates=windows.total_updates(options.domain_epochs, options.domain_updates),
        selection=None,
        tasks=(),
    )


def _masked(run: Run, stage: Stage) -> tuple[MaskedLanguageModelling, Learned | None]:
    """Return the loss of masked words, and what of its own head trains: it is needed in this stage alone.

    A head that came with the encoder trains where all of the encoder does; one that was made trains always.
    """
    import torch

    from tenfold.engine.runtime import derived_seed
    from tenfold.engine.stage import Learned
    from tenfold.models.load import outline
    from tenfold.models.masked_head import open_masked_head
    from tenfold.objectives.masked_lm import MaskedLanguageModelling

    files, device = run.world.files, run.runtime.device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(run.runtime.seed, "head", DOMAIN))
        head = open_masked_head(outline(files.folder, trust_remote_code=run.recipe.model.trust_remote_code)).to(device)
    objective = MaskedLanguageModelling(head=head)
    if head.is_opened and not stage.tuner.loads_in_fp32:
        head.requires_grad_(False)
        return objective, None
    rate = stage.learning_rate if head.is_opened else stage.optim.head_learning_rate
    return objective, Learned(dict(head.named_parameters()), rate)


def settle(run: Run, options: TaskSpecificOptions) -> None:
    """Choose temperature and threshold on the validation rows, tell how, and score the test rows with them."""
    from tenfold.evaluation.confidence import is_at_end
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
    if is_at_end(found.temperature):
        told = "at the end of its range: too few validation rows, or the model tells nothing apart (or all of them)"
        run.report("note on the temperature", told)
    if isinstance(kind, MultiLabel):
        run.report("threshold", round(found.threshold, 4))
    for row in found.table:
        is_best = row == found.best
        if is_best or row.threshold in SHOWN_THRESHOLDS:
            name = f"{'best F1' if is_best else 'answers'} at {row.threshold:g}"
            run.report(name, {key: round(value, 3) for key, value in vars(row).items() if key != "threshold"})
    if task.items:
        run.measure(CALIBRATED, task.name, task.judged_by, task.score)
