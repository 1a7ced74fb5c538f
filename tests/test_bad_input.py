"""What a user can get wrong, given as a command: one short message, the right exit code, and nothing lost."""

from __future__ import annotations

import errno
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tenfold.data.batch import Batch
from tenfold.engine import checkpoint as checkpoint_module
from tenfold.models.language_model import LanguageModel
from tenfold.objectives.causal_lm import CausalLanguageModelling
from tenfold.objectives.objective import Loss
from tests.command import Desk, Done
from tests.test_cli import interrupt_at

LONGEST_MESSAGE = 16
"""Lines; eight problems at once stay below it."""


def rows(*extra: object, count: int = 20) -> str:
    good = [{"prompt": f"lamp {number}", "completion": f"set {number}"} for number in range(count)]
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in (*good, *extra))


def chat(*roles: str) -> dict[str, object]:
    return {"messages": [{"role": role, "content": f"{role} {number}"} for number, role in enumerate(roles)]}


def refused(desk: Desk, *arguments: str) -> Done:
    """Give the command and check what holds for every user's error."""
    before = desk.files()
    done = desk.tenfold(*arguments)
    assert done.code == 2, done.text
    assert 0 < len(done.err.splitlines()) <= LONGEST_MESSAGE
    assert done.err.startswith("tenfold: ")
    assert "this is a bug" not in done.err
    after = desk.files()
    assert {name: after.get(name) for name in before} == before
    return done


DATA: dict[str, tuple[str, str | bytes | None, list[str]]] = {
    "missing": ("nope.jsonl", None, ["nope.jsonl: no such file", "check the path"]),
    "empty": ("a.jsonl", "", ["a.jsonl: holds no rows"]),
    "blank": ("a.txt", " \n\n", ["a.txt: holds no rows"]),
    "not UTF-8": ("a.jsonl", b'{"prompt": "caf\xe9", "completion": "x"}\n', ["a.jsonl, line 1: not UTF-8 (byte 0xe9)"]),
    "malformed JSON": (
        "a.jsonl",
        rows('{"prompt": "a",'),
        ["a.jsonl, line 21: malformed JSON: ", " at column ", "mend the line"],
    ),
    "repeated key": (
        "a.jsonl",
        rows('{"prompt": "a", "completion": "x", "completion": "y"}'),
        ["a.jsonl, line 21: 'completion' stands more than once in an object", "mend the line"],
    ),
    "malformed document": ("a.json", '[{"prompt": "a"},\n{"prompt":}]', ["a.json, line 2: malformed JSON"]),
    "no object": ("a.jsonl", "[1, 2]\n", ["a.jsonl, line 1: a list, not a row"]),
    "ragged CSV": ("a.csv", "prompt,completion\na,b\nc\n", ["a.csv, line 3: 1 cells where the header has 2"]),
    "no Parquet": ("a.parquet", b"no parquet", ["a.parquet: not a readable Parquet file"]),
    "no gzip": ("a.jsonl.gz", b"no gzip", ["a.jsonl.gz: a damaged gzip file"]),
    "CSV by semicolons": ("a.csv", "prompt;completion\na;b\n", ["columns stand apart by ';': save it with commas"]),
    "unknown kind": ("a.xlsx", "x", ["unknown kind of file '.xlsx'", ".jsonl, .ndjson, .json, .csv"]),
    "wrong columns": (
        "a.jsonl",
        '{"question": "a", "answer": "b"}\n',
        ["columns question, answer", "data.columns: {p"],
    ),
    "empty folder": ("folder", None, ["folder: no file that can be read"]),
    "several kinds": ("mixed", None, ["mixed: files of several kinds: .csv, .jsonl"]),
    "roles out of order": (
        "a.jsonl",
        json.dumps(chat("user", "user", "assistant")),
        ["line 1: turn 2: user comes after"],
    ),
    "unknown role": ("a.jsonl", json.dumps(chat("usr", "assistant")), ["line 1: turn 1: unknown role 'usr'"]),
    "unanswered": ("a.jsonl", json.dumps(chat("user")), ["line 1: the last turn is user, not assistant"]),
    "empty response": (
        "a.jsonl",
        rows({"prompt": "a", "completion": ""}),
        ["a.jsonl, line 21: the response is empty", "mend or remove"],
    ),
    "number as response": (
        "a.jsonl",
        rows({"prompt": "a", "completion": 3}),
        ["line 21: column 'completion' is a number"],
    ),
    "one row": ("a.jsonl", rows(count=1), ["1 rows in 1 groups cannot be split", "data.test"]),
    "cut responses": (
        "a.jsonl",
        rows({"prompt": "word " * 600, "completion": "x"}),
        ["gate rule truncation (", "a.jsonl, line 21", "raise data.max_length"],
    ),
    "unknown sample": ("sample:housheold", None, ["none named 'housheold'", "did you mean 'household'?"]),
}


@pytest.mark.parametrize(("name", "content", "told"), DATA.values(), ids=DATA)
def test_data(desk: Desk, name: str, content: str | bytes | None, told: list[str]) -> None:
    desk.write("mixed/a.csv", "prompt,completion\na,b\n")
    desk.write("mixed/b.jsonl", rows())
    (desk.folder / "folder").mkdir()
    if content is not None:
        desk.write(name, content)
    done = refused(desk, "run", desk.recipe(data={"train": name, "max_length": 500}))
    assert all(part in done.err for part in told), done.err
    assert not (desk.folder / "out").exists()


def test_unreadable_data(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    def refuse(self: Path, *arguments: Any, **options: Any) -> Any:
        if self.name == "rows.jsonl":
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return opened(self, *arguments, **options)

    recipe = desk.recipe()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        done = desk.tenfold("run", recipe)
    assert (done.code, "rows.jsonl: cannot be read: Permission denied" in done.err) == (2, True)


def test_all_problems_of_model_and_data_are_told_together(desk: Desk) -> None:
    done = refused(
        desk, "run", desk.recipe(model={"name": "a.gguf"}, data={"train": "b.jsonl"}, log={"trackers": ["wandb"]})
    )
    assert all(
        part in done.err for part in ("3 problems", "no file a.gguf", "b.jsonl: no such", "'wandb' is not installed")
    )


def test_a_row_longer_than_the_models_context(desk: Desk) -> None:
    desk.write("long.jsonl", rows({"prompt": "word " * 600, "completion": "x"}))
    done = refused(desk, "run", desk.recipe(data={"train": "long.jsonl", "max_length": 9999}))
    assert "long.jsonl, line 21: " in done.err
    assert "more than the model can read (1 such rows)\n  allowed: at most 512\n" in done.err


def test_a_chat_template_that_renders_nothing(desk: Desk) -> None:
    for template, told in {
        "{% for %}": "not valid Jinja",
        "{{ a.b.c }}": "the chat template refuses the turns",
    }.items():
        recipe = desk.recipe(data={"chat_template": template}, gate={"allow": ["template"]})
        assert told in refused(desk, "run", recipe).err


RECIPES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "unknown key": (
        {"optim": {"learning_rat": 1}},
        ["optim.learning_rat: unknown key", "did you mean 'learning_rate'?"],
    ),
    "unknown section": ({"optimiser": {}}, ["optimiser: unknown key", "did you mean 'optim'?"]),
    "unknown technique": (
        {"technique": "instrction"},
        ["unknown technique 'instrction'", "did you mean 'instruction'?"],
    ),
    "broken technique": ({"technique": "nowhere:T"}, ["technique.kind: cannot import nowhere:T: ModuleNotFoundError"]),
    "no technique": ({"technique": ":"}, ["technique.kind: cannot import :"]),
    "unknown tuner": ({"tuner": {"kind": "lorra"}}, ["unknown tuner 'lorra'", "did you mean 'lora'?"]),
    "unknown tuner key": ({"tuner": {"kind": "lora", "rnk": 3}}, ["tuner.rnk: unknown key", "did you mean 'rank'?"]),
    "rate out of range": (
        {"optim": {"learning_rate": 100}},
        ["optim.learning_rate: found 100", "less than or equal to 10"],
    ),
    "rate not a number": ({"optim": {"learning_rate": "fast"}}, ["learning_rate: found 'fast'", "a valid number"]),
    "not finite": ({"optim": {"epochs": float("nan")}}, ["optim.epochs: found nan", "a finite number"]),
    "unknown metric": ({"evaluation": {"metrics": ["chrff"]}}, ["evaluation.metrics.0: found 'chrff'", "'chrf'?"]),
    "text for a section": ({"optim": "fast"}, ["optim: found 'fast'", "a section"]),
    "patience": ({"evaluation": {"patience": 2}}, ["evaluation.patience", "set evaluation.every"]),
    "unread rows": ({"data": {"validation": "rows.jsonl"}}, ["data.validation", "set evaluation.every"]),
    "no validation rows": (
        {"evaluation": {"every": 2}, "data": {"validation_share": 0.0}},
        ["evaluation.every: there are no validation rows", "set data.validation"],
    ),
    "nothing to train on": (
        {"evaluation": {"every": 2}, "data": {"test_share": 0.6, "validation_share": 0.5}},
        ["take 110% of the rows"],
    ),
    "no such column": ({"data": {"group_by": "template"}}, ["no column 'template' to group by", "prompt, completion"]),
    "no such device": ({"runtime": {"device": "mps"}}, ["runtime.device: mps is not available here"]),
    "targets": (
        {"tuner": {"kind": "lora", "targets": ["q_prj"]}},
        ["'q_prj' matches no module", "did you mean 'q_proj'?"],
    ),
    "modules": ({"tuner": {"kind": "partial", "modules": ["layers.9"]}}, ["'layers.9' matches no parameter"]),
    "feedforward": ({"tuner": {"kind": "ia3", "feedforward": ["down_proj"]}}, ["not in targets"]),
    "unknown method": ({"tuner": {"kind": "peft", "method": "LORAX"}}, ["PEFT has no method 'LORAX'", "'LORA'?"]),
    "refused by PEFT": ({"tuner": {"kind": "oft", "block_size": 7}}, ["PEFT does not accept this"]),
    "unmergeable": (
        {"tuner": {"kind": "prompt"}, "technique": {"kind": "parameter_efficient", "merge": True}},
        ["technique.merge: prompt is no change of weights"],
    ),
    "no adapter there": (
        {"tuner": {"kind": "bottleneck", "below": ["runs/nowhere"]}},
        ["runs/nowhere: no adapters.json", "check the path"],
    ),
    "adapters of no run": (
        {"tuner": {"kind": "adapter_fusion", "adapters": {"law": None, "medicine": None}}},
        ["there is no adapter 'law'", "there is no adapter 'medicine'"],
    ),
    "no such block": ({"tuner": {"kind": "bottleneck", "drop_layers": [99]}}, ["there is no block 99", "of 0 to 1"]),
    "unmergeable adapter": (
        {"tuner": "bottleneck", "technique": {"kind": "parameter_efficient", "merge": True}},
        ["technique.merge: bottleneck is no change of weights"],
    ),
    "full beside parameter_efficient": (
        {"tuner": "full", "technique": "parameter_efficient"},
        ["tuner.kind: full trains the base model's own weights"],
    ),
    "output is a file": ({"output": "rows.jsonl"}, ["rows.jsonl is a file"]),
    "output inside a file": ({"output": "rows.jsonl/a/b"}, ["rows.jsonl is a file", "choose another place"]),
    "output has other files": ({"output": "tiny-llama"}, ["holds files that are not a run's", "set another `output`"]),
}


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize(("sections", "told"), RECIPES.values(), ids=RECIPES)
def test_recipe(desk: Desk, command: str, sections: dict[str, Any], told: list[str]) -> None:
    done = refused(desk, command, desk.recipe(**sections))
    assert all(part in done.err for part in told), done.err
    assert done.out == ""  # told before anything is scored, trained or shown
    assert not (desk.folder / "out").exists() or sections.get("runtime")


def test_several_problems_of_a_recipe_are_told_together(desk: Desk) -> None:
    recipe = desk.recipe(
        optim={"learning_rate": -1, "batch_size": 0}, tuner={"kind": "lora", "rank": 0}, data={"tran": "a"}
    )
    assert refused(desk, "run", recipe).err.startswith("tenfold: 4 problems\n")


def test_recipe_files(desk: Desk) -> None:
    desk.write("binary.yaml", b"\x00\x01")
    desk.write("broken.yaml", "model:\n  name: [a\noptim: 3\n")
    told = {
        "nowhere.yaml": "no such file\n  do: write one with `tenfold init",
        "tiny-llama": "a folder",
        "binary.yaml": "not valid YAML",
        "broken.yaml": "broken.yaml, line 3: not valid YAML",
    }
    for name, found in told.items():
        assert found in refused(desk, "run", name).err


@pytest.mark.parametrize(
    ("damage", "told"),
    {
        "configuration": (lambda folder: (folder / "config.json").write_text("{"), "config.json: cannot be used"),
        "impossible value": (
            lambda folder: change_json(folder / "config.json", hidden_size="big"),
            "config.json: cannot be used",
        ),
        "architecture": (
            lambda folder: change_json(folder / "config.json", model_type="vit"),
            "no model that can be tuned here",
        ),
        "more layers": (lambda folder: change_json(folder / "config.json", num_hidden_layers=3), "has no weights for"),
        "other shape": (
            lambda folder: change_json(folder / "config.json", vocab_size=9),
            "weights of another shape for",
        ),
        "weights": (
            lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 99),
            "mine/model.safetensors: no safetensors file: it has no header of one\n  do: get the model again",
        ),
        "empty weights": (
            lambda folder: (folder / "model.safetensors").write_bytes(b""),
            "mine/model.safetensors: cut short: 0 bytes are there",
        ),
        "cut weights": (
            lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9]),
            "and its header tells of",
        ),
        "cut in the header": (
            lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:99]),
            "mine/model.safetensors: cut short: 99 bytes are there, and its header alone has",
        ),
        "longer weights": (
            lambda folder: (folder / "model.safetensors").write_bytes(
                (folder / "model.safetensors").read_bytes() + b"more"
            ),
            "mine/model.safetensors: no safetensors file: 4 bytes more than its header tells of",
        ),
        "pointer": (
            lambda folder: (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n"),
            "do: fetch the file itself: git lfs pull",
        ),
        "pickle by another name": (
            lambda folder: (folder / "model.safetensors").write_bytes(pickle.dumps({"a": 1})),
            "model.safetensors: no safetensors file: by its first bytes a pickle\n  do: get the model with safetensors",
        ),
        "tokenizer": (lambda folder: (folder / "tokenizer.json").write_text("{"), "no usable tokenizer"),
        "template": (
            lambda folder: (folder / "chat_template.jinja").write_text("{% for %}"),
            "not valid Jinja: line 1",
        ),
        "remote code": (
            lambda folder: change_json(folder / "config.json", model_type="own", auto_map={"AutoConfig": "a.B"}),
            "if you trust its code, set model.trust_remote_code: true",
        ),
        "pickle": (
            lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
            "only pickled weights (pytorch_model.bin)",
        ),
    }.items(),
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_damaged_model(desk: Desk, damage: str, told: tuple[Callable[[Path], object], str]) -> None:
    change, found = told
    shutil.copytree(desk.folder / "tiny-llama", desk.folder / "mine")
    change(desk.folder / "mine")
    assert found in refused(desk, "run", desk.recipe(model={"name": "mine"})).err


def change_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_remote_code_is_announced_where_the_recipe_allows_it(desk: Desk) -> None:
    done = desk.tenfold("run", desk.recipe(model={"trust_remote_code": True}))
    assert (done.code, done.err) == (0, "running Python code that comes with tiny-llama\n")


def test_an_output_that_belongs_to_a_different_recipe_or_model(desk: Desk) -> None:
    assert desk.tenfold("run", desk.recipe()).code == 0
    done = refused(desk, "run", desk.recipe("other.yaml", optim={"max_updates": 5}))
    assert "out belongs to a different recipe: optim.max_updates: 6 there, 5 here" in done.err
    assert "--set output=runs/ANOTHER-NAME" in done.err
    assert "belongs to a different recipe" in refused(desk, "check", "other.yaml").err


def test_an_output_whose_files_have_changed_names_them(desk: Desk) -> None:
    desk.write("held.jsonl", json.dumps({"prompt": "lamp 99 red", "completion": "set red"}))
    assert desk.tenfold("run", desk.recipe(data={"test": "held.jsonl"})).code == 0
    kept = (desk.folder / "rows.jsonl").read_text(encoding="utf-8")
    desk.write("rows.jsonl", kept + json.dumps({"prompt": "lamp 77 red", "completion": "set red"}))
    done = refused(desk, "run", "recipe.yaml")
    assert "the same settings, but these have changed since: train rows (rows.jsonl)\n" in done.err
    desk.write("held.jsonl", json.dumps({"prompt": "lamp 98 red", "completion": "set red"}))
    assert "since: train rows (rows.jsonl), test rows (held.jsonl)\n" in refused(desk, "run", "recipe.yaml").err
    desk.write("rows.jsonl", kept)
    assert "since: test rows (held.jsonl)\n" in refused(desk, "check", "recipe.yaml").err
    note = json.loads((desk.folder / "out" / "run.json").read_text())
    desk.write("held.jsonl", json.dumps({"prompt": "lamp 99 red", "completion": "set red"}))
    (desk.folder / "out" / "run.json").write_text(json.dumps({**note, "fingerprint": "of another version"}))
    assert "read by another version of Tenfold" in refused(desk, "run", "recipe.yaml").err


def test_damaged_artifacts(desk: Desk) -> None:
    assert desk.tenfold("run", desk.recipe()).code == 0
    kept = {path: path.read_bytes() for path in (desk.folder / "out").rglob("*") if path.is_file()}
    shown = ("artifact.json", "scorecard.json", "cost.json", "claims.json", "generations.jsonl", "recipe.yaml")
    for name in shown:
        for content in (b"{nope", b"\xff\xfe", b"[3]", None):
            path = desk.folder / "out" / name
            path.unlink() if content is None else path.write_bytes(content)
            done = refused(desk, "show", "out")
            assert (name in done.err or "an unfinished run" in done.err, done.out) == (True, "")
            path.write_bytes(kept[path])
    loaded = ("adapter_model.safetensors", "adapter_config.json", "identity.json", "tokenizer.json")
    for name in loaded:
        path = desk.folder / "out" / "adapter" / name
        path.write_bytes(b"{nope")
        done = refused(desk, "predict", "out", "--prompt", "a")
        assert f"adapter/{name}: not the file that was saved: its hash does not hold\n  do: remove out and" in done.err
        path.write_bytes(kept[path])
    shutil.rmtree(desk.folder / "out" / "adapter")
    assert "adapter: missing" in refused(desk, "predict", "out", "--prompt", "a").err


def test_a_finished_run_that_is_damaged_is_neither_well_nor_verified(desk: Desk) -> None:
    assert desk.tenfold("run", desk.recipe()).code == 0
    weights = desk.folder / "out" / "adapter" / "adapter_model.safetensors"
    kept = weights.read_bytes()
    flipped = bytearray(kept)
    flipped[len(kept) // 2] ^= 1
    for content, found in ((flipped, "not the file that was saved: its hash does not hold"), (None, "missing")):
        weights.unlink() if content is None else weights.write_bytes(content)
        for command in (("run", "recipe.yaml"), ("verify", "out")):
            done = refused(desk, *command)
            assert done.out == ""
            assert done.err.startswith(f"tenfold: out/adapter/{weights.name}: {found}\n  do: remove out and run"), (
                done.err
            )
    assert not (desk.folder / "out.verify.json").exists()
    weights.write_bytes(kept)
    assert "Nothing has changed" in desk.tenfold("run", "recipe.yaml").out


def test_artifact_commands_given_wrongly(desk: Desk) -> None:
    assert desk.tenfold("run", desk.recipe()).code == 0
    desk.write("empty.jsonl", "")
    desk.write("odd.jsonl", '{"foo": 1}\n')
    wrong = {
        ("show", "nowhere"): "no such folder",
        ("show", "tiny-llama"): "not a Tenfold artifact",
        ("predict", "out"): "nothing to answer",
        ("predict", "out", "--data", "empty.jsonl"): "holds no rows",
        ("predict", "out", "--data", "odd.jsonl"): "columns foo: no known format",
        ("predict", "out", "--prompt", "a", "--out", "rows.jsonl"): "exists already",
        ("predict", "out", "--prompt", "a", "--out", "rows.jsonl/b"): "rows.jsonl is a file",
        ("predict", "out", "--prompt", "word " * 600): "no room for an answer\n  allowed: fewer than 512",
        ("evaluate", "out", "--data", "nowhere.jsonl"): "no such file",
        ("evaluate", "out", "--data", "odd.jsonl"): "columns foo: no known format",
        ("init", "instrction", "--data", "rows.jsonl"): "unknown technique 'instrction'",
        ("init", "instruction", "--data", "nowhere.jsonl", "--out", "new.yaml"): "no such file",
        ("init", "instruction", "--data", "rows.jsonl"): "recipe.yaml: exists already",
        ("init", "instruction", "--data", "rows.jsonl", "--out", "rows.jsonl/a.yaml"): "rows.jsonl is a file",
    }
    for arguments, found in wrong.items():
        assert found in refused(desk, *arguments).err


def test_a_cache_that_cannot_be_written(desk: Desk) -> None:
    desk.monkeypatch.setenv("TENFOLD_CACHE", "rows.jsonl/cache")
    assert "set the environment variable TENFOLD_CACHE" in refused(desk, "run", desk.recipe()).err


def failing(desk: Desk, *arguments: str) -> Done:
    """Give the command and check what holds for every failure of a run."""
    done = desk.tenfold(*arguments)
    assert done.code == 1, done.text
    assert len(done.err.splitlines()) <= LONGEST_MESSAGE
    assert "this is a bug" not in done.err
    return done


def checkpoints(desk: Desk) -> list[str]:
    return sorted(path.name for path in (desk.folder / "out" / "checkpoints" / "instruction").iterdir())


def test_a_damaged_checkpoint_is_passed_over_and_said(desk: Desk) -> None:
    with desk.monkeypatch.context() as patch:
        interrupt_at(Desk(desk.folder, desk.tree, patch, desk.capsys), "update", 5)
        assert desk.tenfold("run", desk.recipe()).code == 130
    assert checkpoints(desk) == ["update-00000004", "update-00000005"]
    path = desk.folder / "out" / "checkpoints" / "instruction" / "update-00000005" / "optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")
    done = desk.tenfold("run", "recipe.yaml")
    assert done.code == 0
    assert "checkpoint update-00000005 is damaged (its hashes do not hold); going back to the one before" in done.out
    assert "going on after update 4 of 6" in done.out


def test_no_space_left_keeps_the_checkpoint_before_and_goes_on_later(desk: Desk) -> None:
    save_file, calls = checkpoint_module.save_file, []

    def save_until_full(tensors: dict[str, torch.Tensor], path: Path) -> None:
        calls.append(path)
        if len(calls) > 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        save_file(tensors, path)

    with desk.monkeypatch.context() as patch:
        patch.setattr(checkpoint_module, "save_file", save_until_full)
        done = failing(desk, "run", desk.recipe())
    assert (
        "update-00000004: no space left on the device\n  do: free some space there and run the same command" in done.err
    )
    assert checkpoints(desk) == ["update-00000002"]
    done = desk.tenfold("run", "recipe.yaml")
    assert (done.code, "going on after update 2 of 6" in done.out) == (0, True)


def objective(desk: Desk, change: Callable[[Batch, Loss], Loss]) -> None:
    """Let `change` have its way with every batch's loss."""
    compute = CausalLanguageModelling.__call__

    def changed(self: CausalLanguageModelling, model: LanguageModel, batch: Batch) -> Loss:
        return change(batch, compute(self, model, batch))

    desk.monkeypatch.setattr(CausalLanguageModelling, "__call__", changed)


def test_out_of_memory_halves_the_micro_batch_and_says_so(desk: Desk) -> None:
    def hungry(batch: Batch, loss: Loss) -> Loss:
        if len(batch.input_ids) > 100:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return loss

    objective(desk, hungry)
    done = desk.tenfold("run", desk.recipe())
    assert done.code == 0
    assert "out of memory: micro-batches of " in done.out
    assert "the update stays the same" in done.out
    done = failing(desk, "check", "recipe.yaml", "--set", "output=new")
    assert "set runtime.micro_batch_tokens lower" in done.err


def test_out_of_memory_with_one_row_says_what_to_change(desk: Desk) -> None:
    def hungry(batch: Batch, loss: Loss) -> Loss:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    objective(desk, hungry)
    done = failing(desk, "run", desk.recipe())
    assert "update 1: out of memory with one row at a time" in done.err
    assert "data.max_length lower" in done.err


def test_out_of_memory_while_loading_is_no_fault_of_the_files(desk: Desk) -> None:
    def hungry(*_: object, **__: object) -> None:
        raise OSError("Cannot allocate memory (os error 12)")

    desk.monkeypatch.setattr("tenfold.models.load._open", hungry)
    done = failing(desk, "run", desk.recipe())
    assert "tiny-llama: out of memory while its weights were loaded" in done.err
    assert "a smaller model.name" in done.err


def test_out_of_memory_while_scoring_says_what_to_change(desk: Desk) -> None:
    def hungry(*_: object, **__: object) -> None:
        raise MemoryError

    desk.monkeypatch.setattr("tenfold.tasks.generation.score_task", hungry)
    done = failing(desk, "run", desk.recipe())
    assert "scoring before: out of memory" in done.err
    assert "evaluation.max_new_tokens" in done.err


def test_a_loss_that_is_not_finite_names_update_and_rows_and_keeps_the_checkpoint(desk: Desk) -> None:
    count = 0

    def exploding(batch: Batch, loss: Loss) -> Loss:
        nonlocal count
        count += 1
        return Loss(loss.total * float("nan")) if count == 4 else loss

    objective(desk, exploding)
    done = failing(desk, "run", desk.recipe())
    assert "stage instruction, update 4: the loss or its gradient is not finite; rows: rows.jsonl, line " in done.err
    assert "lower optim.learning_rate" in done.err
    assert checkpoints(desk) == ["update-00000002"]
    done = desk.tenfold("run", "recipe.yaml")
    assert (done.code, "going on after update 2 of 6" in done.out) == (0, True)


def test_a_read_only_output(desk: Desk) -> None:
    recipe, mkdir = desk.recipe(), Path.mkdir

    def refuse(self: Path, *arguments: Any, **options: Any) -> None:
        if self.name == "out":
            raise OSError(errno.EROFS, "Read-only file system", str(self))
        mkdir(self, *arguments, **options)

    with desk.monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refuse)
        done = refused(desk, "run", recipe)
    assert done.err == "tenfold: out: cannot be written: read-only file system\n  do: choose another place\n"
    with desk.monkeypatch.context() as patch:
        patch.setattr("tenfold.files.os.access", lambda path, mode: Path(path).is_file())
        assert "no permission to write in" in refused(desk, "check", recipe).err


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="a system without /proc")
def test_a_folder_where_nothing_can_be_made(desk: Desk) -> None:
    told = "tenfold: /proc/none: cannot be written: no such file or directory\n  do: choose another place\n"
    assert refused(desk, "compare", desk.recipe(), "--plan", "--out", "/proc/none").err == told
    assert refused(desk, "run", desk.recipe(output="/proc/none")).err == told
    assert "/proc: holds files that are not" in refused(desk, "compare", desk.recipe(), "--plan", "--out", "/proc").err
