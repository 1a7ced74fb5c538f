"""No option that names a place to write costs a file of the user's; what the same command wrote it may write again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tenfold.compare.report import is_report
from tenfold.compare.settled import held
from tenfold.files import write_json
from tenfold.places import OWN_AT_MOST, is_json_with
from tests.command import Desk
from tests.data.checking.planted import clean_rows

KEPT = {
    "a check's rows": ("data", "check", "rows.jsonl", "--json", "rows.jsonl"),
    "a check's held-out rows": ("data", "check", "rows.jsonl", "--test", "held.jsonl", "--json", "held.jsonl"),
    "figures by other hands": ("data", "check", "rows.jsonl", "--json", "theirs.json"),
    "figures of another command": ("data", "check", "rows.jsonl", "--json", "verified.json"),
    "a page by other hands": ("data", "check", "rows.jsonl", "--json", "report.html"),
    "other rows": ("data", "check", "rows.jsonl", "--out", "held.jsonl"),
    "rows of a verified recipe": ("verify", "recipe.yaml", "--out", "rows.jsonl"),
    "a verified recipe": ("verify", "recipe.yaml", "--out", "recipe.yaml"),
    "a verification's usual place": ("verify", "recipe.yaml", "--set", "output=usual"),
    "rows beside a report": ("report", "out", "--out", "rows.jsonl"),
    "a report's usual place": ("report", "out"),
    "answered rows": ("predict", "out", "--data", "rows.jsonl", "--out", "rows.jsonl"),
    "a dangling link": ("predict", "out", "--data", "rows.jsonl", "--out", "link.jsonl"),
    "a recipe": ("init", "instruction", "--data", "rows.jsonl", "--out", "recipe.yaml"),
    "a model": ("extend", "tiny-llama", "--data", "rows.jsonl", "--out", "tiny-llama"),
    "a folder": ("report", "out", "--out", "out"),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the one run of this module is kept, once it is made."""
    return tmp_path_factory.mktemp("finished") / "out"


@pytest.fixture
def full(desk: Desk, finished: Path) -> Desk:
    """A desk with a finished run and the user's own files."""
    desk.recipe()
    if not finished.exists():
        assert desk.tenfold("run", "recipe.yaml").code == 0
        (desk.folder / "out").rename(finished)
    (desk.folder / "out").symlink_to(finished)
    desk.write("held.jsonl", "".join(json.dumps(row) + "\n" for row in clean_rows(4)))
    desk.write("theirs.json", '{"files": [], "findings": "all that I found by hand"}')
    desk.write("verified.json", '{"subject": "out", "passed": true, "findings": []}')
    desk.write("report.html", "<!DOCTYPE html><title>mine</title>")
    desk.write("usual.verify.json", "[]")
    (desk.folder / "link.jsonl").symlink_to("nothing")
    return desk


@pytest.mark.parametrize("arguments", KEPT.values(), ids=KEPT)
def test_a_file_of_the_users_is_never_written_over(full: Desk, arguments: tuple[str, ...]) -> None:
    before = full.files()
    refused = full.tenfold(*arguments)
    assert refused.code == 2, refused.text
    assert "exists already" in refused.err and "do: choose another name with --" in refused.err
    assert refused.out == "", "before any work begins"
    assert full.files() == before and os.path.islink("link.jsonl")


def test_the_rows_that_are_cleaned_are_kept_too_and_both_outputs_need_a_name(full: Desk) -> None:
    before = full.files()
    for options in (("--out", "rows.jsonl"), ("--out", "new.jsonl", "--json", "./new.jsonl")):
        assert full.tenfold("data", "check", "rows.jsonl", *options).code == 2
    assert full.files() == before


AGAIN = {
    "figures": ("data", "check", "rows.jsonl", "--json", "new/figures.json"),
    "a verification": ("verify", "out", "--out", "new/verify.json"),
    "a report": ("report", "out", "--out", "new/report.html"),
}


@pytest.mark.parametrize("arguments", AGAIN.values(), ids=AGAIN)
def test_a_command_may_be_given_again(full: Desk, arguments: tuple[str, ...]) -> None:
    full.write(arguments[-1], "")  # as mktemp makes it
    for _ in range(2):
        done = full.tenfold(*arguments)
        assert done.code == 0, done.text
    (written,) = (full.folder / "new").iterdir()
    others = [other for other in AGAIN.values() if other != arguments]
    kept = written.read_bytes()
    for other in others:
        assert full.tenfold(*other[:-1], str(written)).code == 2, "of another kind"
    assert written.read_bytes() == kept


def test_what_is_not_plainly_ours_is_not(tmp_path: Path) -> None:
    is_one = is_json_with("a", "b")
    path = tmp_path / "file"
    for content in (b"", b"[]", b'{"a": 1}', b'"a b"', b"\xff", b"[" * 100_000, b'{"a": 1, "b": 2}\n{"a": 1, "b": 2}'):
        path.write_bytes(content)
        assert not is_one(path) and not is_report(path)
    write_json(path, {"a": 1, "b": 2, "c": 3})
    assert is_one(path)
    path.write_bytes(path.read_bytes() + b" " * OWN_AT_MOST)
    assert not is_one(path), "rows may be larger than memory"
    assert not is_one(tmp_path) and not is_report(tmp_path)


def test_a_comparison_is_not_made_among_other_files(desk: Desk) -> None:
    desk.recipe()
    desk.write("mine/report.html", "<p>mine</p>")
    for name in ("plan.json", "comparison.json"):
        desk.write(f"theirs/{name}", '{"title": "our plan"}')
    before = desk.files()
    for folder, named in (("mine", "report.html"), ("theirs", "comparison.json, plan.json"), (".", "recipe.yaml")):
        refused = desk.tenfold("compare", "recipe.yaml", "--budget", "30s", "--plan", "--out", folder)
        assert refused.code == 2 and "holds files that are not a comparison's: " in refused.err, refused.text
        assert named in refused.err and "choose another folder with --out" in refused.err
    assert desk.files() == before
    # killed before it had a plan; and what shells and file managers make
    for made in (".lock", "rows/main/train.jsonl", ".plan.json.ab.partial", "out.log", ".DS_Store"):
        desk.write(f"new/{made}", "")
    with held(desk.folder / "new"):
        pass
    write_json(desk.folder / "new" / "plan.json", {"fingerprint": "ab", "paces": {}})
    desk.write("new/report.html", "its own")
    with held(desk.folder / "new"):
        pass
