"""Which tokens of a rendered conversation are in the loss."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence

from tenfold.data.templates import Span


def supervise(
    spans: Sequence[Span], ids: Sequence[int], ends: Sequence[int], special_ids: Collection[int]
) -> tuple[list[bool], bool]:
    """Return for each token whether it is in the loss, and whether every span's end-of-turn token is.

    `ends` has, for each token, the number of the character behind it, never falling. A span is learned from
    the first token that ends after its start up to and including the first special token after its content;
    without one, up to the end of the content.
    """
    supervised = [False] * len(ids)
    all_end = True
    for span in spans:
        first = bisect_right(ends, span.start)
        # All bytes of one character end at one place; a token across the border belongs to the reply.
        last = max(bisect_right(ends, span.content_end) - 1, bisect_left(ends, span.content_end))
        after = range(bisect_right(ends, span.content_end), bisect_right(ends, span.limit))
        ending = next((place for place in after if ids[place] in special_ids), None)
        if ending is None:
            all_end = False
        else:
            last = ending
        supervised[first : last + 1] = [True] * (last + 1 - first)
    return supervised, all_end
