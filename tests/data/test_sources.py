"""Every kind of source gives the same rows; what cannot be read is told with its place."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tenfold import samples
from tenfold.data.sources import Rows, open_rows
from tenfold.errors import DataError

PAIRS: list[dict[str, object]] = [{"prompt": f"p{n}", "completion": f"c{n} ü"} for n in range(5)]
Writer = Callable[..., str]


def contents(rows: Rows) -> list[dict[str, object]]:
    return [rows.row(index) for index in range(len(rows))]


def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path) -> None:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in PAIRS)
    (tmp_path / "a.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "lines.json").write_text(lines, encoding="utf-8")
    with gzip.open(tmp_path / "a.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write(lines)
    (tmp_path / "a.json").write_text(json.dumps(PAIRS, indent=2), encoding="utf-8")
    (tmp_path / "b.json").write_text(json.dumps({"info": [1, {"x": "]"}], "data": PAIRS}), encoding="utf-8")
    for name, delimiter in (("a.csv", ","), ("a.tsv", "\t")):
        with (tmp_path / name).open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, list(PAIRS[0]), delimiter=delimiter)
            writer.writeheader()
            writer.writerows(PAIRS)
    pq.write_table(pa.Table.from_pylist(PAIRS), tmp_path / "a.parquet")
    names = ("a.jsonl", "lines.json", "a.jsonl.gz", "a.json", "b.json", "a.csv", "a.tsv", "a.parquet")
    for name in names:
        rows = open_rows(str(tmp_path / name))
        assert contents(rows) == PAIRS, name
        assert rows.format == "prompt_completion"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_saved_data_sets_are_read_with_and_without_splits(tmp_path: Path) -> None:
    whole = datasets.Dataset.from_list(PAIRS)
    whole.save_to_disk(str(tmp_path / "plain"))
    datasets.DatasetDict(train=whole, held=whole.select([3])).save_to_disk(str(tmp_path / "dict"))
    assert contents(open_rows(str(tmp_path / "plain"))) == PAIRS
    assert contents(open_rows(str(tmp_path / "dict"))) == PAIRS
    held = open_rows(f"{tmp_path / 'dict'}:held")
    assert contents(held) == PAIRS[3:4]
    assert held.origin(0).endswith("held, row 1")
    with pytest.raises(DataError, match=r"no split 'tset'\n  allowed: train, held"):
        open_rows(f"{tmp_path / 'dict'}:tset")
    with pytest.raises(DataError, match=r"without splits\n  do: leave out `:train`"):
        open_rows(f"{tmp_path / 'plain'}:train")


def test_origin_names_file_and_line_and_survives_selection(write_rows: Writer, tmp_path: Path) -> None:
    path = Path(write_rows(PAIRS))
    path.write_text("\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    rows = open_rows(str(path))
    assert rows.origin(0) == "rows.jsonl, line 2"
    chosen = rows.select(np.array([4, 1]))
    assert chosen.origin(0) == "rows.jsonl, line 6"
    assert contents(chosen) == [PAIRS[4], PAIRS[1]]
    assert chosen.select(np.array([1])).origin(0) == "rows.jsonl, line 3"
    (tmp_path / "list.json").write_text(json.dumps(PAIRS, indent=1), encoding="utf-8")
    assert open_rows(str(tmp_path / "list.json")).origin(1) == "list.json, line 6, row 2"
    (tmp_path / "t.csv").write_text('prompt,completion\n"a\nb",c\nd,e\n', encoding="utf-8")
    assert open_rows(str(tmp_path / "t.csv")).origin(1) == "t.csv, line 4"


def test_fingerprint_follows_content_and_reading_not_place(write_rows: Writer, tmp_path: Path) -> None:
    first = open_rows(write_rows(PAIRS))
    (tmp_path / "elsewhere").mkdir()
    copy = open_rows(write_rows(PAIRS, "elsewhere/rows.jsonl"))
    assert copy.fingerprint == first.fingerprint
    assert open_rows(write_rows(PAIRS[:4])).fingerprint != first.fingerprint
    swapped = {"prompt": "completion", "completion": "prompt"}
    assert open_rows(write_rows(PAIRS), columns=swapped).fingerprint != first.fingerprint
    selections = {first.select(np.array(order)).fingerprint for order in ([0, 1], [1, 0], [0])}
    assert len(selections) == 3


def test_rows_with_other_keys_and_types_are_kept_as_they_are(write_rows: Writer) -> None:
    rows = [
        {"text": "a", "extra": 1},
        {"text": "b", "extra": "one", "more": [1, {"deep": None}]},
        {"extra": {"a": 1}, "text": "c"},
    ]
    assert contents(open_rows(write_rows(rows))) == rows


def test_text_file_gives_paragraphs_and_text_folder_gives_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\nstill one\n\n\n two \n", encoding="utf-8")
    rows = open_rows(str(tmp_path / "a.txt"))
    assert contents(rows) == [{"text": "one\nstill one"}, {"text": "two"}]
    assert (rows.format, rows.origin(1)) == ("text", "a.txt, line 5")
    folder = tmp_path / "texts"
    (folder / "sub").mkdir(parents=True)
    (folder / "b.md").write_text("# b\n\nrest", encoding="utf-8")
    (folder / "sub" / "a.txt").write_text("a", encoding="utf-8")
    (folder / "blank.txt").write_text(" \n", encoding="utf-8")
    (folder / ".hidden.txt").write_text("no", encoding="utf-8")
    rows = open_rows(str(folder))
    assert contents(rows) == [{"text": "# b\n\nrest"}, {"text": "a"}]
    assert rows.origin(1) == "texts/sub/a.txt"


def test_folder_of_row_files_is_read_in_order(tmp_path: Path, write_rows: Writer) -> None:
    (tmp_path / "many").mkdir()
    write_rows(PAIRS[3:], "many/2.jsonl")
    write_rows(PAIRS[:3], "many/1.jsonl")
    rows = open_rows(str(tmp_path / "many"))
    assert contents(rows) == PAIRS
    assert rows.origin(3) == "many/2.jsonl, line 1"
    (tmp_path / "many" / "x.csv").write_text("a,b\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"files of several kinds: \.csv, \.jsonl"):
        open_rows(str(tmp_path / "many"))


def test_sample_is_opened_by_name(write_rows: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(write_rows(PAIRS))
    monkeypatch.setattr(samples, "path", lambda name: path.parent / f"{name}.jsonl")
    assert contents(open_rows("sample:rows")) == PAIRS


def test_second_opening_reads_the_cache_and_leaves_no_unfinished_file(write_rows: Writer, cache: Path) -> None:
    source = write_rows(PAIRS)
    open_rows(source)
    (table,) = (cache / "data").glob("*.arrow")
    written = table.stat().st_mtime_ns
    assert contents(open_rows(source)) == PAIRS
    assert table.stat().st_mtime_ns == written
    with pytest.raises(DataError):
        open_rows(write_rows([*PAIRS, 3], "bad.jsonl"))
    assert {path.name for path in (cache / "data").iterdir()} == {table.name, table.with_suffix(".json").name}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', r"a\.jsonl, line 2: malformed JSON"),
        ("a.jsonl", b"[\n{}\n]", r"line 1: malformed JSON(.|\n)*rename the file to end in .json"),
        ("a.jsonl", b'{"text": "a"}\n["a"]\n', r"a\.jsonl, line 2: a list, not a row"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "\xe9"}\n', r"a\.jsonl, line 2: not UTF-8 \(byte 0xe9\)"),
        ("a.jsonl", b"", r"a\.jsonl: holds no rows"),
        ("a.jsonl", b"\n \n", r"a\.jsonl: holds no rows"),
        ("a.jsonl", b"[" * 100_000, r"line 1: malformed JSON"),
        ("a.jsonl", b'{"text": [{"b": 1, "b": 1}]}\n', r"line 1: 'b' stands more than once"),
        (
            "a.json",
            b'[{"text": "a"},\n{"text": "a", "text": "b"}' + b" " * 70_000,
            r"line 2: 'text' stands more than once",
        ),
        ("a.json", b'{"data": [{"text": "a"}],\n"data": [{"text": "b"}]\n}', r"line 2: 'data' stands more than once"),
        ("a.json", b'{\n"data": [{"text": "a"}]} x', r"line 2: malformed JSON: text after the end"),
        ("a.json", b'{\n"data": [{"text": "a"}]', r"line 2: malformed JSON"),
        ("a.json", b'{\n3: [{"text": "a"}]}', r"line 2: malformed JSON: a number where a key should stand"),
        ("a.json", b"", r"a\.json: holds no rows"),
        ("a.json", b"[]", r"a\.json: holds no rows"),
        ("a.json", b'[\n{"text": "a"},\n{"text": }]', r"a\.json, line 3: malformed JSON"),
        ("a.json", b'[{"text": "a"}', r"line 1: malformed JSON: ends too early"),
        ("a.json", b'[{"text": "a"}] x', r"line 1: malformed JSON: text after the end"),
        ("a.json", b'[{"text": "a"},\n 3]', r"a\.json, line 2, row 2: a number, not a row"),
        ("a.json", b'{\n"rows": {"a": 1}}', r"one object without a list `data`"),
        ("a.json", b'"text"', r"a document that starts with"),
        ("a.json", b'[{"text": "\xe9"}]', r"a\.json: not UTF-8"),
        ("a.csv", b"text,b\nx\n", r"a\.csv, line 2: 1 cells where the header has 2"),
        ("a.csv", b"text,text\nx,y\n", r"a\.csv, line 1: column 'text' is there twice"),
        ("a.csv", b'text\n"x\n', r"a\.csv, line 2: malformed CSV"),
        ("a.csv", b"text\n\xe9\n", r"a\.csv, line 1 or soon after: not UTF-8"),
        ("a.csv", b"text\n", r"a\.csv: holds no rows"),
        ("a.parquet", b"PAR1 not really", r"a\.parquet: not a readable Parquet file"),
        ("a.txt", b"\xff\xfe", r"a\.txt, line 1: not UTF-8"),
        ("a.jsonl.gz", b"not gzip", r"a\.jsonl\.gz: a damaged gzip file"),
        ("a.xlsx", b"x", r"a\.xlsx: unknown kind of file '.xlsx'\n  allowed: .jsonl"),
    ],
)
def test_unreadable_file_is_told_with_its_place(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_rows(str(tmp_path / name))


def test_missing_and_unusable_folders_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.jsonl: no such file or folder"):
        open_rows(str(tmp_path / "nowhere.jsonl"))
    with pytest.raises(DataError, match="no file that can be read"):
        open_rows(str(tmp_path))
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "state.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match="a damaged saved data set"):
        open_rows(str(tmp_path / "saved"))


def test_hub_failure_is_told_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(name: str, *, split: str) -> datasets.Dataset:
        raise ConnectionError(f"cannot reach {name} {split}")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(DataError, match=r"org/name: neither a path here nor a data set .*cannot reach org/name dev"):
        open_rows("org/name:dev")


def test_list_far_longer_than_the_buffer_is_read_whole(tmp_path: Path) -> None:
    rows = [{"text": f'{n} "quoted] {{' + "x" * (n * 37 % 3000)} for n in range(400)] + [{"text": "y" * 300_000}]
    (tmp_path / "long.json").write_text(json.dumps(rows), encoding="utf-8")
    assert contents(open_rows(str(tmp_path / "long.json"))) == rows
