"""Every rule of the gate fires on its fault, is quiet without it, and can be downgraded."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from tenfold.data.gate import Finding, check_signal, require_whole_replies
from tenfold.data.identity import normalised
from tenfold.data.prepare import Prepared, prepare
from tenfold.data.render import Renderer
from tenfold.data.sources import open_rows
from tenfold.errors import DataError, SignalError
from tenfold.recipe import DataSection, GateSection
from tests.tiny_tokenizers import CHATML, ENDLESS, PHI, byte_tokenizer

Writer = Callable[..., str]
Row = dict[str, object]


def pair(prompt: str, completion: str = "yes") -> Row:
    return {"prompt": prompt, "completion": completion}


@pytest.fixture
def check(write_rows: Writer) -> Callable[..., list[Finding]]:
    def run(
        train: list[Row],
        test: list[Row] | None = None,
        *,
        template: str | None = CHATML,
        gate: Mapping[str, object] | None = None,
        validation: list[Row] | None = None,
        **data: object,
    ) -> list[Finding]:
        renderer = Renderer(byte_tokenizer(chat_template=template), DataSection.model_validate(data))

        def side(rows: list[Row], name: str) -> Prepared:
            return prepare(open_rows(write_rows(rows, f"{name}.jsonl")), renderer)

        given = {"validation": validation, "test": test}
        evaluation = {name: None if rows is None else side(rows, name) for name, rows in given.items()}
        settings = GateSection.model_validate(gate or {})
        return check_signal(side(train, "train"), evaluation, renderer=renderer, gate=settings)

    return run


Check = Callable[..., list[Finding]]
FINE = [pair(f"question {n}") for n in range(20)]


def test_sound_rows_pass_without_a_finding(check: Check) -> None:
    assert check(FINE, [pair("another")]) == []
    assert check(FINE, template=None) == []
    assert check([{"text": "some text"}], [{"text": "other text"}]) == []


SILENT: Row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]}
LOUD: Row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}


@pytest.mark.parametrize(
    ("rule", "arguments", "message"),
    [
        (
            "no_supervision",
            {"train": [LOUD, SILENT, SILENT]},
            r"2 of 3 rows .*: train.jsonl, line 2, train.jsonl, line 3",
        ),
        ("end_of_turn", {"train": FINE, "template": ENDLESS}, r"20 of 20 rows .*line 5, …"),
        ("template", {"train": FINE, "chat_template": PHI}, "differs from the tokenizer's own"),
        ("template", {"train": FINE, "chat_template": PHI, "template": None}, "has none of its own"),
        ("truncation", {"train": [*FINE, pair("p", "yes " * 200)], "max_length": 100}, r"1 of 21 rows .*line 21"),
        (
            "overlap",
            {"train": FINE, "test": [pair("x"), pair("Question  3.", "no")]},
            r"1 of 2 rows .*test.jsonl, line 2",
        ),
    ],
)
def test_rule_refuses_and_can_be_allowed(check: Check, rule: str, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(SignalError, match=message) as error:
        check(**arguments)
    assert all(f"gate rule {rule}" in problem.where for problem in error.value.problems)
    assert all(f"gate.allow: [{rule}]" in problem.remedy for problem in error.value.problems)
    allowed = check(**arguments, gate={"allow": [rule]})
    assert {finding.rule for finding in allowed} == {rule}


def test_plain_template_is_refused_where_the_tokenizer_has_a_chat_template(write_rows: Writer) -> None:
    renderer = Renderer(byte_tokenizer(), DataSection(template="plain"))
    prepared = prepare(open_rows(write_rows(FINE)), renderer)
    with pytest.raises(SignalError, match=r"data\.template is plain although"):
        check_signal(prepared, {}, renderer=renderer, gate=GateSection())


def test_share_of_cut_rows_is_allowed_up_to_the_limit_but_no_cut_reply(write_rows: Writer) -> None:
    """Only the line break behind the last token of the loss is cut off here."""
    tokenizer = byte_tokenizer()
    longest = len(Renderer(tokenizer, DataSection()).render(open_rows(write_rows(FINE)).example(19)).input_ids)
    renderer = Renderer(tokenizer, DataSection(max_length=longest - 1))
    prepared = prepare(open_rows(write_rows(FINE)), renderer)
    share = float(prepared.column("truncated").mean())
    assert 0 < share < 1
    assert check_signal(prepared, {}, renderer=renderer, gate=GateSection(max_truncated=share)) == []
    with pytest.raises(SignalError, match=rf"\(allowed: {share / 2:.1%}\)"):
        check_signal(prepared, {}, renderer=renderer, gate=GateSection(max_truncated=share / 2))
    shorter = Renderer(tokenizer, DataSection(max_length=longest - 2))
    with pytest.raises(SignalError, match="a reply is cut"):
        check_signal(prepare(prepared.rows, shorter), {}, renderer=shorter, gate=GateSection(max_truncated=1.0))


def test_all_refused_rules_are_told_at_once_and_allowed_ones_are_not(check: Check) -> None:
    arguments = {"train": [LOUD, SILENT], "test": [LOUD], "chat_template": PHI}
    with pytest.raises(SignalError) as error:
        check(**arguments, gate={"allow": ["template"]})
    told = [problem.where for problem in error.value.problems]
    assert told == ["gate rule no_supervision (train rows)", "gate rule overlap (test rows)"]


def test_overlap_counts_word_for_word_copies(check: Check) -> None:
    test = [pair("question 1"), pair("QUESTION 2!"), pair("question 3", "no")]
    with pytest.raises(SignalError, match=r"3 of 3 rows .*\(1 word for word with the same reply\)"):
        check(FINE, test)


def talk(*texts: str, silent: int | None = None) -> Row:
    """Return a row of user and assistant in turn; the turn `silent` is kept out of the loss."""
    roles = ["user", "assistant"] * (len(texts) // 2)
    return {
        "messages": [
            {"role": role, "content": text, "weight": int(place != silent)}
            for place, (role, text) in enumerate(zip(roles, texts, strict=True))
        ]
    }


def test_overlap_sees_every_reply_that_is_learned_or_asked_for(check: Check) -> None:
    train = [talk(f"who is {n}", "he", "sure?", "yes") for n in range(5)]
    first_turn, whole, further = (
        talk("who is 3", "he"),
        talk("who is 3", "he", "sure?", "no"),
        talk("Who is 3?", "he", "why?", "so"),
    )
    for test in (first_turn, whole, further):
        with pytest.raises(SignalError, match=r"1 of 2 rows have a prompt that also occurs in training .*line 2"):
            check(train, [talk("who is 9", "he"), test])
    # the first turn is not learned: by the setting, or by the row
    assert check(train, [first_turn], train_on="last") == []
    assert check([talk("who is 3", "he", "sure?", "yes", silent=1)], [first_turn]) == []
    # a reply that is asked for leaks though the test row keeps it out of the loss
    asked = talk("who is 9", "he", "sure?", "yes", silent=3)
    with pytest.raises(SignalError, match="also occurs in training"):
        check([talk("who is 9", "she", "so?", "no"), talk("who is 9", "he", "sure?", "yes")], [asked])


def test_overlap_of_test_with_validation_is_told_as_such(check: Check) -> None:
    sides = {"train": FINE, "validation": [pair("v")], "test": [pair("t"), pair("V?")]}
    with pytest.raises(SignalError) as error:
        check(**sides)
    [problem] = error.value.problems
    assert problem.where == "gate rule overlap (test rows)"
    assert "1 of 2 rows have a prompt that also occurs in validation" in problem.found
    assert [finding.rule for finding in check(**sides, gate={"allow": ["overlap"]})] == ["overlap"]


def test_whole_replies_are_required_with_the_rows_named(write_rows: Writer) -> None:
    rows = open_rows(write_rows([pair("p"), pair("p", "yes " * 200)]))
    require_whole_replies(prepare(rows, Renderer(byte_tokenizer(), DataSection())), 1024)
    with pytest.raises(DataError, match=r"in 1 of 2 rows a reply is cut: rows.jsonl, line 2(.|\n)*at most 100 tokens"):
        require_whole_replies(prepare(rows, Renderer(byte_tokenizer(), DataSection(max_length=100))), 100)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("Turn  on\nthe LAMP.", "turn on the lamp", True),
        ("“Yes”, he said…", "yes he said", True),
        ("ﬁne", "FINE", True),
        ("2 + 3", "2 - 3", False),
        ("2*3?", "2+3?", False),
        ("3.5", "35", False),
        ("?", "!", False),
        ("कि", "क", False),
    ],
)
def test_normalised_text_forgets_spelling_but_not_meaning(first: str, second: str, same: bool) -> None:
    assert (normalised(first) == normalised(second)) is same
