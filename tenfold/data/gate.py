"""What refuses a run before it starts, because it would teach something other than what was meant.

| rule | refuses |
|---|---|
| no_supervision | a row with no token in the loss |
| end_of_turn | a learned reply without its end-of-turn token in the loss: the model would not learn to stop |
| template | another chat template than the tokenizer's own, or none although it has one |
| truncation | more than `gate.max_truncated` of the rows cut by `data.max_length`, or any reply (tag, answer) cut |
| overlap | evaluation rows with a prompt that also occurs in training, or test rows with one of validation |
| overlap | of several tasks: evaluation rows of one that another trains on, reply and all |

A row has a prompt to each reply that is learned, and one to its last reply, which evaluation asks for. Overlap means
the same prompt after `identity.normalised`, whatever the reply: with the same reply the answer was seen word for
word, with another one the task leaks all the same. For raw text, and texts with labels, it is the same text. For
speech it is the same transcript, or audio of the same bytes; the finding says which.

What is done to audio before a model hears it (another rate, several channels) is no rule: it is noted, and refuses
none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from tenfold.data.prepare import Prepared
from tenfold.data.render import Renderer
from tenfold.data.rendered import RowRenderer
from tenfold.errors import DataError, Problem, SignalError
from tenfold.recipe import GateSection

ROWS_TOLD = 5
"""How many rows a finding names."""


@dataclass(frozen=True)
class Finding:
    """A rule that fired: what to tell, and where the first rows stand (none for `template`)."""

    rule: str
    problem: Problem
    rows: tuple[str, ...] = ()

    @property
    def is_note(self) -> bool:
        """Whether it only says what was done, and nothing had to be allowed."""
        return self.rule == NOTE


NOTE = "note"
"""The rule of findings that refuse nothing."""


def check_signal(
    train: Prepared, evaluation: Mapping[str, Prepared | None], *, renderer: RowRenderer, gate: GateSection
) -> list[Finding]:
    """Return notes, and the findings that `gate.allow` downgrades to warnings; `evaluation` has the other sides.

    Raises:
        SignalError: all other findings at once.
    """
    sides = {"train": train} | {name: side for name, side in evaluation.items() if side is not None}
    findings = [*_template(train, renderer)]
    for number, (name, side) in enumerate(sides.items()):
        findings += _supervision(name, side)
        findings += _truncation(name, side, renderer.data.max_length, gate.max_truncated)
        findings += _notes(name, side)
        for other, rows in list(sides.items())[:number]:
            findings += _overlap(name, side, other, rows)
    return _allowed(findings, gate)


def check_across(tasks: Mapping[str, Mapping[str, Prepared]], gate: GateSection) -> list[Finding]:
    """Return what `gate.allow` downgrades of evaluation rows that another task trains on; `tasks` has sides by name.

    The same prompt with another reply is no fault here: tasks may ask several things of one text.

    Raises:
        SignalError: what is not allowed, of all tasks at once.
    """
    findings = []
    for name, sides in tasks.items():
        for other in tasks.keys() - {name}:
            known = tasks[other]["train"].column("row_key")
            for side, prepared in sides.items():
                seen = np.flatnonzero(np.isin(prepared.column("row_key"), known))
                if side == "train" or not len(seen):
                    continue
                found = f"{len(seen)} of {len(prepared)} rows are also training rows of task {other}, reply and all"
                remedy = "remove them from one of the two"
                findings.append(_finding("overlap", f"{name}, {side}", found, remedy, prepared, seen))
    return _allowed(findings, gate)


def _allowed(findings: list[Finding], gate: GateSection) -> list[Finding]:
    refused = [finding for finding in findings if finding.rule not in (*gate.allow, NOTE)]
    if refused:
        raise SignalError(*(finding.problem for finding in refused))
    return findings


def require_whole_replies(prepared: Prepared, max_length: int) -> None:
    """Check that no reply was cut, so that rows are judged by what they say.

    Raises:
        DataError: some were; with the places of the first ones.
    """
    cut = np.flatnonzero(prepared.column("response_cut"))
    if len(cut):
        learned = "a reply" if prepared.form is None else "a tag or the answer"
        found = f"in {len(cut)} of {len(prepared)} rows {learned} is cut: {_told(_origins(prepared, cut), cut)}"
        allowed = f"at most {max_length} tokens with the prompt (data.max_length)"
        raise DataError(Problem(prepared.rows.name, found, allowed, "shorten or remove these rows"))


def _finding(rule: str, side: str, found: str, remedy: str, prepared: Prepared, indices: np.ndarray) -> Finding:
    rows = _origins(prepared, indices)
    problem = Problem(
        where=f"gate rule {rule} ({side} rows)",
        found=f"{found}: {_told(rows, indices)}",
        remedy=f"{remedy}; or accept it with gate.allow: [{rule}]",
    )
    return Finding(rule, problem, rows)


def _origins(prepared: Prepared, indices: np.ndarray) -> tuple[str, ...]:
    return tuple(dict.fromkeys(prepared.origin(int(index)) for index in indices[:ROWS_TOLD]))


def _told(rows: Sequence[str], indices: np.ndarray) -> str:
    return ", ".join(rows) + (", …" if len(indices) > ROWS_TOLD else "")


def _supervision(side: str, prepared: Prepared) -> Iterator[Finding]:
    silent = np.flatnonzero(prepared.column("num_supervised") == 0)
    if len(silent):
        found = f"{len(silent)} of {len(prepared)} rows have no token in the loss"
        remedy = "remove these rows, raise data.max_length, or look at their `train` and `weight` marks"
        yield _finding("no_supervision", side, found, remedy, prepared, silent)
    endless = np.flatnonzero(~prepared.column("end_supervised").astype(bool))
    if len(endless):
        found = f"{len(endless)} of {len(prepared)} rows have a reply whose end-of-turn token is not in the loss"
        remedy = "use a chat template that closes each reply with a special token"
        yield _finding("end_of_turn", side, found, remedy, prepared, endless)


def _template(train: Prepared, renderer: RowRenderer) -> Iterator[Finding]:
    if not isinstance(renderer, Renderer):  # texts with labels have no turns
        return
    own, used = renderer.own_chat_template, renderer.chat_template
    if train.rows.format == "text" or used == own:
        return
    found, remedy = "data.chat_template differs from the tokenizer's own", "remove data.chat_template"
    if own is None:
        found = "data.chat_template is set, and the tokenizer has none of its own"
    elif used is None:
        found, remedy = (
            "data.template is plain although the tokenizer has a chat template",
            "set data.template: auto",
        )
    remedy += "; or accept it with gate.allow: [template]"
    yield Finding("template", Problem("gate rule template", found, "the tokenizer's own template", remedy))


def _truncation(side: str, prepared: Prepared, max_length: int, max_truncated: float) -> Iterator[Finding]:
    truncated = np.flatnonzero(prepared.column("truncated"))
    cut = np.flatnonzero(prepared.column("response_cut"))
    share = len(truncated) / len(prepared)
    if not len(cut) and share <= max_truncated:
        return
    found = f"{len(truncated)} of {len(prepared)} rows ({share:.1%}) are longer than {max_length} tokens"
    learned = "a reply" if prepared.form is None else "a tag or the answer"
    found += f", and in {len(cut)} of them {learned} is cut" if len(cut) else f" (allowed: {max_truncated:.1%})"
    remedy = "raise data.max_length, or shorten or remove these rows"
    yield _finding("truncation", side, found, remedy, prepared, cut if len(cut) else truncated)


def _overlap(side: str, prepared: Prepared, other: str, others: Prepared) -> Iterator[Finding]:
    keys, owners = prepared.prompts()
    seen = np.unique(owners[np.isin(keys, others.prompts()[0])])
    if not len(seen):
        return
    exact = int(np.isin(prepared.column("row_key")[seen], others.column("row_key")).sum())
    where = "training" if other == "train" else other
    if prepared.rows.format == "speech":
        # a row's first key is of its transcript, its second of its sound
        said, heard = (np.isin(keys[place::2], others.prompts()[0][place::2]).sum() for place in (0, 1))
        found = f"{said} of {len(prepared)} rows have a transcript that also occurs in {where}, {heard} the same audio"
    else:
        found = (
            f"{len(seen)} of {len(prepared)} rows have a prompt that also occurs in {where} "
            f"({exact} word for word with the same reply)"
        )
    remedy = "remove them from one side, or give rows that belong together one value in the column data.group_by"
    yield _finding("overlap", side, found, remedy, prepared, seen)


def _notes(side: str, prepared: Prepared) -> Iterator[Finding]:
    """Yield what was done to the rows' audio, once for each thing that was."""
    notes = prepared.table.data.column("notes").combine_chunks()
    texts, owners = notes.flatten().to_pylist(), pc.list_parent_indices(notes).to_numpy()
    for text in sorted(set(texts)):
        indices = owners[[found == text for found in texts]]
        rows = _origins(prepared, indices)
        found = f"in {len(indices)} of {len(prepared)} rows {text}: {_told(rows, indices)}"
        yield Finding(NOTE, Problem(f"{side} rows", found), rows)
