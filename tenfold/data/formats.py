"""Which format a table is in: judged by its columns, never guessed when more than one fits."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from tenfold.errors import DataError, Problem, nearest

WORDS: dict[str, tuple[str, ...]] = {
    "messages": ("messages",),
    "sharegpt": ("conversations",),
    "alpaca": ("instruction", "output"),
    "prompt_completion": ("prompt", "completion"),
    "text": ("text",),
    "translation": ("source", "target"),
    "speech": ("audio", "text"),
}
"""The formats that are answered in words, and the columns that each needs."""

LABELLED: dict[str, tuple[str, ...]] = {
    "classification": ("text", "label"),
    "multi_label": ("text", "labels"),
    "regression": ("text", "target"),
    "tags": ("tokens", "tags"),
    "span": ("question", "context", "answer"),
}
"""The formats that are answered with labels, and the columns that each needs."""

OF_WHOLE_ROWS = ("classification", "multi_label", "regression")
"""Those of them whose labels are each of a whole row, not of its tokens."""

FORMATS: dict[str, tuple[str, ...]] = WORDS | LABELLED
"""The columns that each format needs."""

_ANSWERS = {"output", "completion", "label", "labels", "target", "tags", "answer"}

PROMPTS: dict[str, tuple[str, ...]] = {
    **{name: tuple(column for column in needed if column not in _ANSWERS) for name, needed in FORMATS.items()},
    "speech": ("audio",),
}
"""The columns that each format needs where no response is: rows to answer."""

OPTIONAL: dict[str, tuple[str, ...]] = {
    "sharegpt": ("system",),
    "alpaca": ("input", "system"),
    "prompt_completion": ("system",),
    "translation": ("language",),
    "speech": ("language",),
    "classification": ("text_pair",),
    "multi_label": ("text_pair",),
    "regression": ("text_pair",),
    "span": ("answer_start",),
}
"""The columns that a format reads where they are there."""

_PROMPTS = ("prompt", "question", "query", "instruction", "input", "source", "problem", "user")
_COMPLETIONS = (
    "completion",
    "response",
    "answer",
    "output",
    "target",
    "reply",
    "solution",
    "assistant",
    "summary",
)
_LISTS = ("messages", "conversations", "conversation", "dialogue", "dialog", "chat", "turns")
_TEXTS = ("text", "content", "document", "body")
_TRANSCRIPTS = ("transcript", "transcription", "sentence", "txt", "utterance")
_LABELS = ("label", "class", "category", "intent", "topic", "priority", "sentiment")


def detect_format(
    found: Sequence[str],
    format: str,
    columns: Mapping[str, str],
    where: str,
    *,
    needed: Mapping[str, tuple[str, ...]] = FORMATS,
) -> str:
    """Return the format of a table with the columns `found`; the formats in `needed` come into question.

    `needed` has the columns that each of them needs; `format` may name one, `columns` gives their column for ours, and
    theirs is not ours too then. Of two that fit, one that needs all that the other does and more is meant: `text` and
    `label` are no raw text.

    Raises:
        DataError: `columns` names a column that is not there or not ours, or not exactly one format fits.
    """
    optional = {ours for name, own in needed.items() for ours in FORMATS[name] if ours not in own}
    columns = {ours: theirs for ours, theirs in columns.items() if ours not in optional or theirs in found}
    _check_columns(found, columns, where)
    candidates = [format] if format != "auto" else [name for name in needed if _knows(name, columns)]
    there = {*found} - {*columns.values()} | columns.keys()
    fitting = [name for name in candidates if there.issuperset(needed[name])]
    fitting = [name for name in fitting if not any(set(needed[name]) < set(needed[other]) for other in fitting)]
    if len(fitting) == 1:
        return fitting[0]
    listed = f"columns {', '.join(found)}"
    other = None if columns else other_format(found, {}, needed)
    if other is not None:
        listed += f", rows of format {other}"
    if fitting:
        remedy = f"say which one you mean with data.format: {fitting[0]} (or {', '.join(fitting[1:])})"
        raise DataError(Problem(where, f"{listed} fit more than one format", ", ".join(fitting), remedy))
    wanted = "no known format" if format == "auto" else f"not the format {format!r}"
    allowed = told_formats({name: needed[name] for name in candidates or needed})
    # a target or a list of labels is no label, whatever its column is called
    remedy = "give rows of such a format" if other in LABELLED else _suggestion(found, format, needed)
    raise DataError(Problem(where, f"{listed}: {wanted}", allowed, remedy))


def other_format(
    found: Sequence[str], columns: Mapping[str, str], needed: Mapping[str, tuple[str, ...]] = WORDS
) -> str | None:
    """Return the one format that rows with the columns `found` are in, as `detect_format` judges, if not of `needed`.

    `text` and `label` can be read as raw text, and yet are rows with labels.
    """
    there = {*found} - {*columns.values()} | columns.keys()
    fitting = [name for name, own in FORMATS.items() if there.issuperset(own) and _knows(name, columns)]
    fitting = [name for name in fitting if not any(set(FORMATS[name]) < set(FORMATS[other]) for other in fitting)]
    return fitting[0] if len(fitting) == 1 and fitting[0] not in needed else None


def told_formats(needed: Mapping[str, Sequence[str]]) -> str:
    """Return the formats with the columns that they need, as messages name them: `classification (text + label)`."""
    return "; ".join(f"{name} ({' + '.join(own)})" for name, own in needed.items())


def _knows(format: str, columns: Mapping[str, str]) -> bool:
    return all(ours in FORMATS[format] + OPTIONAL.get(format, ()) for ours in columns)


def _check_columns(found: Sequence[str], columns: Mapping[str, str], where: str) -> None:
    ours_known = sorted({name for names in (*FORMATS.values(), *OPTIONAL.values()) for name in names})
    problems = []
    for ours, theirs in columns.items():
        if ours not in ours_known:
            remedy = nearest(ours, ours_known) or "write it as ours: yours"
            problems.append(Problem(f"data.columns.{ours}", "not one of our columns", ", ".join(ours_known), remedy))
        if theirs not in found:
            remedy = nearest(theirs, found) or "use one of the columns that are there"
            problems.append(
                Problem(f"data.columns.{ours}", f"no column {theirs!r} in {where}", ", ".join(found), remedy)
            )
    if problems:
        raise DataError(*problems)


def _suggestion(found: Sequence[str], format: str, needed: Mapping[str, Sequence[str]]) -> str:
    """Return a `columns:` line that would fit one of the `needed` formats, made from the usual names, or advice."""
    if len(found) == 1 and (apart := next((sign for sign in ";\t|" if sign in found[0]), None)):
        return f"its columns stand apart by {apart!r}: save it with commas, or with tabs as .tsv"
    lowered = {column.lower(): column for column in found}
    others = [column for column in found if column != lowered.get("audio")]
    if format in ("auto", "speech") and "speech" in needed and "audio" in lowered and others:
        # the transcript by its usual name, else what stands last
        transcript = next((lowered[name] for name in (*_TEXTS, *_TRANSCRIPTS) if name in lowered), others[-1])
        return _mapping(audio=lowered["audio"], **({"text": transcript} if "text" in needed["speech"] else {}))

    def first(names: Sequence[str]) -> str | None:
        return next((lowered[name] for name in names if name in lowered), None)

    prompt, completion, turns, text = first(_PROMPTS), first(_COMPLETIONS), first(_LISTS), first(_TEXTS)
    if format in ("auto", "prompt_completion") and prompt and completion and "prompt_completion" in needed:
        return _mapping(prompt=prompt, completion=completion)
    if format == "alpaca" and prompt and completion:
        return _mapping(instruction=prompt, output=completion)
    if format in ("auto", "messages") and turns and "messages" in needed:
        return _mapping(messages=turns)
    if format in ("auto", "text") and text and not prompt and not completion and "text" in needed:
        return _mapping(text=text)
    return _advice(found, first(_LABELS), text or prompt, needed)


def _advice(found: Sequence[str], label: str | None, text: str | None, needed: Mapping[str, Sequence[str]]) -> str:
    """Return how to say which of two columns `found` is which, for labels and for answers where both are `needed`."""
    likely = [name for name in found if name != text]
    label = label or (likely[-1] if likely else None)
    text = text or next((name for name in found if name != label), None)
    ways = {"classification": "labels", "prompt_completion": "answers"}
    both = [name for name in (text, label) if name]
    told = {
        way: _options(**dict(zip(needed[name], both, strict=False)))
        for name, way in ways.items()
        if name in needed and len(needed[name]) <= len(both)
    }
    if not told:
        return "say which column is which: --columns OURS=YOURS on the command line, data.columns in a recipe"
    options = ", ".join(f"{each} for {way}" if len(told) > 1 else each for way, (each, _) in told.items())
    return f"say which column is which: {options}; in a recipe, data.columns: {next(iter(told.values()))[1]}"


def _mapping(**columns: str) -> str:
    """Return how to say `columns`, ours to theirs, in a recipe and on the command line."""
    options, listed = _options(**columns)
    return f"on the command line: {options}; in a recipe, data.columns: {listed}"


def _options(**columns: str) -> tuple[str, str]:
    """Return those of `columns`, ours to theirs, that differ: as options of a command, and as YAML."""
    renamed = {ours: theirs for ours, theirs in columns.items() if ours != theirs}
    options = " ".join(f"--columns {ours}={shlex.quote(theirs)}" for ours, theirs in renamed.items())
    return options, "{" + ", ".join(f"{ours}: {theirs}" for ours, theirs in renamed.items()) + "}"
