"""The settings of feature-based transfer, and what is refused of them before any row is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tenfold.errors import Problem
from tenfold.recipe import Recipe
from tenfold.recipe.tuners import Full, Tuner
from tenfold.techniques.technique import Options

if TYPE_CHECKING:
    from tenfold.features.estimators import Wish
    from tenfold.features.views import View

PooledBy = Literal["first", "last", "mean", "weighted_mean"]
OneLayer = int | Literal["average"]
Layers = OneLayer | Annotated[tuple[OneLayer, ...], Field(min_length=1)]


class EstimatorOption(BaseModel):
    """An estimator by scikit-learn's own name, with its own options beside it."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str

    @model_validator(mode="before")
    @classmethod
    def _written_out(cls, tree: Any) -> Any:
        return {"name": tree} if isinstance(tree, str) else tree

    @property
    def wish(self) -> Wish:
        """The estimator as `tenfold.features` takes it."""
        from tenfold.features.estimators import Wish

        return Wish(self.name, dict(self.model_extra or {}))


class FeatureBasedOptions(Options):
    """Settings of feature-based transfer."""

    estimators: Annotated[tuple[EstimatorOption, ...], Field(min_length=1)] = (
        EstimatorOption(name="LogisticRegression", max_iter=1000),  # type: ignore[call-arg]
    )
    """Estimators of scikit-learn by name; each is tried on every layer and pooling."""
    layers: Annotated[tuple[Layers, ...], Field(min_length=1)] = (-1,)
    """Layers as transformers counts `hidden_states`, `average` for the mean of all; a list in the list: end to end."""
    pooling: Annotated[tuple[PooledBy, ...], Field(min_length=1)] = ("mean",)
    """How a row's states become one: its first, its last, their mean, or the mean weighted by place."""
    folds: Annotated[int, Field(ge=2, le=100)] = 5
    """Parts of the training rows for cross-validation; rows of one group are never in two."""
    standardise: bool = True
    """Give each feature mean 0 and spread 1 on the training rows; states have dimensions a hundred times others."""
    compare: bool = False
    """Also fine-tune the same model on the same rows, for the scorecard and the claims."""
    compare_tuner: Annotated[Tuner, Field(discriminator="kind")] = Full()
    """What trains there."""
    compare_learning_rate: Annotated[float, Field(gt=0.0, le=10.0)] | None = None
    """Its peak rate; when unset, the tuner's own default."""
    curve: tuple[Annotated[int, Field(ge=2)], ...] = ()
    """Also score with so many training rows a class, such as [8, 64, 512]; fine-tuned too with `compare`."""
    curve_seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0, 1, 2)
    """The curve's rows are drawn once for each of these."""
    curve_updates: Annotated[int, Field(ge=1)] = 200
    """Updates of fine-tuning at each point: rows that are few are met more often."""

    @property
    def wishes(self) -> tuple[Wish, ...]:
        """All estimators."""
        return tuple(estimator.wish for estimator in self.estimators)

    @property
    def views(self) -> tuple[View, ...]:
        """Every layer in every pooling."""
        from tenfold.features.views import View

        every = [layers if isinstance(layers, tuple) else (layers,) for layers in self.layers]
        return tuple(View(layers, pooling) for layers in every for pooling in self.pooling)


def check(recipe: Recipe, options: FeatureBasedOptions) -> list[Problem]:
    """Return what this technique cannot work with: a tuner, settings that nothing would read, unknown estimators."""
    from tenfold.features.estimators import wish_problems  # brings scikit-learn along

    problems = []
    if recipe.tuner.kind != "frozen":
        found = f"nothing of the model trains here, and {recipe.tuner.kind} would"
        problems.append(Problem("tuner.kind", found, "frozen", "write `tuner: frozen`, or choose another technique"))
    if recipe.evaluation.every is not None and not options.compare:
        found = "an estimator is fitted in one go: there are no checkpoints to choose from"
        problems.append(Problem("evaluation.every", found, remedy="remove it; folds of the training rows choose"))
    for name, data in recipe.tasks.items():
        where = f"data.tasks.{name}" if recipe.data.tasks else "data"
        if data.class_weights != "none":
            found = "these are weights of a loss, which an estimator does not have"
            remedy = "give the estimator its own: {name: LogisticRegression, class_weight: balanced}"
            problems.append(Problem(f"{where}.class_weights", found, "none", remedy))
        if data.pooling != "auto" and not options.compare:
            remedy = f"write technique.pooling: [{data.pooling}]"
            problems.append(Problem(f"{where}.pooling", "no head is put on the model here", "auto", remedy))
    for number, wish in enumerate(options.wishes):
        problems += wish_problems(wish, f"technique.estimators.{number}")
    return problems
