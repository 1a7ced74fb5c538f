"""The rules of advice on planted facts: each one's case, and the case beside it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tenfold.compare.advise import FEW_ROWS_PER_LABEL, RULES, Advice, advise, first_to_try, names_language
from tenfold.compare.estimate import FEW_ROWS, budget_for, cost_class, fits_whole, seconds_of_training
from tenfold.compare.facts import Facts, TableFacts
from tenfold.engine.runtime import Machine
from tenfold.models.headers import Headers
from tenfold.techniques.technique import BUILTIN
from tenfold.terminal import starter

LAPTOP = Machine(cores=8, device="cpu", memory_bytes=16 * 10**9, precision="bf16", flops=5e11)
SMALL = Headers(parameters=135_000_000, inner_parameters=106_000_000, family="decoder", context=8192)
LARGE = Headers(parameters=7_000_000_000, inner_parameters=6_500_000_000, family="decoder", context=8192)
OF_SEVERAL = {"multi_task": "one table", "sequential": "one table"}


def table(
    format: str = "prompt_completion", rows: int = 2000, *, name: str = "rows", labels: dict[str, int] | None = None
) -> TableFacts:
    return TableFacts(name, format, rows, 100.0, 300, labels or {}, rows, 500)


def classes(rows_each: int) -> TableFacts:
    return table("classification", 4 * rows_each, labels=dict.fromkeys("abcd", rows_each))


def facts(*tables: TableFacts, model: Headers = SMALL, machine: Machine = LAPTOP, **known: object) -> Facts:
    refused = {} if len(tables) > 1 else dict(OF_SEVERAL)
    if not tables[0].is_labelled:
        refused["feature_based"] = "answered in words"
    if "languages" not in known and len(tables) == 1:
        refused["cross_lingual"] = "one language"
    return replace(Facts(tables, model, machine, refused=refused), **known)  # type: ignore[arg-type]


def of(technique: str, known: Facts) -> Advice:
    return next(each for each in advise(known) if each.technique == technique)


def first(known: Facts) -> list[str]:
    return first_to_try(known, advise(known))


CASES = {
    "words": facts(table()),
    "words, large": facts(table(), model=LARGE),
    "raw text": facts(table("text")),
    "few labels": facts(classes(12)),
    "many labels": facts(classes(500)),
    "labels, large": facts(classes(500), model=LARGE),
    "numbers": facts(table("regression")),
    "tags": facts(table("tags")),
    "translation": facts(table("translation")),
    "two tables": facts(table(name="ask"), table(name="tell")),
    "a language column": facts(table(), language_column="lang", languages={"en": 1800, "de": 200}),
}


@pytest.mark.parametrize("case", CASES)
def test_each_technique_has_one_line_with_its_source(case: str) -> None:
    advice = advise(CASES[case])
    assert [each.technique for each in advice] == list(BUILTIN) == list(RULES)
    for each in advice:
        assert each.source
        assert each.reason
        assert "\n" not in each.reason
        assert len(each.reason) < 100
        assert (each.seconds is None) == (each.standing == "does not apply")
    standings = {each.technique: each.standing for each in advice}
    assert 1 <= len(first(CASES[case])) <= 2
    assert all(standings[technique] != "does not apply" for technique in first(CASES[case]))


def test_what_init_refuses_does_not_apply_and_says_why() -> None:
    told = of("multi_task", facts(table()))
    assert (told.standing, told.reason, told.source) == ("does not apply", "one table", "tenfold init")


@pytest.mark.parametrize(
    ("rows", "features", "tuning", "begins"),
    [
        (FEW_ROWS_PER_LABEL - 1, "suited", "possible", ["feature_based", "transfer"]),
        (FEW_ROWS_PER_LABEL, "possible", "suited", ["parameter_efficient", "task_specific"]),
    ],
)
def test_few_rows_a_label_begin_with_features(rows: int, features: str, tuning: str, begins: list[str]) -> None:
    known = facts(classes(rows))
    assert of("feature_based", known).standing == features
    assert of("task_specific", known).standing == of("parameter_efficient", known).standing == tuning
    assert of("transfer", known).standing == features
    assert first(known) == begins


def test_half_of_the_labels_decide_not_the_rarest() -> None:
    skewed = table("classification", 5000, labels={"a": 3000, "b": 1000, "c": 900, "d": 50, "e": 50})
    assert of("feature_based", facts(skewed)).standing == "possible"


@pytest.mark.parametrize(
    ("labels", "unlearnable", "rows"),
    [
        ({"a": 1, "b": 1, "c": 1}, "3 of 3 labels have one row", None),
        ({"a": 9, "b": 1}, "1 of 2 labels have one row", 9),
        ({"a": 9}, "there is nothing to tell apart", 9),
        ({"a": 9, "b": 5, "c": 1}, "", 7),
    ],
)
def test_labels_of_one_row_are_left_out_and_without_two_others_nothing_applies(
    labels: dict[str, int], unlearnable: str, rows: float | None
) -> None:
    known = facts(table("classification", sum(labels.values()), labels=labels))
    assert known.first.median_rows_per_label == rows
    assert known.unlearnable == (f"in rows, {unlearnable}" if unlearnable else "")
    assert all(each.standing == "does not apply" for each in advise(known)) == bool(unlearnable)
    assert bool(first(known)) == (not unlearnable)
    some = replace(known.first, num_read=1)
    assert (some.num_alone, some.unlearnable) == (0, ""), "of rows that were not read nothing is known"


def test_what_has_too_few_rows_to_be_split_is_possible_at_most() -> None:
    assert of("feature_based", facts(classes(3))).standing == "possible"
    assert of("feature_based", facts(classes(4))).standing == "suited"
    assert first(facts(classes(3)))[0] == "feature_based"


def test_labels_are_learned_by_task_specific_and_words_by_instruction() -> None:
    assert of("instruction", CASES["many labels"]).standing == "does not apply"
    assert of("instruction", CASES["words"]).standing == "suited"
    assert of("task_specific", CASES["words"]).standing == "possible"


def test_words_begin_with_lora_and_full_tuning_where_memory_allows() -> None:
    assert first(CASES["words"]) == ["parameter_efficient", "instruction"]
    large = CASES["words, large"]
    told = of("instruction", large)
    assert told.standing == "possible"
    assert "112 of 16 GB" in told.reason
    assert first(large)[0] == "parameter_efficient"
    assert "instruction" not in first(large)
    roomy = replace(large, machine=replace(LAPTOP, memory_bytes=200 * 10**9))
    assert of("instruction", roomy).standing == "suited"


@pytest.mark.parametrize("technique", ["task_specific", "transfer"])
def test_full_tuning_of_labels_asks_for_its_memory_too(technique: str) -> None:
    told = of(technique, CASES["labels, large"])
    assert (told.standing, "does not fit" in told.reason) == ("possible", True)


def test_a_model_that_does_not_fit_frozen_is_held_in_four_bits() -> None:
    huge = facts(table(), model=replace(LARGE, parameters=10**11))
    told = of("parameter_efficient", huge)
    assert (told.standing, "qlora" in told.reason) == ("possible", True)


def test_raw_text_begins_with_full_tuning_where_it_fits() -> None:
    assert first(CASES["raw text"])[0] == "instruction"
    assert first(facts(table("text"), model=LARGE))[0] == "parameter_efficient"


@pytest.mark.parametrize("format", ["speech", "translation"])
def test_speech_and_translation_begin_with_transfer(format: str) -> None:
    assert first(facts(table(format)))[0] == "transfer"
    assert of("transfer", CASES["words"]).standing == "possible"


def test_several_tables_begin_with_one_model_for_all_and_an_adapter_for_each() -> None:
    assert first(CASES["two tables"]) == ["multi_task", "adapters"]
    assert of("adapters", CASES["words"]).standing == "possible"


def test_a_large_table_prepares_for_a_small_one() -> None:
    assert of("sequential", CASES["two tables"]).standing == "possible"
    told = of("sequential", facts(table(name="small", rows=100), table(name="large", rows=1000)))
    assert told.standing == "suited"
    assert "large (1,000 rows) can prepare for small (100)" in told.reason


def test_languages_of_which_one_has_most_rows_begin_with_cross_lingual() -> None:
    assert first(CASES["a language column"])[0] == "cross_lingual"
    even = facts(table(), language_column="lang", languages={"en": 900, "de": 1000, "fr": 950})
    assert of("cross_lingual", even).standing == "possible"
    assert "cross_lingual" not in first(even)


def test_tables_named_as_languages_are_languages() -> None:
    assert of("cross_lingual", facts(table(name="en"), table(name="pt_BR"))).standing == "suited"
    assert of("cross_lingual", CASES["two tables"]).standing == "possible"
    assert [name for name in ("de", "zh-CN", "ask", "EN", "d1", "pt_br", "") if names_language(name)] == ["de", "zh-CN"]


def test_a_model_that_is_slow_here_is_to_be_distilled_later() -> None:
    assert of("distillation", CASES["words"]).standing == "possible"
    slow = CASES["words, large"]
    assert of("distillation", slow).standing == "suited"
    assert "distillation" not in first(slow)
    assert of("distillation", replace(slow, machine=replace(LAPTOP, flops=1e14))).standing == "possible"


def test_only_writers_are_distilled_on_words_and_encoders_too_on_labels() -> None:
    for family, known, standing in (
        ("encoder", CASES["many labels"], "possible"),
        ("encoder", CASES["raw text"], "does not apply"),
        ("encoder_decoder", CASES["translation"], "does not apply"),
    ):
        told = of("distillation", replace(known, model=replace(SMALL, family=family)))  # type: ignore[arg-type]
        assert told.standing == standing


def test_full_tuning_keeps_sixteen_bytes_a_parameter() -> None:
    machine = replace(LAPTOP, memory_bytes=20 * 10**9)  # of which 16 may be used
    assert fits_whole(facts(table(), model=replace(SMALL, parameters=10**9), machine=machine))
    assert not fits_whole(facts(table(), model=replace(SMALL, parameters=10**9 + 1), machine=machine))


def test_time_follows_rows_and_passes() -> None:
    known = facts(classes(500))  # 2,000 rows of 100 tokens, once
    full = seconds_of_training(known, "task_specific")
    assert full == pytest.approx(6 * 106e6 * 200_000 / (0.4 * 5e11))
    assert seconds_of_training(known, "parameter_efficient") == pytest.approx(full * 4 / 6)
    assert seconds_of_training(known, "feature_based") == pytest.approx(full * 2 / 6)
    few = facts(classes(100))  # read three times, but by what only reads
    assert seconds_of_training(few, "task_specific") == pytest.approx(full / 5 * 3)
    assert seconds_of_training(few, "feature_based") == pytest.approx(full * 2 / 6 / 5)
    assert starter.FEW_ROWS == FEW_ROWS


def test_costs_are_told_in_classes_and_budgets_as_people_write_them() -> None:
    told = [cost_class(seconds) for seconds in (59, 60, 600, 3600, 86400)]
    assert told == ["under a minute", "minutes", "tens of minutes", "hours", "days"]
    assert budget_for(facts(classes(12)), ["feature_based"]) == "10m"
    assert budget_for(facts(classes(12)), ["feature_based", "transfer"]) == "30m"
    assert budget_for(CASES["words, large"], ["parameter_efficient", "adapters"]) == "8h"
