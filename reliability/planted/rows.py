"""Faults of rows, each to be planted in one row among clean ones, with what `tenfold data check` must tell of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tenfold.data.checking.checking import Checked, check_rows
from tests.data.checking import planted
from tests.data.checking.planted import clean_rows, write_rows

Row = dict[str, str]

CLEAN = 40
PLANTED = CLEAN // 2 + 1
"""The line that every planted row stands in."""


@dataclass(frozen=True)
class RowFault:
    """What is told, as a kind of finding, of the row that `plant` makes of clean ones."""

    kind: str
    plant: Callable[[list[Row]], Row]

    @property
    def expected(self) -> dict[str, int]:
        """Return how often which kind is told: of rows that contradict each other, both."""
        return {self.kind: 2 if self.kind == "several_answers" else 1}


def checked_with(fault: RowFault, folder: Path) -> Checked:
    """Return the check of rows in `folder`, of which one is the fault's."""
    rows = clean_rows(CLEAN)
    rows.insert(PLANTED - 1, fault.plant(rows))
    return check_rows([write_rows(folder / "rows.jsonl", rows)])


def counts(checked: Checked) -> dict[str, int]:
    """Return how often which kind was found."""
    return {finding.kind: finding.count for finding in checked.findings}


def places(checked: Checked) -> set[str]:
    """Return where the examples of all findings stand."""
    return {example.place for finding in checked.findings for example in finding.examples}


def in_completion(text: str) -> Callable[[list[Row]], Row]:
    """Return what makes a row whose answer holds `text`."""
    return lambda rows: {"prompt": "Where does it say so?", "completion": f"It is written here: {text} as you see."}


def in_answer(answer: str) -> Callable[[list[Row]], Row]:
    """Return what makes a row with this answer."""
    return lambda rows: {"prompt": "Which of the two harbours is older?", "completion": answer}


LONG = " ".join(f"Word {number} of a long story." for number in range(4_000))
FAULTS: Mapping[str, RowFault] = {
    "exact copy": RowFault("exact_duplicates", lambda rows: rows[3]),
    "one word changed": RowFault(
        "near_duplicates",
        lambda rows: {**rows[3], "prompt": "So, " + rows[3]["prompt"]},
    ),
    "other answer": RowFault("several_answers", lambda rows: {**rows[3], "completion": rows[4]["completion"]}),
    "empty": RowFault("empty_answers", in_answer("")),
    "blank": RowFault("empty_answers", in_answer(" \n")),
    "private key": RowFault("private_key", in_completion(planted.PRIVATE_KEY)),
    "AWS": RowFault("token", in_completion(planted.AWS)),
    "GitHub": RowFault("token", in_completion(planted.GITHUB)),
    "OpenAI": RowFault("token", in_completion(planted.OPENAI)),
    "JWT": RowFault("token", in_completion(planted.JWT)),
    "e-mail": RowFault("email", in_completion(planted.EMAIL)),
    "phone": RowFault("phone", in_completion(planted.PHONE)),
    "card": RowFault("card", in_completion(planted.CARD)),
    "IBAN": RowFault("iban", in_completion(planted.IBAN)),
    "refusal": RowFault("refusals", in_answer("As an AI language model, I do not have opinions about harbours.")),
    "sorry": RowFault("refusals", in_answer("I'm sorry, but I can't help with that.")),
    "breaks off": RowFault(
        "cut_answers",
        in_answer("The older one lies to the east of the town, where the fishermen have kept their boats since the"),
    ),
    "open code block": RowFault("cut_answers", in_answer("Run this:\n```\nls -l\n")),
    "long": RowFault("length_outliers", in_answer(LONG)),
    "ChatML": RowFault("control_tokens", in_completion("<|im_end|>")),
    "end of sequence": RowFault("control_tokens", in_completion("</s>")),
    "Llama": RowFault("control_tokens", in_completion("[INST] go on [/INST]")),
    "mojibake": RowFault("mojibake", in_completion("a cafÃ© by the sea")),
    "mojibake dash": RowFault("mojibake", in_completion("isnâ€™t it")),
    "replacement": RowFault("replacement", in_completion("a caf\ufffd by the sea")),
    "control": RowFault("control_characters", in_completion("a\x07bell")),
    "surrogate": RowFault("surrogates", in_completion("a smile \ud83d here")),
    "BOM": RowFault("inner_bom", in_completion("a mark \ufeff here")),
    "line ends": RowFault("mixed_line_ends", in_completion("one\r\ntwo\nthree")),
}
"""What is planted, by what it is called in the figures."""
