"""What the header of a safetensors file says, read without the tensors."""

from __future__ import annotations

import json
import math
from pathlib import Path

from tenfold.errors import ModelError, Problem, shown


def num_parameters(path: Path) -> int:
    """Return how many parameters the file holds.

    Raises:
        ModelError: it is no safetensors file.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > path.stat().st_size:
                raise ValueError(f"a header of {length} bytes in a file that is shorter")
            header = json.loads(file.read(length))
        return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        found = f"no safetensors file: {shown(error)}"
        raise ModelError(Problem(str(path), found, remedy="get the model again")) from error
