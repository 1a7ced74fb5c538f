"""Every piece of evidence by its name, in the order in which they are made."""

from __future__ import annotations

from evidence.catalogue_debian import DEBIAN
from evidence.catalogue_models import MODELS
from evidence.catalogue_speech import SPEECH
from evidence.catalogue_tables import TABLES

PIECES = {piece.name: piece for piece in (*MODELS, *TABLES, *DEBIAN, *SPEECH)}
