"""Which tokens of a rendered conversation are in the loss."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from tenfold.data.templates import Span


class Ends(Protocol):
    """Where the tokens of a text end."""

    def until(self, place: int) -> int:
        """Return how many tokens end at character `place` or before; all bytes of a character end at one place."""
        ...


def supervise(
    spans: Sequence[Span], ids: Sequence[int], ends: Ends, special_ids: Collection[int]
) -> tuple[list[bool], bool]:
    """Return for each token whether it is in the loss, and whether every span's end-of-turn token is.

    A span is learned from the first token that ends after its start up to and including the first special token after
    its content; without one, up to the end of the content.
    """
    supervised = [False] * len(ids)
    all_end = True
    for span in spans:
        first, behind = ends.until(span.start), ends.until(span.content_end)
        # a token across the border belongs to the reply
        last = max(behind - 1, ends.until(span.content_end - 1))
        after = range(behind, ends.until(span.limit))
        ending = next((place for place in after if ids[place] in special_ids), None)
        if ending is None:
            all_end = False
        else:
            last = ending
        last = min(last, len(ids) - 1)
        supervised[first : last + 1] = [True] * (last + 1 - first)
    return supervised, all_end
