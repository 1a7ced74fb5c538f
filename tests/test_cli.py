"""Every command as a user gives it: what it shows, what it writes, how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tenfold import __version__
from tenfold.engine.log import Log
from tenfold.files import seal_json
from tenfold.recipe import load_recipe
from tenfold.techniques.distillation_options import DistillationOptions
from tenfold.techniques.technique import find_technique
from tests.command import Desk, fits

COMMANDS = ("techniques", "advise", "init", "check", "run", "show", "report", "predict", "evaluate", "chat", "cache")


@pytest.fixture
def done(desk: Desk) -> Desk:
    """A desk with a finished run in `out`."""
    assert desk.tenfold("run", desk.recipe()).code == 0
    return desk


def test_version_and_help_fit_the_terminal(desk: Desk) -> None:
    assert desk.tenfold("--version").out == f"tenfold {__version__}\n"
    for command in ((), *((name,) for name in COMMANDS)):
        told = desk.tenfold(*command, "--help")
        assert told.code == 0
        assert "Usage: " in told.out
        assert fits(told.out, desk.folder)


def test_a_wrong_command_or_option_ends_with_2_and_the_usage(desk: Desk) -> None:
    for arguments, found in {("rn",): "Did you mean 'run'?", ("run",): "Missing argument", ("run", "-x"): "-x"}.items():
        told = desk.tenfold(*arguments)
        assert (told.code, found in told.err) == (2, True)


def test_techniques_are_listed_with_every_tuner(desk: Desk) -> None:
    told = desk.tenfold("techniques")
    assert all(word in told.out for word in ("instruction", "parameter_efficient", "adalora", "p_tuning"))
    assert fits(told.out, desk.folder)


def test_init_writes_a_recipe_that_loads_and_names_the_format(desk: Desk) -> None:
    told = desk.tenfold("init", "instruction", "--data", "rows.jsonl", "--model", "tiny-llama", "--out", "new/a b.yaml")
    assert told.code == 0
    assert "prompt_completion" in told.out
    assert "tenfold check 'new/a b.yaml'" in told.out
    recipe = load_recipe(desk.folder / "new" / "a b.yaml")
    assert (recipe.data.train, recipe.model.name, recipe.technique.kind) == ("rows.jsonl", "tiny-llama", "instruction")


FORMATS: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "messages": lambda ask, say: {
        "messages": [{"role": "user", "content": ask}, {"role": "assistant", "content": say}]
    },
    "sharegpt": lambda ask, say: {"conversations": [{"from": "human", "value": ask}, {"from": "gpt", "value": say}]},
    "alpaca": lambda ask, say: {"instruction": "Make the call.", "input": ask, "output": say},
    "prompt_completion": lambda ask, say: {"prompt": ask, "completion": say},
    "text": lambda ask, say: {"text": f"{ask}: {say}"},
}


@pytest.mark.parametrize("technique", ["instruction", "parameter_efficient"])
@pytest.mark.parametrize(("name", "row"), FORMATS.items(), ids=FORMATS)
def test_a_starter_of_every_format_passes_its_check_and_fits_the_terminal(
    desk: Desk, name: str, row: Callable[[str, str], dict[str, Any]], technique: str
) -> None:
    desk.write("own.jsonl", "".join(json.dumps(row(f"lamp {n} red", f"set {n}")) + "\n" for n in range(40)))
    made = desk.tenfold("init", technique, "--data", "own.jsonl", "--model", "tiny-llama")
    assert (made.code, f"format: {name}\n" in made.out) == (0, True), made.text
    assert fits((desk.folder / "recipe.yaml").read_text(encoding="utf-8"), desk.folder)
    told = desk.tenfold("check", "recipe.yaml", "--no-trial")
    assert (told.code, "No problems found" in told.out) == (0, True), told.text
    assert fits(told.out, desk.folder)


OF_SEVERAL = {
    "multi_task": ["ask.jsonl", "tell.jsonl"],
    "sequential": ["ask.jsonl", "tell.jsonl"],
    "adapters": ["ask.jsonl", "tell.jsonl"],
    "cross_lingual": ["ask.jsonl", "tell.jsonl"],
    "cross_lingual by column": ["languages.jsonl"],
    "adapters of one": ["ask.jsonl"],
    "feature_based": ["languages.jsonl"],
    "task_specific": ["languages.jsonl"],
    "transfer": ["languages.jsonl"],
}


def _tables(desk: Desk) -> None:
    for name in ("ask", "tell"):
        rows = [{"prompt": f"{name} {n}", "completion": f"{name} {n % 3}"} for n in range(40)]
        desk.write(f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    spoken = [{"text": f"{n} lamp", "label": f"kind {n % 2}", "lang": ("en", "de")[n // 2 % 2]} for n in range(80)]
    desk.write("languages.jsonl", "".join(json.dumps(row) + "\n" for row in spoken))


@pytest.mark.parametrize("case", OF_SEVERAL)
def test_a_starter_of_every_technique_passes_its_check(desk: Desk, case: str) -> None:
    _tables(desk)
    technique = case.partition(" ")[0]
    given = [part for name in OF_SEVERAL[case] for part in ("--data", name)]
    made = desk.tenfold("init", technique, *given, "--model", "tiny-llama")
    assert made.code == 0, made.text
    assert fits((desk.folder / "recipe.yaml").read_text(encoding="utf-8"), desk.folder)
    told = desk.tenfold("check", "recipe.yaml", "--no-trial")
    assert (told.code, "No problems found" in told.out) == (0, True), told.text
    tasks = load_recipe(desk.folder / "recipe.yaml").tasks
    assert [task.train for task in tasks.values()] == OF_SEVERAL[case]


@pytest.mark.parametrize(
    ("technique", "given", "told"),
    [
        ("multi_task", ["ask.jsonl"], "name a file for each: --data ask.jsonl --data OTHER"),
        ("sequential", ["ask.jsonl"], "learns several tasks"),
        ("instruction", ["ask.jsonl", "tell.jsonl"], "use one of multi_task, sequential, adapters, cross_lingual"),
        ("cross_lingual", ["ask.jsonl"], "--columns language=COLUMN"),
        ("feature_based", ["ask.jsonl"], "answered in words"),
        ("feature_based", ["tags.jsonl"], "whose labels lie on tokens"),
        ("distillation", ["tags.jsonl"], "whose labels lie on tokens"),
        ("multi_task", ["ask.jsonl", "new/ask.jsonl"], "would both be the task 'ask'"),
    ],
)
def test_a_starter_that_could_not_run_is_not_written(desk: Desk, technique: str, given: list[str], told: str) -> None:
    _tables(desk)
    desk.write("tags.jsonl", json.dumps({"tokens": ["in", "Rome"], "tags": ["O", "B-place"]}) + "\n")
    desk.write("new/ask.jsonl", (desk.folder / "ask.jsonl").read_text(encoding="utf-8"))
    refused = desk.tenfold("init", technique, *(part for name in given for part in ("--data", name)))
    assert (refused.code, told in " ".join(refused.err.split())) == (2, True), refused.text
    assert not (desk.folder / "recipe.yaml").exists()


def test_the_column_of_languages_can_be_named(desk: Desk) -> None:
    spoken = [{"text": f"{n} lamp", "label": f"kind {n % 2}", "tongue": ("fr", "de")[n // 20]} for n in range(30)]
    desk.write("own.jsonl", "".join(json.dumps(row) + "\n" for row in spoken))
    assert desk.tenfold("init", "cross_lingual", "--data", "own.jsonl").code == 2
    made = desk.tenfold("init", "cross_lingual", "--data", "own.jsonl", "--columns", "language=tongue")
    assert made.code == 0, made.text
    options = load_recipe(desk.folder / "recipe.yaml").technique.options
    assert options == {"language_column": "tongue", "source": ["fr"]}, "the language with the most rows"


def test_a_starter_reads_few_rows_several_times_and_many_once(desk: Desk) -> None:
    for count, expected in {40: (3, 4), 1000: (1, 16)}.items():
        desk.write("own.txt", "\n\n".join(f"row {n}" for n in range(count)))
        assert desk.tenfold("init", "instruction", "--data", "own.txt", "--out", f"{count}.yaml").code == 0
        optim = load_recipe(desk.folder / f"{count}.yaml").optim
        assert (optim.epochs, optim.batch_size) == expected


def test_columns_are_mapped_from_the_command_line_by_init_predict_and_evaluate(desk: Desk) -> None:
    desk.write("own.csv", "question,answer\n" + "".join(f"lamp {n} red,set red\n" for n in range(30)))
    mapped = ("--columns", "prompt=question", "--columns", "completion=answer")
    refused = desk.tenfold("init", "instruction", "--data", "own.csv")
    assert (refused.code, "--columns prompt=question --columns completion=answer" in refused.err) == (2, True)
    made = desk.tenfold(
        "init", "instruction", "--data", "own.csv", "--model", "tiny-llama", "--out", "own.yaml", *mapped
    )
    assert made.code == 0
    recipe = load_recipe(desk.folder / "own.yaml")
    assert recipe.data.columns == {"prompt": "question", "completion": "answer"}
    assert recipe.output == "runs/instruction-own"
    assert desk.tenfold("run", desk.recipe()).code == 0
    answered = desk.tenfold("predict", "out", "--data", "own.csv", *mapped, "--max-new-tokens", "2")
    assert (answered.code, len(answered.out.splitlines())) == (0, 30)
    assert desk.tenfold("evaluate", "out", "--data", "own.csv", *mapped, "--max-rows", "4").code == 0
    wrong = desk.tenfold("predict", "out", "--data", "own.csv", "--columns", "question")
    assert (wrong.code, "OURS=YOURS" in wrong.err) == (2, True)


def test_check_shows_recipe_rows_tokens_and_cost_and_writes_nothing(desk: Desk) -> None:
    before = {*desk.files(), "recipe.yaml"}
    told = desk.tenfold("check", desk.recipe())
    assert told.code == 0
    for shown in ("learning_rate: 0.01", "prompt_completion", "<|im_start|>user", "rows.jsonl, line", "peak memory"):
        assert shown in told.out
    assert "No problems found" in told.out
    assert fits(told.out, desk.folder)
    assert set(desk.files()) == before


def test_run_tells_its_way_in_plain_lines_where_nobody_looks(desk: Desk) -> None:
    told = desk.tenfold("run", desk.recipe(optim={"max_updates": 40, "epochs": 10}))
    assert told.code == 0
    assert fits(told.out, desk.folder)
    assert [line for line in told.out.splitlines() if "before: begun" in line] == ["score before: begun"]
    steps = [line for line in told.out.splitlines() if "train instruction: " in line and "/40 loss" in line]
    assert [line.split(": ")[1].split("/")[0] for line in steps] == [str(update) for update in range(4, 41, 4)]
    assert all("tok/s" in line for line in steps)
    assert all("left" in line for line in steps[:-1])
    assert "exact match" in told.out
    assert "\x1b" not in told.out


def test_scoring_says_of_what(desk: Desk) -> None:
    told = desk.tenfold("run", desk.recipe(evaluation={"retention": True}))
    begun = [line for line in told.out.splitlines() if line.endswith(": begun")]
    expected = ["score before", "retention before", "train instruction", "score instruction", "retention instruction"]
    assert begun == [f"{name}: begun" for name in expected]


def test_too_few_test_rows_are_told_by_check_and_by_show(desk: Desk) -> None:
    desk.write("few.jsonl", "".join(f'{{"prompt": "lamp {n}", "completion": "set {n}"}}\n' for n in range(5)))
    note = "5 test rows can never show a clear change; 6 can (data.test_share, data.test)\n"
    assert note in desk.tenfold("check", desk.recipe(data={"test": "few.jsonl"})).out
    assert note in desk.tenfold("run", "recipe.yaml").out
    assert "can never show" not in desk.tenfold("run", desk.recipe("other.yaml", output="other")).out


def test_check_says_where_epochs_end_before_the_updates_that_are_asked_for(desk: Desk) -> None:
    told = " ".join(desk.tenfold("check", desk.recipe(optim={"max_updates": 5000, "epochs": 1})).out.split())
    assert "optim.max_updates: 5,000 is not reached within optim.epochs: 1" in told
    assert "is not reached" not in desk.tenfold("check", desk.recipe(optim={"max_updates": 1, "epochs": 1})).out


def test_check_shows_of_the_recipe_what_is_no_default_and_all_of_it_when_asked(desk: Desk) -> None:
    desk.recipe(technique={"kind": "parameter_efficient"}, optim={"warmup_share": 0.2})
    short = desk.tenfold("check", "recipe.yaml", "--no-trial").out.partition("Recipe, what is no default")[2]
    assert "technique: parameter_efficient" in short and "warmup_share: 0.2" in short
    assert "null" not in short and "weight_decay" not in short
    whole = desk.tenfold("check", "recipe.yaml", "--no-trial", "--full").out
    assert "weight_decay: 0.0" in whole and "revision: null" in whole


def test_the_package_runs_as_a_module() -> None:
    root = str(Path(__file__).parent.parent)
    command = [sys.executable, "-m", "tenfold", "--version"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"tenfold {__version__}\n")


def test_init_says_how_to_name_columns_with_its_own_flag(desk: Desk) -> None:
    desk.write("own.csv", "Ticket Text,Queue,Priority\nmy lamp,red,high\n")
    told = desk.tenfold("init", "task_specific", "--data", "own.csv")
    assert (told.code, "--columns text='Ticket Text' --columns label=Priority for labels" in told.err) == (2, True)
    desk.write("asked.csv", "question,answer\n" + "a,b\n" * 9)
    wrong = desk.tenfold("init", "feature_based", "--data", "asked.csv", "--columns", "text=question").err
    assert "--columns text=question --columns label=answer" in wrong, "with the columns that are there"
    desk.write("clips.csv", "audio,txt\na.wav,my lamp\n")
    clips = desk.tenfold("init", "parameter_efficient", "--data", "clips.csv").err
    assert "--columns text=txt; in a recipe, data.columns: {text: txt}" in clips, "`audio` is right already"
    desk.write("one.csv", "Notes\nmy lamp\n")
    assert "--columns OURS=YOURS" in desk.tenfold("init", "task_specific", "--data", "one.csv").err


def test_what_is_in_the_loss_is_marked_in_one_piece_where_there_is_no_colour(desk: Desk) -> None:
    told = desk.tenfold("check", desk.recipe(), "--no-trial")
    assert re.search(r"^⟦set (red|green|blue|grey|pink|brown|black|white)<\|im_end\|>⟧$", told.out, re.MULTILINE)
    assert desk.tenfold("run", "recipe.yaml").code == 0
    preview = (desk.folder / "out" / "preview.txt").read_text(encoding="utf-8")
    assert len(re.findall("⟦set [a-z]+<", preview)) == 3


def test_validation_while_training_names_its_metric(desk: Desk) -> None:
    sections: dict[str, dict[str, Any]] = {"evaluation": {"every": 3}, "data": {"validation_share": 0.2}}
    told = desk.tenfold("run", desk.recipe(**sections))
    assert "update 3: validation exact match 0." in told.out
    desk.write("text.txt", "\n\n".join(f"lamp {number} is red" for number in range(40)))
    sections["data"]["train"] = "text.txt"
    told = desk.tenfold("run", desk.recipe(**sections, optim={"epochs": 4.0}, output="of-text"))
    losses = [line.split()[5] for line in told.out.splitlines() if "validation response loss" in line]
    assert len(losses) == 2
    assert float(losses[1]) < float(losses[0])


def test_a_second_run_says_that_nothing_changed(done: Desk) -> None:
    before = done.files()
    told = done.tenfold("run", "recipe.yaml")
    assert (told.code, told.out.splitlines()[0][:19]) == (0, "Nothing has changed")
    assert done.files() == before


def test_overrides_change_the_run(desk: Desk) -> None:
    told = desk.tenfold(
        "run", desk.recipe(), "--set", "optim.max_updates=2", "--set", "output=other", "--set", "tuner=ia3"
    )
    assert told.code == 0
    recipe = load_recipe(desk.folder / "other" / "recipe.yaml")
    assert (recipe.optim.max_updates, recipe.tuner.kind) == (2, "ia3")


def test_show_repeats_the_scores_and_the_next_commands(done: Desk) -> None:
    told = done.tenfold("show", "out")
    assert told.code == 0
    for shown in ("before", "after", "exact match", "What the technique promises", "Cost", "tenfold chat out"):
        assert shown in told.out
    assert fits(told.out, done.folder)


def test_the_title_of_a_run_cuts_a_long_model_path_and_nothing_else(done: Desk) -> None:
    facts = json.loads((done.folder / "out" / "artifact.json").read_text())
    del facts["sealed"]
    seal_json(done.folder / "out" / "artifact.json", {**facts, "base": "/models/" + "deep/" * 20 + "tiny-llama"})
    title = done.tenfold("show", "out").out.splitlines()[0]
    assert "deep/tiny-llama · instruction · lora" in title and "…" in title and len(title) == 80


def test_report_compares_runs_on_the_same_rows_and_refuses_others(desk: Desk) -> None:
    desk.write("test.jsonl", "".join(f'{{"prompt": "lamp {n} red", "completion": "set red"}}\n' for n in range(70, 80)))
    fixed: dict[str, dict[str, Any]] = {"data": {"test": "test.jsonl"}, "evaluation": {"max_rows": 10}}
    for name, tuner, seed in (("lora-0", "lora", 0), ("lora-1", "lora", 1), ("ia3-0", "ia3", 0)):
        recipe = desk.recipe(output=name, tuner={"kind": tuner}, **fixed, gate={"allow": ["overlap"]})
        assert desk.tenfold("run", recipe, "--set", f"runtime.seed={seed}").code == 0
    told = desk.tenfold("report", "lora-0", "lora-1", "ia3-0", "--out", "pages/it.html")
    assert told.code == 0, told.text
    assert "on these 10 test rows" in told.out or "is best" in told.out or "leads" in told.out
    assert told.out.endswith("Report: pages/it.html\n")
    assert fits(told.out, desk.folder)
    page = (desk.folder / "pages" / "it.html").read_text(encoding="utf-8")
    assert all(part in page for part in ("2 ways to fine-tune tiny-llama", "instruction · lora", "2 seeds", "set red"))
    assert desk.tenfold("run", desk.recipe(output="other")).code == 0
    refused = desk.tenfold("report", "lora-0", "other")
    assert (refused.code, "other: scored on 6 rows, not 10" in refused.err) == (2, True), refused.text
    assert not (desk.folder / "report.html").exists()


def test_report_names_a_folder_that_is_no_run_and_a_place_that_cannot_be_written(done: Desk) -> None:
    told = done.tenfold("report", "out", "nowhere")
    assert (told.code, "nowhere: no such folder" in told.err) == (2, True)
    told = done.tenfold("report", "out", "--out", "out")
    assert (told.code, "out: exists already, and is not known as a page" in told.err) == (2, True), told.text


def test_answers_that_were_cut_are_marked_and_the_limit_is_named(desk: Desk) -> None:
    assert desk.tenfold("run", desk.recipe(evaluation={"max_new_tokens": 2})).code == 0
    told = desk.tenfold("show", "out")
    assert re.search(r" …\s+│", told.out)
    assert "… cut at the longest answer allowed: max_new_tokens" in told.out
    assert fits(told.out, desk.folder)


def test_predict_answers_prompts_and_rows_as_json_lines(done: Desk) -> None:
    told = done.tenfold("predict", "out", "--prompt", "lamp 1 red", "--prompt", "a", "--max-new-tokens", "3")
    assert [json.loads(line)["prompt"] for line in told.out.splitlines()] == ["lamp 1 red", "a"]
    done.write("ask.jsonl", '{"prompt": "one"}\n{"prompt": "two", "completion": "zwei"}\n')
    told = done.tenfold("predict", "out", "--data", "ask.jsonl", "--out", "answers.jsonl", "--max-new-tokens", "3")
    assert told.out == "wrote 2 answers to answers.jsonl\n"
    lines = [json.loads(line) for line in (done.folder / "answers.jsonl").read_text().split("\n") if line]
    assert [(line["prompt"], line.get("reference")) for line in lines] == [("one", None), ("two", "zwei")]


def test_evaluate_scores_rows_and_raw_text(done: Desk) -> None:
    told = done.tenfold("evaluate", "out", "--data", "rows.jsonl", "--max-rows", "3")
    assert told.code == 0
    assert "exact match" in told.out
    told = done.tenfold("evaluate", "out", "--data", done.write("text.txt", "some words\n\nmore words\n"))
    assert (told.code, "response loss" in told.out, fits(told.out, done.folder)) == (0, True, True)


def test_evaluate_scores_no_rows_with_labels_as_words_unless_told_to(done: Desk) -> None:
    labels = done.write("labels.jsonl", '{"text": "my lamp", "label": "red"}\n' * 3)
    told = done.tenfold("evaluate", "out", "--data", labels)
    assert (told.code, told.out) == (2, "")
    assert "columns text, label: rows of format classification" in told.err
    assert "prompt_completion (prompt + completion)" in told.err and "--columns text=text" in told.err
    asked = done.tenfold("evaluate", "out", "--data", labels, "--columns", "text=text")
    assert (asked.code, "response loss" in asked.out) == (0, True)


def test_evaluate_says_of_rows_that_the_run_has_trained_on(done: Desk) -> None:
    trained = json.loads((done.folder / "out" / "provenance.json").read_text())["data"]["main"]["train"]["rows"]
    told = f"{trained} of 64 rows have a prompt that is also among the run's training rows"
    shown = done.tenfold("evaluate", "out", "--data", "rows.jsonl").out
    assert told in " ".join(shown.split()) and fits(shown, done.folder)
    rows = [json.loads(line) for line in (done.folder / "rows.jsonl").read_text().splitlines()]
    copied = "".join(json.dumps({"prompt": f" {row['prompt'].upper()}!", "completion": "no"}) + "\n" for row in rows)
    copies = done.tenfold("evaluate", "out", "--data", done.write("copied.jsonl", copied)).out
    assert told in " ".join(copies.split())
    held = [json.loads(line)["prompt"] for line in (done.folder / "out" / "generations.jsonl").read_text().splitlines()]
    new = "".join(json.dumps({"prompt": prompt, "completion": "no"}) + "\n" for prompt in held)
    assert "training rows" not in done.tenfold("evaluate", "out", "--data", done.write("new.jsonl", new)).text
    (done.folder / "out" / "training_rows.npz").unlink()  # as runs of before have none
    assert "training rows" not in done.tenfold("evaluate", "out", "--data", "rows.jsonl", "--max-rows", "3").text


def test_chat_answers_until_the_input_ends(done: Desk) -> None:
    assert done.tenfold("chat", "out").code == 0
    told = done.tenfold(
        "chat", "out", "--max-new-tokens", "3", "--system", "Be brief.", stdin="lamp 1 red\nand 2?\n\nno\n"
    )
    assert told.code == 0
    assert told.out.count("> ") == 3


def test_chat_reads_what_is_not_utf_8(done: Desk) -> None:
    told = done.tenfold("chat", "out", "--max-new-tokens", "2", stdin="caf\udce9\n\n")
    assert told.code == 0


def test_cache_is_shown_and_cleared_and_can_be_made_again(done: Desk, cache: Path) -> None:
    told = done.tenfold("cache")
    assert all(part in told.out for part in ("data", "stages", "scores", "MB"))
    assert done.tenfold("cache", "--clear").code == 0
    assert not cache.exists()
    assert done.tenfold("run", "recipe.yaml", "--set", "output=again").code == 0


def test_a_folder_that_holds_more_than_the_cache_is_not_cleared(desk: Desk, cache: Path) -> None:
    cache.mkdir()
    (cache / "thesis.txt").write_text("years of work")
    assert desk.tenfold("check", desk.recipe()).code == 0
    told = desk.tenfold("cache", "--clear")
    assert told.code == 2 and "holds more than the cache: thesis.txt" in told.err
    assert (cache / "thesis.txt").read_text() == "years of work"


def test_an_unforeseen_error_is_one_message_with_a_report(desk: Desk, cache: Path) -> None:
    def broken(**_: object) -> None:
        raise ZeroDivisionError("a fault of ours\nwith more lines")

    desk.monkeypatch.setattr("tenfold.terminal.catalogue.show_cache", broken)
    told = desk.tenfold("cache")
    assert told.code == 1
    assert told.err.startswith("tenfold: this is a bug in Tenfold: ZeroDivisionError: a fault of ours\n")
    (report,) = (cache / "crashes").iterdir()
    assert str(report) in told.err
    assert "Traceback" in report.read_text()
    desk.monkeypatch.setenv("TENFOLD_CACHE", "/proc/nowhere")
    assert "TENFOLD_DEBUG" in desk.tenfold("cache").err
    desk.monkeypatch.setenv("TENFOLD_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        desk.tenfold("cache")


def interrupt_at(desk: Desk, event: str, number: int = 0, *, times: int = 1) -> None:
    """Send this process Ctrl-C once the run logs the event (an update's number `number`)."""
    write = Log.write

    def write_and_interrupt(self: Log, kind: str, **values: Any) -> None:
        write(self, kind, **values)
        if kind == event and values.get("update", 0) == number:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)

    desk.monkeypatch.setattr(Log, "write", write_and_interrupt)


def test_ctrl_c_finishes_the_update_and_the_next_run_goes_on(desk: Desk) -> None:
    with desk.monkeypatch.context() as patch:
        desk.monkeypatch, kept = patch, desk.monkeypatch
        interrupt_at(desk, "update", 3)
        told = desk.tenfold("run", desk.recipe())
        desk.monkeypatch = kept
    assert told.code == 130
    assert "stopping after this update" in told.out
    assert "stopped after update 3: as asked; a checkpoint was written\n  do: run the same command again" in told.err
    assert (desk.folder / "out" / "checkpoints" / "instruction" / "update-00000003").is_dir()
    told = desk.tenfold("run", "recipe.yaml")
    assert (told.code, "going on after update 3 of 6" in told.out) == (0, True)


@pytest.mark.parametrize(("event", "number", "times"), [("scoring", 0, 1), ("update", 3, 2)], ids=["scoring", "twice"])
def test_stopped_at_once_nothing_that_was_finished_is_lost(desk: Desk, event: str, number: int, times: int) -> None:
    with desk.monkeypatch.context() as patch:
        desk.monkeypatch, kept = patch, desk.monkeypatch
        interrupt_at(desk, event, number, times=times)
        told = desk.tenfold("run", desk.recipe())
        desk.monkeypatch = kept
    assert told.code == 130
    assert "stopped: at once, as asked" in told.err
    told = desk.tenfold("run", "recipe.yaml")
    assert told.code == 0
    assert ("going on after update 2 of 6" in told.out) == (event == "update")


@pytest.mark.parametrize("place", ["recipe.load_recipe", "terminal.run_view.announce_model", "running.open_recipe"])
def test_stopped_while_it_loads_a_run_says_so_and_how_to_go_on(desk: Desk, place: str) -> None:
    recipe = desk.recipe()
    with desk.monkeypatch.context() as patch:
        patch.setattr(f"tenfold.{place}", lambda *_, **__: signal.raise_signal(signal.SIGINT))
        told = desk.tenfold("run", recipe)
    assert told.code == 130
    assert told.err.count("stopped: at once, as asked") == 1 and "again" in told.err
    assert desk.tenfold("run", recipe).code == 0


def test_sigterm_ends_a_real_process_with_a_checkpoint(desk: Desk, cache: Path) -> None:
    recipe = desk.recipe(optim={"max_updates": 100_000, "epochs": 1000.0, "batch_size": 1})
    command = [sys.executable, "-m", "tenfold.cli", "run", recipe]
    root = str(Path(__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, cwd=desk.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    log = Log(desk.folder / "out" / "log.jsonl")
    deadline = time.monotonic() + 60
    while not any(event["event"] == "update" for event in log.events()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "run the same command again to go on from here" in err
    last = max(int(str(event["update"])) for event in log.events() if event["event"] == "update")
    assert (desk.folder / "out" / "checkpoints" / "instruction" / f"update-{last:08d}").is_dir()


def test_the_starter_of_distillation_for_labels_asks_for_a_run_that_has_learned_them(desk: Desk) -> None:
    rows = [{"text": f"lamp {number}", "label": "ab"[number % 2]} for number in range(30)]
    Path("labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    made = desk.tenfold("init", "distillation", "--data", "labels.jsonl", "--model", "tiny-llama", "--out", "own.yaml")
    assert made.code == 0, made.text
    options = find_technique("distillation").require_fit(load_recipe("own.yaml"))
    assert isinstance(options, DistillationOptions) and options.student is not None
    assert options.student.of == "teacher"
    refused = desk.tenfold("check", "own.yaml")
    assert refused.code != 0 and "runs/NAME" in refused.text


def test_the_starter_of_distillation_names_its_teacher_and_a_student_that_fits_the_options(desk: Desk) -> None:
    made = desk.tenfold("init", "distillation", "--data", "rows.jsonl", "--model", "tiny-llama", "--out", "own.yaml")
    assert made.code == 0, made.text
    recipe = load_recipe(desk.folder / "own.yaml")
    options = find_technique("distillation").require_fit(recipe)
    assert isinstance(options, DistillationOptions)
    assert options.student is not None and options.student.layers == 15
    assert max(map(len, (desk.folder / "own.yaml").read_text().splitlines())) <= 80


def test_the_starter_of_distillation_says_what_goes_when_answers_are_learned(desk: Desk) -> None:
    made = desk.tenfold("init", "distillation", "--data", "rows.jsonl", "--model", "tiny-llama", "--out", "own.yaml")
    assert made.code == 0, made.text
    path = desk.folder / "own.yaml"
    lines = path.read_text().splitlines()
    place = next(number for number, line in enumerate(lines) if "# level: sequence" in line)
    assert "alpha" in lines[place] + lines[place + 1], "what is refused beside it is named"
    followed = [line.replace("# level: sequence  #", "level: sequence  #") for line in lines if "  alpha:" not in line]
    path.write_text("\n".join(followed))
    options = find_technique("distillation").require_fit(load_recipe(path))
    assert isinstance(options, DistillationOptions) and options.level == "sequence"
