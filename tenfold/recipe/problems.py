"""How a pydantic validation error becomes our own: path, what was found, what is allowed, nearest name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from tenfold.errors import Problem, RecipeError, nearest, shown
from tenfold.recipe.tuners import TUNERS


@contextmanager
def explained(recipe_type: type[BaseModel], *, within: str = "") -> Iterator[None]:
    """Turn the block's `ValidationError` into a `RecipeError` with one `Problem` per fault.

    `within` names the section of the recipe that is of that type, where it is not the whole recipe.
    """
    try:
        yield
    except ValidationError as error:
        problems = [_problem(recipe_type, details, within) for details in error.errors(include_url=False)]
        raise RecipeError(*problems) from None


def _problem(recipe_type: type[BaseModel], details: Any, within: str) -> Problem:
    path = [str(part) for part in details["loc"]]
    branches = [place for place in range(1, len(path)) if path[place - 1] == "tuner" and path[place] in TUNERS]
    # pydantic names the union's branch; the user never wrote it
    kind = path.pop(branches[0]) if branches else None
    where = ".".join([within, *path] if within else path) or "recipe"
    if details["type"] == "extra_forbidden":
        known = _known_keys(recipe_type, path[:-1], kind)
        return Problem(
            where=where,
            found="unknown key",
            allowed=", ".join(known),
            remedy=nearest(path[-1], known) or "remove it, or use one of the allowed keys",
        )
    if details["type"] in ("union_tag_invalid", "union_tag_not_found"):
        found = str(details.get("ctx", {}).get("tag", "no kind"))
        return Problem(
            where=f"{where}.kind",
            found=f"unknown tuner {shown(found)}" if details["type"] == "union_tag_invalid" else "no kind given",
            allowed=", ".join(TUNERS),
            remedy=nearest(found, TUNERS) or "use one of the allowed kinds",
        )
    message = str(details["msg"]).removeprefix("Value error, ")
    if details["type"] == "value_error":
        return Problem(where=where, found=message)
    value = details.get("input")
    found = "nothing given" if details["type"] == "missing" else f"found {shown(value)}"
    if details["type"] in ("model_type", "model_attributes_type"):
        return Problem(where=where, found=found, allowed="a section: its settings below it, indented")
    if details["type"] in ("tuple_type", "list_type"):
        return Problem(where=where, found=found, allowed="a list: [one, another]")
    message = message.removeprefix("Input should be ")
    words = re.findall(r"'([^']*)'", message) if details["type"] == "literal_error" else []
    return Problem(where, found, allowed=message[0].lower() + message[1:], remedy=nearest(str(value), words))


def _known_keys(recipe_type: type[BaseModel], path: list[str], tuner_kind: str | None) -> list[str]:
    if tuner_kind is not None:
        return sorted(TUNERS[tuner_kind].model_fields)
    place: Any = recipe_type
    for part in path:
        if get_origin(place) in (dict, tuple):
            # a mapping by a name of the user's own (`data.tasks.NAME`), or a list, has one type for all in it
            place = get_args(place)[get_origin(place) is dict]
        else:
            place = place.model_fields[part].annotation
    return list(place.model_fields)
