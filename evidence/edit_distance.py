"""How far a transcript is from what was said: word and character error rates over a whole set."""

from __future__ import annotations

from collections.abc import Sequence


def distance(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the fewest insertions, deletions and replacements that make `first` into `second`.

    Source: Wagner and Fischer 1974.
    """
    row = list(range(len(second) + 1))
    for above, left in enumerate(first, start=1):
        diagonal, row[0] = row[0], above
        for position, right in enumerate(second, start=1):
            replaced = diagonal + (left != right)
            diagonal = row[position]
            row[position] = min(replaced, row[position] + 1, row[position - 1] + 1)
    return row[-1]


def error_rate(heard: Sequence[Sequence[str]], said: Sequence[Sequence[str]]) -> float:
    """Return the distances of all pairs by the length of all that was said; above 1 where much is made up."""
    wrong = sum(distance(first, second) for first, second in zip(heard, said, strict=True))
    return wrong / sum(len(second) for second in said)
