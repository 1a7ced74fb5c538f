"""How a JSON document that holds a list of rows is read row by row, in flat memory."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TextIO

from tenfold.errors import DataError, Problem, shown

MOST_BYTES = 64 * 2**20
"""Of one row, unpacked: a longer one is no row, and would be held in memory whole."""

MOST_NESTED = 100
"""Lists and objects within one another; Python reads a thousand at best, fewer the deeper its own stack is."""

_CHUNK = 1 << 16
_BLANKS = re.compile(r"[ \t\r\n]*")


class RepeatedKey(ValueError):
    """A key that stands more than once in one object: JSON does not say which of its values counts."""


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    row = dict(pairs)
    if len(row) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise RepeatedKey(f"{shown(next(key for key in row if counts[key] > 1))} stands more than once in an object")
    return row


DECODER = json.JSONDecoder(object_pairs_hook=_object)
"""Decodes a row; raises `RepeatedKey`, `json.JSONDecodeError`, another `ValueError`, or `RecursionError`."""


def json_kind(value: object) -> str:
    """Return what JSON calls the value, with its article, for messages."""
    names = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), "null" if value is None else f"a {type(value).__name__}")


def require_shallow(where: str, row: object) -> None:
    """Refuse a row in which more than `MOST_NESTED` lists and objects lie within one another.

    Raises:
        DataError: they do.
    """
    level = [row]
    for _ in range(MOST_NESTED):
        level = [inner for each in level if isinstance(each, dict | list) for inner in _inside(each)]
        if not level:
            return
    raise DataError(
        Problem(where, f"more than {MOST_NESTED} lists and objects within one another", remedy="remove the row")
    )


def _inside(value: dict[str, object] | list[object]) -> Iterable[object]:
    return value.values() if isinstance(value, dict) else value


def too_long(where: str) -> DataError:
    """Return the error for a row that is longer than `MOST_BYTES`."""
    return DataError(
        Problem(
            where, "a row that does not end", f"{MOST_BYTES >> 20} MiB a row", "check that this is the file you mean"
        )
    )


class JsonDocument:
    """A JSON text under way: `[row, …]`, or `{"data": [row, …]}` with other keys beside it."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream = stream
        self._name = name
        self._buffer = ""
        self._at = 0
        self._line = 1  # of self._at

    def rows(self) -> Iterator[tuple[int, object]]:
        """Yield each row with the line it starts on.

        Raises:
            DataError: malformed JSON, or a document of another shape.
        """
        first = self._peek()
        if first == "[":
            yield from self._list()
            self._end()
        elif first == "{":
            yield from self._data_of_object()
        elif first:
            raise self._other_shape(f"a document that starts with {first!r}")

    def _data_of_object(self) -> Iterator[tuple[int, object]]:
        self._take("{")
        has_data = has_rows = False
        while self._peek() != "}":
            line, key = self._line, self._value()
            if not isinstance(key, str):
                raise self._malformed(f"{json_kind(key)} where a key should stand", line)
            if key == "data" and has_data:  # the others say nothing of rows
                raise self._refused("'data' stands more than once in an object", line)
            has_data = has_data or key == "data"
            self._take(":")
            if key == "data" and self._peek() == "[":
                has_rows = True
                yield from self._list()
            else:
                self._value()
            if self._peek() != "}":
                self._take(",")
        if not has_rows:
            raise self._other_shape("one object without a list `data`")
        self._take("}")
        self._end()

    def _list(self) -> Iterator[tuple[int, object]]:
        self._take("[")
        if self._peek() == "]":
            self._take("]")
            return
        while True:
            self._peek()
            line = self._line
            yield line, self._value()
            if self._peek() == "]":
                self._take("]")
                return
            self._take(",")

    def _value(self) -> object:
        self._peek()
        while True:
            try:
                value, end = DECODER.raw_decode(self._buffer, self._at)
            except RepeatedKey as error:
                raise self._refused(str(error), self._line) from None
            except (ValueError, RecursionError) as error:
                place = error.pos if isinstance(error, json.JSONDecodeError) else self._at
                line = self._line + self._buffer.count("\n", self._at, place)
                if self._fill():
                    continue
                message = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
                raise self._malformed(message, line) from None
            if end < len(self._buffer) or not self._fill():  # at the buffer's end, a number could go on
                self._advance(end)
                return value

    def _peek(self) -> str:
        while True:
            blanks = _BLANKS.match(self._buffer, self._at)
            assert blanks is not None
            self._advance(blanks.end())
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._fill():
                return ""

    def _take(self, expected: str) -> None:
        found = self._peek()
        if found != expected:
            raise self._malformed(f"expected {expected!r}, found {found!r}" if found else "ends too early", self._line)
        self._advance(self._at + 1)

    def _end(self) -> None:
        if self._peek():
            raise self._malformed("text after the end of the document", self._line)

    def _advance(self, end: int) -> None:
        self._line += self._buffer.count("\n", self._at, end)
        self._at = end

    def _fill(self) -> bool:
        # Reading as much again as is pending keeps the repeated decoding of one long row linear.
        pending = len(self._buffer) - self._at
        if pending > MOST_BYTES:
            raise too_long(f"{self._name}, line {self._line}")
        more = self._stream.read(max(_CHUNK, pending))
        self._buffer = self._buffer[self._at :] + more
        self._at = 0
        return bool(more)

    def _malformed(self, message: str, line: int) -> DataError:
        return self._refused(f"malformed JSON: {message}", line)

    def _refused(self, found: str, line: int) -> DataError:
        return DataError(Problem(f"{self._name}, line {line}", found, remedy="mend the file"))

    def _other_shape(self, found: str) -> DataError:
        return DataError(Problem(self._name, found, 'a list of rows, or {"data": [rows]}', "reshape the file"))
