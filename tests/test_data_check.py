"""`tenfold data check` as a user gives it: what is told, at 80 columns, and what hostile files are answered with."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tenfold.data.checking import checking
from tenfold.data.checking.finding import COUNTING
from tenfold.errors import UserError
from tenfold.files import write_atomic
from tests.command import Desk, fits
from tests.data.checking.planted import EMAIL, clean_rows


def lines(rows: list[dict[str, str]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_findings_are_told_with_places_and_what_to_do(desk: Desk) -> None:
    rows, test = clean_rows(30), clean_rows(4, seed=1)
    rows += [rows[0], test[1], {"prompt": "Who is it?", "completion": f"Write to {EMAIL} today."}]
    desk.write("rows.jsonl", lines(rows))
    desk.write("test.jsonl", lines(test))
    done = desk.tenfold("data", "check", "rows.jsonl", "--test", "test.jsonl", "--json", "f.json", "--out", "c.jsonl")
    assert done.code == 0, done.text
    assert fits(done.out, desk.folder)
    assert "rows.jsonl, line 31: as rows.jsonl, line 1" in done.out
    assert "rows.jsonl, line 32: as test.jsonl, line 2" in done.out
    assert "m…@w….org" in done.out and EMAIL not in done.text
    assert "31 of 33 rows" in done.out and "left alone" in done.out
    figures = json.loads((desk.folder / "f.json").read_text(encoding="utf-8"))
    assert {each["kind"]: each["count"] for each in figures["findings"]} == {
        "held_out": 1,
        "exact_duplicates": 1,
        "email": 1,
    }
    assert figures["cleaned"]["kept"] == 31
    assert figures["rows"] == 37 and figures["files"][1]["held_out"]


def test_a_clean_file_is_said_to_be_clean(desk: Desk) -> None:
    desk.write("rows.jsonl", lines(clean_rows(10)))
    done = desk.tenfold("data", "check", "rows.jsonl")
    assert done.code == 0 and "Nothing found" in done.out


def test_all_files_that_cannot_be_read_are_told_at_once(desk: Desk) -> None:
    desk.write("bad.jsonl", '{"prompt": "a"')
    done = desk.tenfold("data", "check", "bad.jsonl", "none.jsonl")
    assert done.code == 2
    assert "bad.jsonl, line 1: malformed JSON" in done.err and "none.jsonl: no such file" in done.err


def test_a_strict_check_fails_for_what_is_to_mend_and_not_for_what_may_be_meant(desk: Desk) -> None:
    rows = clean_rows(30)
    meant = [*rows, {**rows[0], "prompt": "So, " + rows[0]["prompt"]}]
    desk.write("meant.jsonl", lines(meant))
    desk.write("mend.jsonl", lines([*meant, rows[1], rows[2], {"prompt": "Who?", "completion": f"Ask {EMAIL} today."}]))
    passed = desk.tenfold("data", "check", "meant.jsonl", "--strict")
    assert passed.code == 0 and passed.out.splitlines()[-1] == "passed", passed.text
    assert "near-duplicates of an earlier row" in passed.out
    failed = desk.tenfold("data", "check", "mend.jsonl", "--strict")
    assert failed.code == 1 and failed.out.splitlines()[-1] == "FAILED: exact_duplicates 2, email 1", failed.text
    assert desk.tenfold("data", "check", "mend.jsonl").code == 0
    some = desk.tenfold("data", "check", "mend.jsonl", "--strict", "--allow", "email")
    assert some.code == 1 and some.out.splitlines()[-1] == "FAILED: exact_duplicates 2"
    both = desk.tenfold("data", "check", "mend.jsonl", "--strict", "--allow", "email", "--allow", "exact_duplicates")
    assert both.code == 0 and both.out.splitlines()[-1] == "passed"
    listed = desk.tenfold("data", "check", "mend.jsonl", "--strict", "--allow", "email,exact_duplicates")
    assert (listed.code, listed.out.splitlines()[-1]) == (0, "passed")


def test_help_names_the_kinds_to_allow_and_the_exit_codes(desk: Desk) -> None:
    told = " ".join(desk.tenfold("data", "check", "--help").out.split())
    assert f"Kinds: {', '.join(COUNTING)}." in told
    assert all(f"with {code} where" in told for code in (0, 1, 2))


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_figures_are_printed_alone_where_that_is_asked(desk: Desk, name: str) -> None:
    desk.write("rows.jsonl", lines([*clean_rows(9), *clean_rows(1)]))
    done = desk.tenfold("data", "check", "rows.jsonl", "--json", name, "--strict")
    assert done.code == 1 and [each["kind"] for each in json.loads(done.out)["findings"]] == ["exact_duplicates"]
    assert "FAILED: exact_duplicates 1" in done.err
    assert list(desk.files()) == ["rows.jsonl"] and Path("/dev/stdout").is_symlink()


def test_no_file_takes_the_place_of_a_pipe_or_device(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for there in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(UserError, match="cannot be written: a pipe or device"):
            write_atomic(there, "")
    assert not (tmp_path / "pipe").is_file()


def test_rows_in_a_pipe_are_to_be_saved_first(desk: Desk) -> None:
    os.mkfifo(desk.folder / "pipe.jsonl")
    desk.write("held.jsonl", lines(clean_rows(4)))
    done = desk.tenfold("data", "check", "held.jsonl", "pipe.jsonl", "--test", "-")
    assert done.code == 2 and done.err.count("a pipe or device\n  allowed: a file\n  do: save the rows first") == 2


def test_a_strict_check_fails_where_leaks_could_not_be_looked_for(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking.importlib.util, "find_spec", lambda name: None)
    desk.write("rows.jsonl", lines(clean_rows(10)))
    desk.write("test.jsonl", lines(clean_rows(4, seed=1)))
    assert desk.tenfold("data", "check", "rows.jsonl", "--strict").code == 0
    failed = desk.tenfold("data", "check", "rows.jsonl", "--test", "test.jsonl", "--strict")
    assert failed.code == 1 and failed.out.splitlines()[-1] == "FAILED: near_held_out not looked for"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--strict", "--allow", "emails"), "did you mean 'email'?"),
        (("--strict", "--allow", "near_duplicates"), "is no finding that fails"),
        (("--strict", "--allow", "email,cards"), "did you mean 'card'?"),
        (("--strict", "--allow", "x"), "allowed: held_out, near_held_out, exact_duplicates"),
        (("--allow", "email"), "give --strict too"),
    ],
)
def test_what_cannot_be_allowed_is_told(desk: Desk, options: tuple[str, ...], told: str) -> None:
    desk.write("rows.jsonl", lines(clean_rows(10)))
    done = desk.tenfold("data", "check", "rows.jsonl", *options)
    assert done.code == 2 and told in done.err


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("binary.jsonl", bytes(range(256)) * 40, "line 1: malformed JSON"),
        ("latin.jsonl", b'{"prompt": "caf\xe9"}', "not UTF-8"),
        ("deep.jsonl", b'{"prompt": ' + b"[" * 200_000, "malformed JSON"),
        ("null.jsonl", b"null\n", "not a row"),
        ("empty.jsonl", b"", "holds no rows"),
        ("rows.exe", b"MZ", "unknown kind of file"),
        ("half.json", b'[{"prompt": "a", "completion": "b"}, {"prompt"', "half.json"),
    ],
)
def test_a_hostile_file_is_answered_with_a_message(desk: Desk, name: str, content: bytes, told: str) -> None:
    desk.write(name, content)
    done = desk.tenfold("data", "check", name)
    assert done.code == 2 and told in done.err
    assert "bug in Tenfold" not in done.err


@pytest.mark.parametrize(
    "completion",
    ["x" * 5_000_000, "word " * 400_000, [[[[["deep"]]]]], None, {"a": None}, "\ud800", "\x00\x1b[2J", "a@" * 100_000],
    ids=["huge word", "huge text", "nested", "null", "object", "surrogate", "terminal codes", "signs"],
)
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_a_hostile_row_is_told_and_the_others_are_checked(desk: Desk, name: str, completion: object) -> None:
    rows = [*clean_rows(25), {"prompt": "What is it?", "completion": completion}]
    desk.write(name, lines(rows) if name == "rows.jsonl" else json.dumps(rows, indent=1))
    done = desk.tenfold("data", "check", name)
    assert done.code == 0, done.text
    assert "\x1b[2J" not in done.out and fits(done.out, desk.folder)
    assert "26 rows" in done.out and "Nothing found" not in done.out


def test_check_notes_training_rows_that_repeat(desk: Desk) -> None:
    rows = clean_rows(12)
    desk.write("rows.jsonl", lines([*rows, rows[0]]))
    desk.write("test.jsonl", lines(clean_rows(4, seed=1)))
    done = desk.tenfold("check", desk.recipe(data={"test": "test.jsonl"}), "--no-trial")
    assert done.code == 0, done.text
    assert "of 13 training rows 1 repeat an earlier one: tenfold data check FILE" in " ".join(done.out.split())
