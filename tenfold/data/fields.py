"""How one column of a row is read, whatever the row is for; what cannot be read is a fault of that row."""

from __future__ import annotations

from collections.abc import Mapping

from tenfold.data.json_stream import DECODER, RepeatedKey, json_kind


class RowFault(Exception):
    """A row that cannot be learned from: why, and perhaps what to do; the caller says where it stands."""

    def __init__(self, found: str, remedy: str = "") -> None:
        super().__init__(found)
        self.remedy = remedy


def value_of(row: Mapping[str, object], name: str, columns: Mapping[str, str]) -> object:
    """Return what the row has for our column `name`; `columns` gives the row's own name for it.

    Raises:
        RowFault: nothing, or null.
    """
    column = columns.get(name, name)
    if name not in row:
        raise RowFault(f"no {column!r} (the row has: {', '.join(row)})")
    if row[name] is None:
        raise RowFault(f"{column!r} is missing or null")
    return row[name]


def text_of(row: Mapping[str, object], name: str, columns: Mapping[str, str]) -> str:
    """Return the text in our column `name`; raises `RowFault` where there is none."""
    return checked_text(value_of(row, name, columns), f"column {columns.get(name, name)!r}")


def list_of(row: Mapping[str, object], name: str, columns: Mapping[str, str], of: str) -> list[object]:
    """Return the list in our column `name`, `of` saying what it should hold; raises `RowFault` where there is none."""
    column = columns.get(name, name)
    value = row.get(name)
    if value is None:
        raise RowFault(f"no {column!r} (the row has: {', '.join(row)})")
    if isinstance(value, str):  # CSV has no lists: there the cell holds the list as JSON
        try:
            value = DECODER.decode(value)
        except RepeatedKey as error:
            raise RowFault(f"column {column!r}: {error}") from None
        except (ValueError, RecursionError):
            raise RowFault(f"column {column!r} is text, not a list of {of}") from None
    if not isinstance(value, list):
        raise RowFault(f"column {column!r} is not a list of {of}")
    return value


def checked_text(value: object, what: str) -> str:
    """Return `value` if it is text that can be encoded; else raises `RowFault`, which calls it `what`."""
    if not isinstance(value, str):
        raise RowFault(f"{what} is {json_kind(value)}, not text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise RowFault(f"{what} holds half of a surrogate pair (broken escape such as \\ud83d)") from None
    return value
