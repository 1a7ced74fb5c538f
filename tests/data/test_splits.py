"""Splits: stable under added rows, no group on two sides, never an empty side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tenfold import samples
from tenfold.data.sources import Rows
from tenfold.data.splits import Splits, open_splits
from tenfold.errors import DataError
from tenfold.recipe import DataSection

Writer = Callable[..., str]


def pairs(count: int) -> list[dict[str, object]]:
    return [{"prompt": f"question {n}", "completion": "a", "family": n // 5} for n in range(count)]


def prompts(rows: Rows | None) -> set[object]:
    return set() if rows is None else {rows.row(index)["prompt"] for index in range(len(rows))}


def sides(splits: Splits) -> tuple[set[object], set[object], set[object]]:
    return prompts(splits.train), prompts(splits.validation), prompts(splits.test)


def test_sides_partition_the_rows_in_about_the_wanted_shares(write_rows: Writer) -> None:
    data = DataSection(train=write_rows(pairs(2000)), test_share=0.2, validation_share=0.1)
    train, validation, test = sides(open_splits(data, seed=0, with_validation=True))
    assert len(train) + len(validation) + len(test) == 2000
    assert train | validation | test == {f"question {n}" for n in range(2000)}
    # Binomial: three standard deviations are 54 and 41 rows.
    assert abs(len(test) - 400) < 54 and abs(len(validation) - 200) < 41


def test_added_rows_move_nobody_and_another_seed_moves_many(write_rows: Writer) -> None:
    few = DataSection(train=write_rows(pairs(300)), validation_share=0.2)
    many = DataSection(train=write_rows(pairs(600)[::-1], "more.jsonl"), validation_share=0.2)
    before = sides(open_splits(few, seed=3, with_validation=True))
    after = sides(open_splits(many, seed=3, with_validation=True))
    assert all(old <= new for old, new in zip(before, after, strict=True))
    assert before[2] != sides(open_splits(few, seed=4, with_validation=True))[2]


def test_no_group_and_no_spelling_of_a_prompt_is_on_two_sides(write_rows: Writer) -> None:
    for seed in range(5):
        data = DataSection(train=write_rows(pairs(200)), group_by="family", test_share=0.3)
        splits = open_splits(data, seed=seed, with_validation=False)
        assert splits.test is not None
        families = [{rows.row(i)["family"] for i in range(len(rows))} for rows in (splits.train, splits.test)]
        assert not families[0] & families[1]
        spelled = [{"prompt": f"Is it {n}{mark}", "completion": "a"} for n in range(40) for mark in ("", "?", " ?!")]
        spelled += [{"prompt": f"is  IT {n}", "completion": "b"} for n in range(40)]
        train, _, test = sides(
            open_splits(
                DataSection(train=write_rows(spelled, "s.jsonl"), test_share=0.5), seed=seed, with_validation=False
            )
        )
        numbers = [{str(prompt).lower().strip(" ?!").split()[-1] for prompt in side} for side in (train, test)]
        assert not numbers[0] & numbers[1]


def test_conversations_that_begin_alike_stay_on_one_side(write_rows: Writer) -> None:
    def talk(number: int, length: int) -> dict[str, object]:
        pairs = [(f"{turn} of {number}?", "yes") for turn in range(length)]
        names = ("user", "assistant")
        return {"messages": [{"role": r, "content": c} for pair in pairs for r, c in zip(names, pair, strict=True)]}

    source = write_rows([talk(number, length) for number in range(40) for length in (1, 2, 3)])
    sizes = {}
    for train_on in ("all", "last"):
        data = DataSection.model_validate({"train": source, "train_on": train_on, "test_share": 0.5})
        splits = open_splits(data, seed=0, with_validation=False)
        assert splits.test is not None
        firsts = [
            {str(rows.example(place).turns[0].content) for place in range(len(rows))}
            for rows in (splits.train, splits.test)
        ]
        sizes[train_on] = len(firsts[0] & firsts[1])
    assert sizes["all"] == 0
    assert sizes["last"] > 0, "only the last reply is learned, and its prompt differs"


def test_each_wanted_side_gets_a_group_however_few_there_are(write_rows: Writer) -> None:
    for seed in range(20):
        data = DataSection(train=write_rows(pairs(3)), test_share=0.01, validation_share=0.9)
        assert [len(side) for side in sides(open_splits(data, seed=seed, with_validation=True))] == [1, 1, 1]
        data = DataSection(train=write_rows(pairs(2)), test_share=0.99)
        assert [len(side) for side in sides(open_splits(data, seed=seed, with_validation=False))] == [1, 0, 1]


def test_too_few_groups_are_told_with_the_remedies(write_rows: Writer) -> None:
    data = DataSection(train=write_rows(pairs(5)), group_by="family")
    with pytest.raises(DataError, match=r"5 rows in 1 groups cannot be split into 2 sides(.|\n)*name data.test"):
        open_splits(data, seed=0, with_validation=False)
    whole = open_splits(data.model_copy(update={"test_share": 0.0}), seed=0, with_validation=False)
    assert (len(whole.train), whole.validation, whole.test) == (5, None, None)


def test_missing_group_column_is_told_with_the_row(write_rows: Writer) -> None:
    rows = [*pairs(3), {"prompt": "q", "completion": "a"}]
    with pytest.raises(DataError, match=r"rows.jsonl, line 4: no column 'family' to group by"):
        open_splits(DataSection(train=write_rows(rows), group_by="family"), seed=0, with_validation=False)


def test_named_sides_are_read_from_their_sources(write_rows: Writer) -> None:
    train, test = write_rows(pairs(4)), write_rows([{"prompt": "T", "completion": "t"}], "t.jsonl")
    validation = write_rows([{"prompt": "V", "completion": "v"}], "v.jsonl")
    data = DataSection(train=train, test=test, validation=validation)
    splits = open_splits(data, seed=0, with_validation=True)
    assert [len(side) for side in sides(splits)] == [4, 1, 1]
    assert (prompts(splits.test), prompts(splits.validation)) == ({"T"}, {"V"})


def test_sample_says_where_its_rows_belong(write_rows: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["train"] * 30 + ["validation"] * 3 + ["test"] * 4
    rows = [row | {"split": name} for row, name in zip(pairs(37), names, strict=True)]
    path = Path(write_rows(rows))
    monkeypatch.setattr(samples, "path", lambda name: path)
    splits = open_splits(DataSection(train="sample:x"), seed=0, with_validation=True)
    assert [len(side) for side in sides(splits)] == [30, 3, 4]
    assert splits.test is not None and splits.test.row(0)["split"] == "test"


def test_max_rows_takes_the_same_rows_in_any_order_of_the_file(write_rows: Writer) -> None:
    data = DataSection(train=write_rows(pairs(100)), max_rows=10)
    other = DataSection(train=write_rows(pairs(100)[::-1], "r.jsonl"), max_rows=10)
    chosen = prompts(open_splits(data, seed=0, with_validation=False).train)
    assert len(chosen) == 10
    assert chosen == prompts(open_splits(other, seed=0, with_validation=False).train)
    assert chosen != prompts(open_splits(data, seed=1, with_validation=False).train)


def test_nothing_left_to_train_on_is_told(write_rows: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(write_rows([row | {"split": "test"} for row in pairs(3)]))
    monkeypatch.setattr(samples, "path", lambda name: path)
    with pytest.raises(DataError, match="no rows are left to train on"):
        open_splits(DataSection(train="sample:x"), seed=0, with_validation=False)


def test_only_the_wanted_rows_are_used_and_an_unknown_value_is_told_with_the_known_ones(write_rows: Writer) -> None:
    rows = [{"prompt": f"question {n}", "completion": "a", "language": ("en", "de", "fr")[n % 3]} for n in range(60)]
    path = write_rows(rows)
    data = DataSection(train=path, test=path, where={"language": ("de", "fr")})
    train, _, test = sides(open_splits(data, seed=0, with_validation=False))
    assert train == test == {f"question {n}" for n in range(60) if n % 3}
    with pytest.raises(DataError, match=r"(?s)no row whose language is it.*de, en, fr"):
        open_splits(data.model_copy(update={"where": {"language": ("it",)}}), seed=0, with_validation=False)
    with pytest.raises(DataError, match=r"(?s)line 1: no column 'langage'.*did you mean 'language'"):
        open_splits(data.model_copy(update={"where": {"langage": ("it",)}}), seed=0, with_validation=False)
