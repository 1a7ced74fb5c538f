"""Every reader under test, by name: one small file each kind."""

from __future__ import annotations

from collections.abc import Mapping

from fuzz.promise import Target
from fuzz.targets import adapters, artifacts, audio, chats, estimators, models, recipes, rows, stages

TARGETS: Mapping[str, Target] = {
    target.name: target
    for room in (rows, recipes, chats, artifacts, adapters, models, stages, estimators, audio)
    for target in room.TARGETS
}
