"""Feature-based transfer: a frozen model's states are features, and an estimator of scikit-learn learns from them.

Idea: run the rows through the model once, keep a pooled state of each, and fit an ordinary estimator to those. Nothing
of the model trains. Which estimator, layer and pooling is decided by cross-validation on the training rows; row 0 of
the scorecard is what is known without any features: the majority class, or the mean.
Source: Peters, Ruder & Smith 2019, "To Tune or Not to Tune?" (arXiv 1903.05987); Reimers & Gurevych 2019,
"Sentence-BERT" (arXiv 1908.10084), for pooling; Tunstall et al. 2022, "SetFit" (arXiv 2209.11055), for few rows.
When: few labelled rows, no time or memory to train, or a baseline that fine-tuning has to beat.
Costs: one forward pass over the rows, kept on disk (4 bytes × width × layers × poolings a row), and seconds of fitting.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from tenfold.techniques.feature_based_claims import CLAIMS
from tenfold.techniques.feature_based_options import FeatureBasedOptions, check
from tenfold.techniques.technique import Plan, Technique

if TYPE_CHECKING:
    from tenfold.engine.stage import Fit, Stage, StageResult
    from tenfold.techniques.context import Run
    from tenfold.techniques.world import World

NAME = "feature_based"


def meet(world: World, options: FeatureBasedOptions) -> None:
    """Refuse rows that cannot be learned from in this way, and layers that the model does not have."""
    from tenfold.techniques.feature_based_plan import plans

    plans(world, options)


def begin(run: Run, options: FeatureBasedOptions) -> None:
    """Let each task be answered without features, for row 0."""
    from tenfold.engine.store import fingerprint
    from tenfold.features.readers import without_features
    from tenfold.techniques.feature_based_plan import plans

    for task, choice in plans(run.world, options):
        reader = without_features(choice.targets)
        run.answer_with(task.name, reader, key=fingerprint("without features", repr(reader)))


def feature_based(run: Run, options: FeatureBasedOptions) -> Generator[Stage | Fit, StageResult, None]:
    """Yield a fit for each task; before it, where asked to, fine-tune the same model on the same rows to compare."""
    from tenfold.features.candidates import read_candidates
    from tenfold.features.fit import FeatureFit
    from tenfold.techniques.feature_based_comparison import compare, draw_curve, timed
    from tenfold.techniques.feature_based_plan import extraction_of, plans

    for task, choice in plans(run.world, options):
        extraction = extraction_of(run)
        if options.compare:
            compare(run, options, task)
        if options.curve:
            draw_curve(run, options, task, choice, extraction)
        name = NAME if len(run.tasks) == 1 else f"{NAME}_{task.name}"
        yield FeatureFit(name, task.name, choice, extraction, run.log, stop_asked=run.stop_asked)
        timed(run, task, read_candidates(run.fitted[task.name])["seconds"])


def plan(run: Run, options: FeatureBasedOptions) -> Plan:
    """Return what will be tried: no stage of training."""
    names = ", ".join(estimator.name for estimator in options.estimators)
    layers = ("+".join(map(str, each)) if isinstance(each, tuple) else str(each) for each in options.layers)
    tried = (f"estimators {names}", f"layers {', '.join(layers)}", f"pooling {', '.join(options.pooling)}")
    notes = [
        f"chosen by cross-validation in {options.folds} folds of the training rows: {'; '.join(tried)}",
        "before: every row is answered with the training rows' commonest label, or the mean of their numbers",
    ]
    if options.compare:
        notes.append("compare: fine-tuning comes on top, and takes as long as it does")
    return Plan((), tuple(notes))


TECHNIQUE = Technique(
    kind=NAME,
    summary="freeze the model and fit any scikit-learn estimator to its states",
    when="few labelled rows, no time to train, or as the baseline that fine-tuning has to beat",
    stages=feature_based,
    options=FeatureBasedOptions,
    check=check,
    meet=meet,
    begin=begin,
    plan=plan,
    alone="it trains no weights, and an estimator is fitted in one",
    claims=CLAIMS,
)
