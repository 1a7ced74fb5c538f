"""The shipped sample files are the ones that were cut, and their splits are honest."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import string
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tenfold import samples
from tenfold.errors import DataError

SIZES = {
    "declaration": 870,
    "dialogues": 748,
    "diseases": 1200,
    "general": 120,
    "household": 1520,
    "intents": 6467,
    "knowledge": 60,
    "licences": 1331,
    "ui_strings": 3409,
}
GROUPS = {
    "declaration": "article",
    "dialogues": "prompt",
    "diseases": "group",
    "household": "template",
    "intents": "template",
    "licences": "licence",
    "ui_strings": "source",
}
INPUTS = {
    "declaration": "text",
    "dialogues": "prompt",
    "diseases": "definition",
    "intents": "text",
    "licences": "text",
    "ui_strings": "source",
}
FILES = sorted(Path(samples.__file__).parent.glob("*.jsonl.gz"))


def sides(rows: list[dict[str, object]], key: str) -> dict[str, set[object]]:
    found: dict[str, set[object]] = {}
    for row in rows:
        value = row[key]
        signs = str.maketrans(dict.fromkeys(string.punctuation + "“”‘’…", " "))
        found.setdefault(" ".join(str(value).lower().translate(signs).split()), set()).add(row["split"])
    return found


def test_names_are_the_files_of_the_folder() -> None:
    assert samples.names() == tuple(sorted(SIZES))
    assert [file.name for file in FILES] == [f"{name}.jsonl.gz" for name in samples.names()]


def test_importing_the_samples_does_not_import_torch() -> None:
    code = "import sys, tenfold.samples; assert not {'torch', 'datasets'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", SIZES)
def test_each_set_has_its_rows_and_only_known_splits(name: str) -> None:
    rows = samples.load(name)
    assert len(rows) == SIZES[name]
    assert len({tuple(row) for row in rows}) == 1, "every row has the same columns"
    expected = {"test"} if name in ("general", "knowledge") else {"train", "validation", "test"}
    assert {row["split"] for row in rows} == expected


@pytest.mark.parametrize("name", SIZES)
def test_no_text_of_a_row_is_blank(name: str) -> None:
    texts = [value for row in samples.load(name) for value in row.values() if isinstance(value, str)]
    assert all(text.strip() for text in texts)


@pytest.mark.parametrize("name", sorted(set(GROUPS) - {"household", "intents"}))
def test_no_group_is_on_two_sides(name: str) -> None:
    assert all(len(splits) == 1 for splits in sides(samples.load(name), GROUPS[name]).values())


def test_no_template_is_on_two_sides_when_compared_letter_by_letter() -> None:
    for name in ("household", "intents"):
        rows = samples.load(name)
        pairs = {(row["template"], row["split"]) for row in rows}
        assert len(pairs) == len({row["template"] for row in rows})


def test_diseases_with_the_same_stem_are_on_one_side() -> None:
    assert all(len(splits) == 1 for splits in sides(samples.load("diseases"), "stem").values())


@pytest.mark.parametrize("name", INPUTS)
def test_no_input_is_on_two_sides(name: str) -> None:
    assert all(len(splits) == 1 for splits in sides(samples.load(name), INPUTS[name]).values())


@pytest.mark.parametrize("name", ["dialogues", "diseases", "licences"])
def test_no_input_occurs_twice(name: str) -> None:
    rows = samples.load(name)
    assert len(sides(rows, INPUTS[name])) == len(rows)


def test_general_text_is_no_training_row_of_another_set() -> None:
    passages = "\n".join(str(row["text"]) for row in samples.load("general"))
    for name, columns in {
        "declaration": ("text",),
        "dialogues": ("prompt", "response"),
        "diseases": ("definition",),
        "licences": ("text",),
    }.items():
        for row in samples.load(name):
            # Short prompts such as "Robots" are found in any text.
            text = "\n".join(str(row[column]) for column in columns)
            assert row["split"] == "test" or len(text) < 30 or text not in passages


def test_general_passages_have_the_promised_length_and_sources() -> None:
    rows = samples.load("general")
    assert all(200 <= len(str(row["text"])) <= 600 for row in rows)
    counts = Counter(row["source"] for row in rows)
    assert len(counts) == 6
    assert max(counts.values()) <= 22


def test_knowledge_is_balanced_and_gives_nothing_away_by_length() -> None:
    rows = samples.load("knowledge")
    assert Counter(row["answer"] for row in rows) == {0: 15, 1: 15, 2: 15, 3: 15}
    assert len({row["question"] for row in rows}) == 60
    assert len({row["topic"] for row in rows}) >= 8
    longest = 0
    for row in rows:
        options, answer = row["options"], row["answer"]
        assert isinstance(options, list) and isinstance(answer, int)
        assert len(set(options)) == 4
        lengths = [len(option) for option in options]
        longest += lengths[answer] == max(lengths)
    assert longest <= 36, "picking the longest option must not solve the set"


def test_everything_is_under_700_kilobytes() -> None:
    assert sum(file.stat().st_size for file in FILES) < 700_000


def test_sources_names_every_file_with_its_hash_and_count() -> None:
    text = (FILES[0].parent / "SOURCES.md").read_text(encoding="utf-8")
    for file in FILES:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        name = file.name.removesuffix(".jsonl.gz")
        assert re.search(rf"`{file.name}` \| {SIZES[name]:,} .*`{digest}`", text)
        assert f"\n## {name}\n" in text


def test_every_notice_that_a_licence_asks_for_is_shipped() -> None:
    text = (FILES[0].parent / "NOTICE.txt").read_text(encoding="utf-8")
    owners = ("Home Assistant Authors", "nexB", "UniProt Consortium", "Django Software Foundation", "Gunther Cox")
    for owner in (*owners, "Titus Wormer", "WordNet 3.0 Copyright 2006"):
        assert owner in text


def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(DataError, match="did you mean 'household'"):
        samples.path("houshold")


def test_a_damaged_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(samples.__file__).parent
    for name in ("hashes.json", "knowledge.jsonl.gz"):
        shutil.copy(folder / name, tmp_path)
    monkeypatch.setattr(samples, "FOLDER", tmp_path)
    assert len(samples.load("knowledge")) == 60
    damaged = bytearray((tmp_path / "knowledge.jsonl.gz").read_bytes())
    damaged[-1] ^= 1
    (tmp_path / "knowledge.jsonl.gz").write_bytes(damaged)
    with pytest.raises(DataError, match="was changed"):
        samples.load("knowledge")


def test_a_missing_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hashes.json").write_text(json.dumps({"knowledge.jsonl.gz": "0" * 64}), encoding="utf-8")
    monkeypatch.setattr(samples, "FOLDER", tmp_path)
    with pytest.raises(DataError, match="is missing"):
        samples.path("knowledge")
