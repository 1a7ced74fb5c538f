"""From YAML to a `Recipe` and back; `--set a.b=c` on the way."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from tenfold.errors import Problem, RecipeError
from tenfold.recipe.sections import SHORTHAND, Recipe, written_out

MOST_BYTES = 2**20
"""Of a file of settings."""

MOST_VALUES = 100_000
"""In a file of settings, with every alias written out: a few lines of them can stand for billions."""

MOST_NESTED = 100
"""Of `[` and `{` within one another."""

TOO_DEEP = "lists and mappings too deep within one another"


class _StrictLoader(yaml.SafeLoader):
    """YAML as people write it: a key given twice is an error, and 2e-4 is a number; aliases stand for few values."""

    def fetch_flow_collection_start(self, token: type[yaml.Token]) -> None:
        """Begin a `[` or `{`; each takes as long as it lies deep, so a kilobyte of them would take half a second."""
        if self.flow_level == MOST_NESTED:
            raise yaml.MarkedYAMLError(problem=TOO_DEEP, problem_mark=self.get_mark())
        super().fetch_flow_collection_start(token)

    def get_single_node(self) -> yaml.Node | None:
        """Return the document's tree, once it is known not to be too large."""
        node = super().get_single_node()
        if node is not None:
            _count_values(node, {})
        return node


def _count_values(node: yaml.Node, counted: dict[int, int]) -> int:
    """Return how many values `node` holds, with aliases written out; `counted` has those of nodes met before."""
    if id(node) in counted:
        if not counted[id(node)]:
            raise yaml.MarkedYAMLError(problem="a value that holds itself", problem_mark=node.start_mark)
        return counted[id(node)]
    counted[id(node)] = 0  # being counted
    parts = node.value if isinstance(node, yaml.CollectionNode) else ()
    inside = chain.from_iterable(parts) if isinstance(node, yaml.MappingNode) else parts
    count = 1 + sum(_count_values(each, counted) for each in inside)
    if count > MOST_VALUES:
        found = f"more than {MOST_VALUES:,} values, aliases written out"
        raise yaml.MarkedYAMLError(problem=found, problem_mark=node.start_mark)
    counted[id(node)] = count
    return count


def _unique_mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        key = loader.construct_object(key_node)
        if not isinstance(key, str):
            raise yaml.MarkedYAMLError(problem=f"key {key!r} is not a name", problem_mark=key_node.start_mark)
        if key in seen:
            raise yaml.MarkedYAMLError(problem=f"key {key!r} is given twice", problem_mark=key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)
# YAML 1.1 reads 2e-4 as text because it has no dot; everyone who writes a learning rate means a number.
_NUMBER = ("tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789"))
_StrictLoader.add_implicit_resolver(*_NUMBER)


class _Dumper(yaml.SafeDumper):
    """Puts text in quotes that `_StrictLoader` would read as a number, or that holds YAML's other line breaks."""


def _represent_text(dumper: _Dumper, text: str) -> yaml.Node:
    style = '"' if set(text) & set("\x85\u2028\u2029\ufeff") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_implicit_resolver(*_NUMBER)


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read the recipe file at `path` and apply `a.b=c` overrides.

    Raises:
        RecipeError: the file is missing, not UTF-8, not YAML, or has problems of shape or range.
    """
    return parse_recipe(with_overrides(read_tree(Path(path)), overrides))


def read_tree(path: Path) -> dict[str, Any]:
    """Return the sections in the YAML file at `path`, as plain values.

    Raises:
        RecipeError: the file is missing, not UTF-8, or not YAML.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        text = content.decode("utf-8")
    except FileNotFoundError:
        raise RecipeError(
            Problem(str(path), "no such file", remedy="write one with `tenfold init TECHNIQUE --data FILE`")
        ) from None
    except IsADirectoryError:
        raise RecipeError(Problem(str(path), "a folder", allowed="a YAML file")) from None
    except UnicodeDecodeError as error:
        raise RecipeError(
            Problem(str(path), f"not UTF-8 (byte {error.start})", remedy="save the file as UTF-8")
        ) from None
    except OSError as error:
        raise RecipeError(Problem(str(path), f"cannot be read: {error.strerror}")) from None
    except ValueError as error:  # a path with a NUL in it
        raise RecipeError(Problem(repr(str(path)), f"no path: {error}")) from None
    if len(content) > MOST_BYTES:
        raise RecipeError(Problem(str(path), "too long for a file of settings", f"{MOST_BYTES >> 20} MiB"))
    return _parse_yaml(text, str(path))


def parse_recipe(tree: Mapping[str, Any]) -> Recipe:
    """Validate a tree of plain values as a `Recipe`; all problems are raised at once as a `RecipeError`."""
    return Recipe(**tree)


def with_overrides(tree: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a copy of `tree` with each `section.key=value` applied; values are read as YAML."""
    result = written_out(copy.deepcopy(dict(tree)))
    for override in overrides:
        path, equals, value = override.partition("=")
        if not equals or not all(part.strip() for part in path.split(".")):
            raise RecipeError(Problem(f"--set {override}", "not of the form key=value", allowed="--set tuner.rank=32"))
        *sections, key = path.strip().split(".")
        place = result
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise RecipeError(Problem(f"--set {override}", f"{section!r} holds a value, not a section"))
        place[key] = _parse_yaml(f"value: {value}" if value else "value: ''", f"--set {override}")["value"]
    return result


def dump_recipe(recipe: Recipe) -> str:
    """Return the recipe as YAML with every setting written out; `load_recipe` reads it back equal."""
    return yaml.dump(recipe.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def dump_changes(recipe: Recipe) -> str:
    """Return as YAML what a reader of the recipe needs to see: model, technique, tuner, and all that is no default.

    A task shows what differs from the settings above it. `load_recipe` reads it back equal.
    """
    whole = recipe.model_dump(mode="json")
    found = recipe.model_dump(mode="json", exclude_defaults=True)
    found["output"] = recipe.output
    for section, key in SHORTHAND.items():
        found[section] = {key: whole[section][key], **found.get(section, {})}
        if len(found[section]) == 1:
            found[section] = whole[section][key]
    for name, task in whole["data"]["tasks"].items():
        own = {key: value for key, value in task.items() if value != whole["data"][key] and key != "tasks"}
        found["data"]["tasks"][name] = own["train"] if set(own) == {"train"} else own
    ordered = {section: found[section] for section in whole if section in found}
    return yaml.dump(ordered, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=60)


def _parse_yaml(text: str, where: str) -> dict[str, Any]:
    try:
        tree = yaml.load(text, Loader=_StrictLoader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise RecipeError(Problem(f"{where}{line}", f"not valid YAML: {error.problem}")) from None
    except RecursionError:
        raise RecipeError(Problem(where, f"not valid YAML: {TOO_DEEP}")) from None
    except yaml.YAMLError as error:
        raise RecipeError(Problem(where, f"not valid YAML: {str(error).splitlines()[0]}")) from None
    except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError) as error:
        # a date such as 2024-13-01, or text under a tag that it does not fit, such as !!int ''
        raise RecipeError(Problem(where, f"not valid YAML: {error}", remedy="put the value in quotes")) from None
    if tree is None:
        raise RecipeError(Problem(where, "empty", remedy="write one with `tenfold init TECHNIQUE --data FILE`"))
    if not isinstance(tree, dict):
        raise RecipeError(Problem(where, f"a {type(tree).__name__}", allowed="sections such as `model:` and `data:`"))
    return tree
