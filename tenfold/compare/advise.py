"""Which techniques are worth a try for such rows, on such a machine: a prior by a few rules, each with its source.

Nothing here is measured on the rows' own task; `tenfold compare` measures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from tenfold.compare.estimate import (
    READING_FLOPS,
    TRAINED_BYTES,
    fits,
    fits_whole,
    frozen_bytes,
    seconds_of_training,
    speed,
)
from tenfold.compare.facts import Facts
from tenfold.evaluation.figures import counted
from tenfold.techniques.technique import BUILTIN

Standing = Literal["suited", "possible", "does not apply"]

FEW_ROWS_PER_LABEL = 64
"""Below it, features come first. With 64 rows of each of 16 classes a frozen encoder's features reached accuracies of
0.746 to 0.759; words alone needed all 4,000 rows, 250 a class, for 0.745 (docs/techniques/feature_based.md).
"""

SLOW_SECONDS = 5.0
"""A row that takes longer to read on this machine makes the model a candidate for a smaller student."""

MANY_TIMES = 10
"""How many times the rows of the smallest table the largest must have to prepare for it."""


@dataclass(frozen=True)
class Advice:
    """What is to be expected of one technique, before anything was tried."""

    technique: str
    standing: Standing
    reason: str
    source: str
    seconds: float | None = None
    """About what one training takes; None where the technique does not apply."""


def advise(facts: Facts) -> list[Advice]:
    """Return what is to be expected of each built-in technique, in the order of `BUILTIN`."""
    refused = facts.refused or {}
    is_scarce = any(table.is_scarce for table in facts.tables)
    advice = []
    for technique in BUILTIN:
        if technique in refused:
            advice.append(Advice(technique, "does not apply", refused[technique], "tenfold init"))
            continue
        if facts.unlearnable:
            advice.append(Advice(technique, "does not apply", facts.unlearnable, "tenfold check"))
            continue
        standing, reason, source = RULES[technique](facts)
        if standing == "suited" and is_scarce:
            standing = "possible"
        seconds = None if standing == "does not apply" else seconds_of_training(facts, technique)
        advice.append(Advice(technique, standing, reason, source, seconds))
    return advice


def first_to_try(facts: Facts, advice: list[Advice]) -> list[str]:
    """Return the one or two techniques to begin with: those suited, in the order of `ORDER`, else what is possible.

    Empty where nothing applies that can be begun with: distillation alone needs a teacher first.
    """
    standings = {each.technique: each.standing for each in advice}
    suited = [technique for technique in ORDER if standings[technique] == "suited"]
    filling = sorted(FILLING, key=lambda technique: technique != "feature_based") if few_rows(facts) else FILLING
    possible = [technique for technique in filling if standings[technique] == "possible"]
    return [*suited, *possible][:2]


ORDER = (
    "cross_lingual",
    "multi_task",
    "adapters",
    "feature_based",
    "transfer",
    "parameter_efficient",
    "task_specific",
    "instruction",
    "sequential",
)
"""Which of several suited ones is tried first. Distillation is never first: its teacher must be trained before."""

FILLING = (
    "parameter_efficient",
    "feature_based",
    "adapters",
    "task_specific",
    "transfer",
    "instruction",
    "cross_lingual",
    "multi_task",
    "sequential",
)
"""Which of several possible ones is tried first, after those that are suited."""

Rule = Callable[[Facts], tuple[Standing, str, str]]


def _instruction(facts: Facts) -> tuple[Standing, str, str]:
    if facts.first.is_labelled:
        return "does not apply", "on rows with labels it trains just as task_specific does", "tenfold compare"
    if not fits_whole(facts):
        return "possible", f"{_whole(facts)}; with LoRA it is parameter_efficient", "Rajbhandari et al. 2019"
    return "suited", f"{_whole(facts)}; learns most, keeps least", "Biderman et al. 2024"


def _parameter_efficient(facts: Facts) -> tuple[Standing, str, str]:
    """Full tuning learns more, LoRA forgets less; of raw text the difference is larger than of prompts and answers.

    Source: Biderman et al. 2024, arXiv 2405.09673, section 4. Where the frozen model does not fit, its
    weights may be held in 4 bits: Dettmers et al. 2023, arXiv 2305.14314.
    """
    if not fits(facts, frozen_bytes(facts)):
        found = f"the frozen model alone takes {_of_memory(facts, frozen_bytes(facts))}"
        return "possible", f"{found}: try tuner: qlora, or a smaller model", "Dettmers et al. 2023"
    room = f"about {_of_memory(facts, frozen_bytes(facts))}"
    if few_rows(facts):
        return "possible", "few rows a label: compare with features of the frozen model first", FEATURES
    if facts.first.format == "text" and fits_whole(facts):
        return "possible", "learns less of raw text than full tuning, which fits", "Biderman et al. 2024"
    return "suited", f"{room}; keeps more of what the model knew than full tuning", "Biderman et al. 2024"


def _task_specific(facts: Facts) -> tuple[Standing, str, str]:
    """A head for the task, and all weights with it; or the domain's raw text first.

    Source: Devlin et al. 2018, arXiv 1810.04805, section 4; Gururangan et al. 2020, arXiv 2004.10964.
    """
    if not facts.first.is_labelled:
        return (
            "possible",
            "trains as instruction does, unless raw text of the domain is at hand",
            "Gururangan et al. 2020",
        )
    if not fits_whole(facts):
        return "possible", f"{_whole(facts)}: only with a small tuner", "Rajbhandari et al. 2019"
    if few_rows(facts):
        return "possible", f"{_per_label(facts)}: few to train all weights on", FEATURES
    rows = _per_label(facts) or counted(facts.num_rows, "row")
    return "suited", f"{rows}: enough for a head and all weights, which fit", "Devlin et al. 2018"


def _transfer(facts: Facts) -> tuple[Standing, str, str]:
    """With 100 labelled rows, ULMFiT matched training from scratch on 10 and 20 times as many.

    Source: Howard & Ruder 2018, arXiv 1801.06146, section 5.
    """
    source = "Howard & Ruder 2018"
    if not fits_whole(facts):
        return "possible", f"{_whole(facts)}: only the head, or a small tuner", "Rajbhandari et al. 2019"
    if facts.first.format in ("speech", "translation"):
        return "suited", f"bends a model that knows {facts.first.format} to yours, from the top down", source
    if few_rows(facts):
        return "suited", f"{_per_label(facts)}: head first, then unfrozen from the top", source
    return "possible", "pays most with few labelled rows or another domain", source


def _multi_task(facts: Facts) -> tuple[Standing, str, str]:
    """Related tasks help each other, small ones most. Source: Caruana 1997; Raffel et al. 2020, arXiv 1910.10683."""
    return "suited", f"{len(facts.tables)} tables at hand at once: one model, small tasks gain", "Caruana 1997"


def _sequential(facts: Facts) -> tuple[Standing, str, str]:
    """A large general task prepares for a small specific one. Source: Gururangan et al. 2020, arXiv 2004.10964."""
    sizes = sorted(facts.tables, key=lambda table: table.num_rows)
    smallest, largest = sizes[0], sizes[-1]
    if largest.num_rows >= MANY_TIMES * smallest.num_rows:
        reason = f"{largest.name} ({largest.num_rows:,} rows) can prepare for {smallest.name} ({smallest.num_rows:,})"
        return "suited", reason, "Gururangan et al. 2020"
    return (
        "possible",
        "all tables are at hand at once: multi_task forgets none of them",
        "docs/techniques/sequential.md",
    )


def _feature_based(facts: Facts) -> tuple[Standing, str, str]:
    if few_rows(facts):
        return "suited", f"{_per_label(facts)}, fewer than {FEW_ROWS_PER_LABEL}: nothing of the model trains", FEATURES
    return "possible", "the cheap baseline that tuning has to beat", "Peters et al. 2019"


FEATURES = "docs/techniques/feature_based.md"


def _adapters(facts: Facts) -> tuple[Standing, str, str]:
    """Each task has a small adapter of its own. Source: Houlsby et al. 2019, arXiv 1902.00751."""
    if len(facts.tables) > 1:
        return "suited", "a small adapter a table on one base; none disturbs another", "Houlsby et al. 2019"
    return "possible", "one task: an alternative to LoRA that cannot be merged", "Houlsby et al. 2019"


def _cross_lingual(facts: Facts) -> tuple[Standing, str, str]:
    """What is learned in one language holds in others that the model knows.

    Source: Conneau et al. 2020, "XLM-R", arXiv 1911.02116.
    """
    source = "Conneau et al. 2020"
    if facts.languages is None:
        if all(names_language(table.name) for table in facts.tables):
            return "suited", "the files are named as languages: learn in one, answer in all", source
        return "possible", "only if each file holds one task in another language", source
    most, count = max(facts.languages.items(), key=lambda item: item[1])
    share = count / sum(facts.languages.values())
    told = f"{len(facts.languages)} languages in {facts.language_column!r}"
    if share >= 0.5:
        return "suited", f"{told}, {share:.0%} of rows in {most}: learn there, answer in all", source
    return "possible", f"{told}, all with rows: training on all of them may do", source


def _distillation(facts: Facts) -> tuple[Standing, str, str]:
    """A student of half the layers kept 97 % of BERT at 60 % more speed. Source: Sanh et al. 2019, arXiv 1910.01108."""
    answers = "decoder or an encoder" if facts.first.is_labelled else "decoder"
    if facts.model.family not in answers.split():
        return "does not apply", f"teacher and student must be a {answers} here", "docs/techniques/distillation.md"
    slow = READING_FLOPS * facts.model.inner_parameters * facts.first.median_tokens / speed(facts)
    if slow > SLOW_SECONDS:
        return (
            "suited",
            f"about {slow:.0f} s a row here: later, a smaller student of the tuned model",
            "Sanh et al. 2019",
        )
    return "possible", "later, if the tuned model is too slow: it needs a teacher first", "Sanh et al. 2019"


RULES: Mapping[str, Rule] = {
    "instruction": _instruction,
    "parameter_efficient": _parameter_efficient,
    "task_specific": _task_specific,
    "transfer": _transfer,
    "multi_task": _multi_task,
    "sequential": _sequential,
    "feature_based": _feature_based,
    "adapters": _adapters,
    "cross_lingual": _cross_lingual,
    "distillation": _distillation,
}
"""What decides each technique, once nothing refuses it."""


def few_rows(facts: Facts) -> bool:
    """Return whether half of the labels have fewer rows than `FEW_ROWS_PER_LABEL`; never where there are none."""
    rows = facts.first.median_rows_per_label
    return rows is not None and rows < FEW_ROWS_PER_LABEL


def names_language(name: str) -> bool:
    """Return whether a table's name looks like a language's code: `en`, `pt_BR`, `zh-CN`."""
    code, _, region = name.replace("-", "_").partition("_")
    return (
        len(code) == 2 and code.isalpha() and code.islower() and (not region or (len(region) == 2 and region.isupper()))
    )


def _of_memory(facts: Facts, needed: float) -> str:
    return f"{_gigabytes(needed)} of {_gigabytes(facts.machine.memory_bytes)} GB"


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.2g}" if count < 10e9 else f"{count / 1e9:,.0f}"


def _whole(facts: Facts) -> str:
    fits = "fits" if fits_whole(facts) else "does not fit"
    return f"full tuning {fits}: about {_of_memory(facts, TRAINED_BYTES * facts.model.parameters)}"


def _per_label(facts: Facts) -> str:
    rows = facts.first.median_rows_per_label
    return "" if rows is None else f"{counted(rows, 'row')} a label"
