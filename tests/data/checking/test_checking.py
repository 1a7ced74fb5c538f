"""Each fault is planted once among clean rows, and exactly it is told, at its place."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from reliability.planted.rows import FAULTS, PLANTED, checked_with, counts, places
from tenfold.data.checking import checking
from tenfold.data.checking.checking import check_rows
from tenfold.data.checking.cleaning import require_new, write_cleaned
from tenfold.data.checking.finding import KINDS
from tenfold.data.checking.keys import outliers
from tenfold.data.checking.near import NUM_HASHES, SIMILAR, Signatures
from tenfold.data.checking.quick import count_repeats
from tenfold.data.sources import open_rows
from tenfold.errors import DataError
from tests.data.checking.planted import clean_rows, write_rows


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_planted_once_is_told_once_and_nothing_else_is(name: str, tmp_path: Path) -> None:
    fault = FAULTS[name]
    checked = checked_with(fault, tmp_path)
    assert counts(checked) == fault.expected
    assert f"rows.jsonl, line {PLANTED}" in places(checked)
    assert KINDS[fault.kind].remedy


def test_clean_rows_have_nothing_to_tell(tmp_path: Path) -> None:
    assert counts(check_rows([write_rows(tmp_path / "rows.jsonl", clean_rows(200))])) == {}


@pytest.mark.parametrize("name", ["private key", "AWS", "GitHub", "OpenAI", "JWT", "e-mail", "phone", "card", "IBAN"])
def test_secrets_are_never_shown_whole(name: str, tmp_path: Path) -> None:
    kind = FAULTS[name].kind
    row = FAULTS[name].plant([])
    # a second fault beside it: its example must not show the secret either
    row["completion"] = row["completion"].replace("here: ", "here: \ufffd ")
    checked = check_rows([write_rows(tmp_path / "rows.jsonl", [*clean_rows(30), row])])
    assert counts(checked) == {kind: 1, "replacement": 1}
    told = json.dumps(checked.to_json(), ensure_ascii=False)
    secret = row["completion"].partition("\ufffd ")[2].removesuffix(" as you see.")
    assert kind == "private_key" or secret not in told  # of a private key only its first line is looked at


def test_labels_that_contradict_each_other_are_told(tmp_path: Path) -> None:
    rows = [
        {"text": row["prompt"], "label": "good" if place % 2 else "bad"} for place, row in enumerate(clean_rows(30))
    ]
    rows.append({"text": rows[4]["text"].upper(), "label": "good"})
    checked = check_rows([write_rows(tmp_path / "rows.jsonl", rows)])
    assert counts(checked)["label_conflicts"] == 2
    places = [example.place for example in checked.findings[-1].examples]
    assert checked.findings[-1].kind == "label_conflicts"
    assert places == ["rows.jsonl, line 5", "rows.jsonl, line 31"]


def test_an_answer_that_many_prompts_get_is_told(tmp_path: Path) -> None:
    rows = clean_rows(40)
    for row in rows[10:16]:
        row["completion"] = "Thank you for asking such a good question today."
    checked = check_rows([write_rows(tmp_path / "rows.jsonl", rows)])
    assert counts(checked) == {"same_answers": 6}
    assert checked.findings[0].examples[0].text.startswith("6 prompts get it")


def test_rows_in_another_language_are_told(tmp_path: Path) -> None:
    german = [
        "Der alte Gärtner repariert jeden Dienstag das Tor hinter dem Bahnhof und spricht kein Wort.",
        "Unsere Lehrerin verkauft im späten Herbst sieben hölzerne Stühle auf dem Markt am Hafen.",
    ]
    rows = clean_rows(30) + [{"prompt": text, "completion": "Das stimmt."} for text in german]
    checked = check_rows([write_rows(tmp_path / "rows.jsonl", rows)])
    assert counts(checked) == {"languages": 2}
    assert checked.languages == {"en": 30, "de": 2}


def test_held_out_rows_in_training_are_told_whatever_their_answer(tmp_path: Path) -> None:
    rows, test = clean_rows(30), clean_rows(5, seed=1)
    rows[7] = {"prompt": test[2]["prompt"].lower(), "completion": rows[7]["completion"]}
    rows[9] = {**test[3], "prompt": "So " + test[3]["prompt"]}
    checked = check_rows([write_rows(tmp_path / "rows.jsonl", rows)], test=[write_rows(tmp_path / "test.jsonl", test)])
    assert counts(checked) == {"held_out": 1, "near_held_out": 1}
    leaked, near = (finding.examples[0] for finding in checked.findings)
    assert leaked.place == "rows.jsonl, line 8" and leaked.text.startswith("as test.jsonl, line 3: ")
    assert near.place == "rows.jsonl, line 10" and " of test.jsonl, line 4: " in near.text


def test_repeats_are_found_across_files_of_one_name(tmp_path: Path) -> None:
    rows = clean_rows(20)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    first = write_rows(tmp_path / "one" / "rows.jsonl", rows[:15])
    second = write_rows(tmp_path / "two" / "rows.jsonl", [*rows[15:], rows[0]])
    checked = check_rows([first, second])
    assert counts(checked) == {"exact_duplicates": 1}
    shown = checked.findings[0].examples[0]
    assert shown.place == f"{second}, line 6" and shown.text.startswith(f"as {first}, line 1: ")


def test_files_that_begin_with_a_mark_or_mix_line_ends_are_told(tmp_path: Path) -> None:
    lines = [json.dumps(row) for row in clean_rows(10)]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(
        b"\xef\xbb\xbf" + "\r\n".join(lines[:4]).encode() + b"\r\n" + "\n".join(lines[4:]).encode() + b"\n"
    )
    assert counts(check_rows([str(path)])) == {"file_bom": 1, "mixed_line_ends": 1}


def test_a_row_that_cannot_be_learned_from_is_told_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    odd = ['{"prompt": null, "completion": "x"}', '{"prompt": "Why?", "completion": 3}', '{"prompt": ["a"]}']
    path.write_text("\n".join([*(json.dumps(row) for row in clean_rows(5)), *odd]), encoding="utf-8")
    checked = check_rows([str(path)])
    assert counts(checked) == {"unreadable": 3}
    assert [example.place for example in checked.findings[0].examples] == [f"rows.jsonl, line {n}" for n in (6, 7, 8)]
    assert checked.findings[0].examples[1].text == "column 'completion' is a number, not text"


def test_a_question_answered_from_one_context_is_no_near_duplicate_of_another(tmp_path: Path) -> None:
    context = " ".join(row["completion"] for row in clean_rows(10))
    words = context.split()
    rows = [
        {"question": row["prompt"], "context": context, "answer": words[place]}
        for place, row in enumerate(clean_rows(8, seed=2))
    ]
    assert counts(check_rows([write_rows(tmp_path / "rows.jsonl", rows)])) == {}


def test_what_is_not_installed_is_told_and_the_rest_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking.importlib.util, "find_spec", lambda name: None)
    rows = clean_rows(20)
    checked = check_rows([write_rows(tmp_path / "rows.jsonl", [*rows, rows[0]])])
    assert counts(checked) == {"exact_duplicates": 1}
    assert set(checked.skipped) == {"near_duplicates", "languages"}
    assert "pip install 'tenfold[check]'" in checked.skipped["languages"]


@pytest.mark.parametrize(
    ("sample", "columns"), [("diseases", {"prompt": "name", "completion": "definition"}), ("household", None)]
)
def test_real_rows_show_no_secrets_and_no_personal_data(sample: str, columns: dict[str, str] | None) -> None:
    checked = check_rows([f"sample:{sample}"], columns=columns)
    assert set(counts(checked)) <= {"near_duplicates"}


def test_the_cleaned_copy_leaves_out_what_is_safe_and_says_what_it_left_alone(tmp_path: Path) -> None:
    rows, test = clean_rows(30), clean_rows(5, seed=1)
    dirty = [*rows, rows[2], {"prompt": "And then?", "completion": " "}, test[0], FAULTS["e-mail"].plant(rows)]
    source = write_rows(tmp_path / "rows.jsonl", dirty)
    checked = check_rows([source], test=[write_rows(tmp_path / "test.jsonl", test)])
    cleaned = write_cleaned(checked, tmp_path / "cleaned.jsonl")
    kept = [json.loads(line) for line in (tmp_path / "cleaned.jsonl").read_text(encoding="utf-8").splitlines()]
    assert kept == [*rows, dirty[-1]]
    assert cleaned.dropped == {"held_out": 1, "exact_duplicates": 1, "empty_answers": 1}
    assert (cleaned.kept, cleaned.num_rows, cleaned.left) == (31, 34, {"email": 1})
    again = check_rows([str(tmp_path / "cleaned.jsonl")], test=[str(tmp_path / "test.jsonl")])
    assert counts(again) == {"email": 1}


def test_a_cleaned_copy_never_replaces_what_is_checked(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", clean_rows(3))
    with pytest.raises(DataError, match="is a file that is checked"):
        require_new(tmp_path / "rows.jsonl", [source])
    with pytest.raises(DataError, match="does not end in"):
        require_new(tmp_path / "rows.csv", [source])


def test_the_estimated_similarity_is_the_share_of_common_runs_of_words(tmp_path: Path) -> None:
    # Jaccard by hand: of two texts of 100 words that share the first `common`, the runs within these are shared
    shared = [f"w{number}" for number in range(100)]
    texts = []
    for common in (96, 80):
        own = [f"{common}-{number}" for number in range(100 - common)]
        texts.append((" ".join(shared[:common] + own), ""))
    signatures = Signatures(tmp_path, 3)
    signatures.add(0, [(" ".join(shared), ""), *texts])
    exact = {row: (common - 2) / (2 * 98 - (common - 2)) for row, common in ((1, 96), (2, 80))}
    assert exact[1] > SIMILAR > exact[2]
    (pair,) = signatures.pairs(np.arange(3))
    assert (pair.row, pair.earlier) == (1, 0)
    deviation = (exact[1] * (1 - exact[1]) / NUM_HASHES) ** 0.5
    assert abs(pair.similarity - exact[1]) < 4 * deviation


def test_the_quick_count_is_that_of_the_whole_check(tmp_path: Path) -> None:
    rows = [{"text": row["prompt"], "label": "good"} for row in clean_rows(30)]
    rows += [rows[2], rows[2], {**rows[5], "label": "bad"}, {"text": "", "label": "bad"}]
    source = write_rows(tmp_path / "rows.jsonl", rows)
    whole = counts(check_rows([source]))
    quick = count_repeats(open_rows(source))
    assert (quick.num_rows, quick.duplicates, quick.conflicts) == (34, 2, 2)
    assert (whole["exact_duplicates"], whole["label_conflicts"]) == (2, 2)


def test_lengths_that_are_nearly_equal_have_no_outliers() -> None:
    lengths = np.array([100] * 50 + [300, 30])
    assert not len(outliers(lengths)[0])
    assert outliers(np.r_[lengths, 2_000])[0].tolist() == [52]
