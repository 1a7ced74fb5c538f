"""How third-party loading code is kept from writing progress bars and notes between our own lines."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Silence transformers' progress bars and log lines below `error` inside the block, then restore both."""
    from transformers.utils import logging as library

    level, bars = library.get_verbosity(), library.is_progress_bar_enabled()
    library.set_verbosity(logging.ERROR)
    library.disable_progress_bar()
    try:
        with redirect_stderr(io.StringIO()):  # some of its bars heed no setting
            yield
    finally:
        library.set_verbosity(level)
        if bars:
            library.enable_progress_bar()
