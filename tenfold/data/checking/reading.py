"""One pass over all rows: each is looked at by itself, and leaves its keys for what is found across rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from tenfold.data.checking.answers import LONG_ANSWER, ends_open, leaves_open, refuses
from tenfold.data.checking.damage import damages
from tenfold.data.checking.finding import Shown, Tally
from tenfold.data.checking.keys import NO_ANSWER, UNREADABLE, Keys
from tenfold.data.checking.languages import Languages
from tenfold.data.checking.near import Signatures
from tenfold.data.checking.said import Said, read_said, texts_of
from tenfold.data.checking.secrets import found_in, masked
from tenfold.data.checking.sides import Side, Sides, shortened
from tenfold.data.fields import RowFault
from tenfold.data.formats import LABELLED

BETWEEN = "\t\t"
"""Stands between the texts of a row when all are looked through at once: nothing that is looked for has it inside."""


@dataclass(frozen=True)
class Reading:
    """Where the pass takes rows from and leaves what it finds."""

    sides: Sides
    keys: Keys
    tally: Tally
    signatures: Signatures | None
    languages: Languages | None

    def read_all(self, tell: Callable[[int, int], None]) -> None:
        """Read every row once; `tell` hears how many rows of how many are done."""
        total = len(self.sides)
        for side, start, origins, rows in self.sides.chunks():
            contents = []
            for number, (origin, row) in enumerate(zip(origins, rows, strict=True), start):
                said = self._read(side, number, origin, row)
                contents.append((said.content, said.within) if said else (f"\x1erow {number}", ""))
            if self.signatures is not None:
                self.signatures.add(start, contents)
            tell(start + len(rows), total)

    def _read(self, side: Side, number: int, origin: str, row: Mapping[str, object]) -> Said | None:
        texts = texts_of(side.rows, row)
        joined = BETWEEN.join(texts)
        place = side.place(origin)
        has_surrogates = self._look(texts, joined, place)
        self.keys.is_test[number] = side.is_test
        try:
            said = read_said(side.rows, row)
        except RowFault as fault:
            self.keys.state[number] = UNREADABLE
            if not has_surrogates:  # told already, and by its name
                self.tally.add("unreadable", partial(Shown, place, str(fault)))
            return None
        if said is None:
            self.keys.state[number] = NO_ANSWER
            self.tally.add("empty_answers", lambda: Shown(place, shortened(joined)))
            return None
        self._keep(side, number, said)
        if side.rows.format not in LABELLED and refuses(said.answer):
            self.tally.add("refusals", lambda: Shown(place, shortened(said.answer)))
        if self.languages is not None and number % self.languages.step == 0:
            text = said.answer if side.rows.format == "translation" else max(texts, key=len)
            self.languages.ask(text, lambda: Shown(place, shortened(text)))
        return said

    def _look(self, texts: list[str], joined: str, place: str) -> bool:
        """Tell what the texts hold that they should not; return whether that is half a surrogate pair."""
        found: set[str] = set()
        for kind, text in found_in(joined):
            self.tally.add(kind, partial(_masked, place, kind, text))
        for kind, start, stop in damages(texts, joined):
            found.add(kind)
            self.tally.add(kind, partial(_around, place, joined, start, stop))
        return "surrogates" in found

    def _keep(self, side: Side, number: int, said: Said) -> None:
        keys = self.keys
        keys.row[number], keys.prompt[number] = said.row_key, said.prompt_key
        keys.task[number], keys.answer[number] = said.task_key, said.answer_key
        keys.length[number] = min(len(said.prompt) + len(said.answer), 2**31 - 1)
        keys.is_labelled[number] = side.rows.format in LABELLED
        if said.answer and not keys.is_labelled[number]:
            keys.is_sentence[number] = len(said.answer.split(None, 3)) >= 3
            is_long = len(said.answer) >= LONG_ANSWER
            keys.is_long[number] = is_long
            keys.ends_open[number] = is_long and ends_open(said.answer)
            keys.leaves_open[number] = leaves_open(said.answer)


def _masked(place: str, kind: str, text: str) -> Shown:
    return Shown(place, masked(kind, text))


def _around(place: str, text: str, start: int, stop: int) -> Shown:
    return Shown(place, shortened(text, start, stop))
