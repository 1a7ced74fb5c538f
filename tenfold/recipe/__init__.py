"""What a run is: one frozen tree of settings, strictly loaded from YAML and saved with every artifact."""

from tenfold.recipe.load import dump_changes, dump_recipe, load_recipe, parse_recipe, with_overrides
from tenfold.recipe.optim import OptimSection
from tenfold.recipe.sections import (
    FREE_TO_CHANGE,
    TASK,
    DataSection,
    EvaluationSection,
    GateSection,
    LogSection,
    ModelSection,
    Recipe,
    RuntimeSection,
    TechniqueSection,
)

__all__ = [
    "FREE_TO_CHANGE",
    "TASK",
    "DataSection",
    "EvaluationSection",
    "GateSection",
    "LogSection",
    "ModelSection",
    "OptimSection",
    "Recipe",
    "RuntimeSection",
    "TechniqueSection",
    "dump_changes",
    "dump_recipe",
    "load_recipe",
    "parse_recipe",
    "with_overrides",
]
