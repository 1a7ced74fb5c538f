"""A training whose weights lie in parts on several processes: the losses and weights of one, and less memory each."""

from __future__ import annotations

import errno
import json
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter

from reliability.crash.workloads import TWO_TASKS, WORKLOADS, Workload
from tenfold.data.batch import Batch
from tenfold.engine.training import Training
from tenfold.errors import RecipeError, UserError
from tenfold.models.fused_blocks import BlockInParts
from tenfold.models.sharding import Shards, is_sharded, own_part, own_rows, sum_of_squares
from tenfold.models.trunk import Trunk
from tenfold.objectives.causal_lm import CausalLanguageModelling
from tenfold.objectives.objective import Loss
from tenfold.recipe import load_recipe
from tenfold.running import run
from tenfold.techniques.technique import find_technique
from tests.engine.in_ranks import (
    AS_MUCH,
    WEIGHTS_APART,
    Begin,
    apart,
    losses,
    run_in_ranks,
    told,
    weights,
    weights_apart,
)
from tests.engine.killing import KillAt

FULL: dict[str, Any] = {"tuner": {"kind": "full"}, "optim": {"learning_rate": 1e-3}}


def sharded(workload: Workload, **runtime: object) -> Workload:
    """Return the same workload with its weights in parts."""
    section = {**workload.sections.get("runtime", {}), "fully_shard": True, **runtime}
    return replace(workload, sections={**workload.sections, "runtime": section})


INSTRUCTION = Workload("instruction", FULL)
COMPARED = Workload("parameter_efficient", {"technique": {"merge": True, "compare_full": True}})
MIXED = {**TWO_TASKS, "tasks": {"lamps": "../lamps.jsonl", "named": "../labelled.jsonl"}}
SEVERAL = Workload("multi_task", {**FULL, "data": MIXED, "evaluation": {"every": None}})
FEW_ROWS = Workload("instruction", {**FULL, "optim": {"batch_size": 3, "max_updates": 4, "learning_rate": 1e-3}})
CASES: Mapping[str, tuple[int, Workload, dict[str, object]]] = {
    "full": (2, INSTRUCTION, {}),
    "full, on four": (4, INSTRUCTION, {}),
    "full, on a number that divides nothing": (3, INSTRUCTION, {}),
    "full, activations computed again": (2, INSTRUCTION, {"gradient_checkpointing": True}),
    "full, small micro-batches": (2, INSTRUCTION, {"micro_batch_tokens": 64}),
    "full, fewer rows than ranks": (4, FEW_ROWS, {}),
    "full, labels beside words, a head on the model": (2, SEVERAL, {}),
    "lora": (2, WORKLOADS["instruction"], {}),
    "lora, on four": (4, WORKLOADS["instruction"], {}),
    "lora and full from one base, merged in the end": (2, COMPARED, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_parts_train_as_a_whole(case: str, begin: Begin) -> None:
    count, workload, runtime = CASES[case]
    alone, together = begin("alone", workload), begin("together", sharded(workload, **runtime))
    assert run_in_ranks(alone, 1) == [0]
    assert run_in_ranks(together, count) == [0] * count, [told(together, rank) for rank in range(count)]
    assert len(losses(alone)) >= 4
    assert apart(losses(alone), losses(together)) < AS_MUCH
    assert max(weights_apart(weights(alone), weights(together)).values()) < WEIGHTS_APART
    assert _kinds(alone) == _kinds(together)
    cards = [json.loads((folder / "out" / "scorecard.json").read_text()) for folder in (alone, together)]
    assert _figures(cards[0]) == pytest.approx(_figures(cards[1]), rel=1e-3)


def _kinds(folder: Path) -> dict[str, object]:
    """Return every file of the artifact by its path, those of settings with what stands in them."""
    out = folder / "out"
    return {
        str(path.relative_to(out)): path.read_text() if path.name in ("config.json", "generation_config.json") else None
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def _figures(card: Any) -> list[float]:
    """Return every measured value of a scorecard, in order."""
    if isinstance(card, dict):
        own = [float(card["value"])] if isinstance(card.get("value"), int | float) else []
        return own + [figure for value in card.values() for figure in _figures(value)]
    return [figure for value in card for figure in _figures(value)] if isinstance(card, list) else []


def test_in_bf16_parts_train_as_a_whole_up_to_its_rounding(begin: Begin) -> None:
    workload = Workload("instruction", {**FULL, "runtime": {"precision": "bf16"}})
    alone, together = begin("alone", workload), begin("together", sharded(workload))
    assert run_in_ranks(alone, 1) == [0] and run_in_ranks(together, 2) == [0, 0], told(together, 0)
    assert apart(losses(alone), losses(together)) < 1e-2, "bf16 keeps 8 bits"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_norms_of_blocks_stay_whole_and_wide(precision: str, begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = begin("norms", sharded(INSTRUCTION, precision=precision))
    block = BlockInParts.__call__

    def noted(self: BlockInParts, *args: Any) -> Tensor:
        named = dict(self.layer.named_parameters())
        norms = {name: value for name, value in named.items() if not is_sharded(value)}
        assert norms.keys() == {name for name, value in named.items() if value.dim() == 1} != set()
        assert {value.dtype for value in norms.values()} == {torch.float32}
        (folder / "looked").touch()
        return block(self, *args)

    monkeypatch.setattr(BlockInParts, "__call__", noted)
    assert run_in_ranks(folder, 2) == [0, 0], told(folder, 0)
    assert (folder / "looked").exists()


def test_each_process_holds_its_part_of_weights_gradients_and_state(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = begin("parts", sharded(INSTRUCTION))
    checkpoint = Training.checkpoint

    def noted(self: Training, *args: Any) -> Any:
        sizes = [
            {
                "whole": sum(each.numel() for each in tensors),
                "here": sum(_storages(tensors).values()) // 4,
            }
            for tensors in (
                list(self.parameters.values()),
                [each.grad for each in self.parameters.values() if each.grad is not None],
                [state["exp_avg"] for state in self.optimizer.state.values()],
            )
        ]
        (folder / f"sizes-{torch.distributed.get_rank()}.json").write_text(json.dumps(sizes))
        return checkpoint(self, *args)

    monkeypatch.setattr(Training, "checkpoint", noted)
    assert run_in_ranks(folder, 2) == [0, 0], told(folder, 0)
    for rank in (0, 1):
        for held in json.loads((folder / f"sizes-{rank}.json").read_text()):
            assert held["whole"] > 10_000
            assert held["here"] <= 0.55 * held["whole"]


@pytest.mark.parametrize("tuner", ["full", "lora"])
def test_blocks_in_parts_are_fused_as_whole_ones_are(tuner: str, begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = begin("fused", sharded(INSTRUCTION if tuner == "full" else WORKLOADS["instruction"]))
    loss = CausalLanguageModelling.__call__
    block = BlockInParts.__call__
    computed: list[BlockInParts] = []

    def noted(self: BlockInParts, *args: Any) -> Tensor:
        computed.append(self)
        return block(self, *args)

    def counted(self: CausalLanguageModelling, model: Trunk, batch: Batch) -> Loss:
        computed.clear()
        found = loss(self, model, batch)
        assert len(computed) == model.num_layers - 1, "every block, once"
        return found

    monkeypatch.setattr(BlockInParts, "__call__", noted)
    monkeypatch.setattr(CausalLanguageModelling, "__call__", counted)
    assert run_in_ranks(folder, 2) == [0, 0], told(folder, 0)


def _storages(tensors: Sequence[Tensor]) -> dict[int, int]:
    """Return the bytes of what really holds the tensors' parts on this rank, by address: some share one."""
    locals_ = [own_rows(tensor).part for tensor in tensors]
    return {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in locals_}


@pytest.mark.parametrize("file_bytes", [2**28, 2**14])
def test_after_the_death_of_a_rank_any_number_goes_on_in_parts_or_whole(
    file_bytes: int, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenfold.engine.parts.FILE_BYTES", file_bytes)
    straight, killed = begin("straight", INSTRUCTION), begin("killed", sharded(INSTRUCTION))
    assert run_in_ranks(straight, 1) == [0]
    dying = run_in_ranks(killed, 2, listeners=lambda rank: (KillAt(3),) if rank == 1 else ())
    assert dying == [1, -signal.SIGKILL]
    assert "RankLost: torchrun: another process of this training ended" in told(killed, 0)
    assert not (killed / "out" / "artifact.json").exists()
    num_files = len(list((killed / "out" / "checkpoints").rglob("update-00000002/parts/*.safetensors")))
    assert num_files == 2 if file_bytes == 2**28 else num_files > 4
    by = {"in 4 parts": 4, "alone": 1, "whole, on 2": 2} if file_bytes == 2**28 else {"in 3 parts": 3, "alone": 1}
    _goes_on(straight, killed, resumed_at=2, by=by)


def test_what_was_begun_whole_goes_on_in_parts(begin: Begin) -> None:
    straight, killed = begin("straight", INSTRUCTION), begin("killed", INSTRUCTION)
    assert run_in_ranks(straight, 1) == [0]
    assert run_in_ranks(killed, 1, listeners=lambda rank: (KillAt(3),)) == [-signal.SIGKILL]
    recipe = killed / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("runtime:\n", "runtime:\n  fully_shard: true\n"))
    _goes_on(straight, killed, resumed_at=2, by={"in 2 parts": 2})


def _goes_on(straight: Path, killed: Path, *, resumed_at: int, by: Mapping[str, int]) -> None:
    """Check that copies of what was `killed` come to the end of what went `straight`, by so many processes each."""
    for name, count in by.items():
        folder = killed.with_name(f"{killed.name}-{name}")
        shutil.copytree(killed, folder)
        if "whole" in name:
            recipe = folder / "recipe.yaml"
            recipe.write_text(recipe.read_text().replace("fully_shard: true", "fully_shard: false"))
        assert run_in_ranks(folder, count) == [0] * count, told(folder, 0)
        events = [json.loads(line) for line in (folder / "out" / "log.jsonl").read_text().splitlines()]
        assert [each["resumed_at"] for each in events if each["event"] == "stage"][-1] == resumed_at
        assert apart(losses(straight), losses(folder)) < AS_MUCH
        assert max(weights_apart(weights(straight), weights(folder)).values()) < WEIGHTS_APART


def test_a_checkpoint_in_parts_is_safetensors_and_a_damaged_part_is_passed_over(begin: Begin) -> None:
    folder = begin("stopped", sharded(INSTRUCTION))
    straight = begin("straight", sharded(INSTRUCTION))
    assert run_in_ranks(straight, 2) == [0, 0]
    asked = iter([False, False, True])
    assert run_in_ranks(folder, 2, stop_asked=lambda rank: rank == 1 and next(asked)) == [130, 130], told(folder, 0)
    kept = sorted((folder / "out" / "checkpoints" / "instruction").iterdir())
    assert [path.name for path in kept] == ["update-00000002", "update-00000003"]
    parts = sorted((kept[-1] / "parts").iterdir())
    assert len(parts) == 2 and {path.suffix for path in parts} == {".safetensors"}
    assert not any(path.name in ("trainable.safetensors", "optimizer.safetensors") for path in kept[-1].iterdir())
    with safe_open(parts[0], framework="pt") as file:
        assert {name.partition("|")[0] for name in file.keys()} == {"trainable", "optimizer", "best"}  # noqa: SIM118
    content = bytearray(parts[1].read_bytes())
    content[-1] ^= 1
    parts[1].write_bytes(content)
    assert run_in_ranks(folder, 2) == [0, 0], told(folder, 0)
    assert "checkpoint update-00000003 is damaged" in (folder / "out" / "log.jsonl").read_text()
    assert losses(folder) == losses(straight)


def test_memory_that_runs_out_on_one_rank_ends_all_with_the_remedy(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = begin("short", sharded(INSTRUCTION))
    whole = CausalLanguageModelling.__call__

    def limited(self: CausalLanguageModelling, model: Trunk, batch: Batch) -> Loss:
        if torch.distributed.get_rank() == 1:
            raise torch.OutOfMemoryError("out of memory")
        return whole(self, model, batch)

    monkeypatch.setattr(CausalLanguageModelling, "__call__", limited)
    assert run_in_ranks(folder, 2) == [1, 1]
    assert "RankLost" in told(folder, 0)
    assert "a micro-batch cannot be made smaller" in told(folder, 1)
    assert "runtime.micro_batch_tokens lower" in told(folder, 1)


def test_a_part_that_finds_no_room_on_the_disk_ends_all_with_that(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = begin("disk", sharded(INSTRUCTION))

    def refused(*args: Any, **options: Any) -> None:
        if torch.distributed.get_rank() == 1:
            raise OSError(errno.ENOSPC, "No space left on device")

    write = HuggingFaceStorageWriter.write_data
    monkeypatch.setattr(HuggingFaceStorageWriter, "write_data", lambda *args: refused() or write(*args))
    assert run_in_ranks(folder, 2) == [1, 1]
    assert "DiskFull" in told(folder, 0) and "DiskFull" in told(folder, 1)
    assert list((folder / "out" / "checkpoints" / "instruction").iterdir()) == []


def test_a_stage_of_the_store_is_taken_in_parts(begin: Begin) -> None:
    first, again = begin("first", sharded(INSTRUCTION)), begin("again", sharded(INSTRUCTION))
    assert run_in_ranks(first, 2) == [0, 0], told(first, 0)
    assert run_in_ranks(again, 2, cache=str(first / "cache")) == [0, 0], told(again, 0)
    assert losses(again) == {}, "nothing was trained"
    found = weights(again)
    assert all(torch.equal(value, found[name]) for name, value in weights(first).items())


REFUSED: Mapping[str, tuple[Workload, str]] = {
    "a technique": (WORKLOADS["sequential"], "sequential reads or scores whole weights"),
    "another": (WORKLOADS["feature_based"], "feature_based reads or scores whole weights"),
    "a tuner": (Workload("instruction", {"tuner": {"kind": "adalora"}}), "adalora was not tried"),
    "four bits": (Workload("instruction", {"tuner": {"kind": "qlora"}}), "qlora was not tried"),
    "a start": (Workload("instruction", {"tuner": {"kind": "full", "start": "scratch"}}), "start: scratch"),
    "factors": (Workload("instruction", {"tuner": {"kind": "lora", "init": "pissa"}}), "init: pissa"),
    "directions": (Workload("instruction", {"tuner": {"kind": "lora", "decomposed": True}}), "decomposed: true"),
    "modules": (Workload("instruction", {"tuner": {"kind": "lora", "also_train": ["lm_head"]}}), "also_train"),
    "an optimizer": (Workload("instruction", {"optim": {"optimizer": "adamw_8bit"}}), "adamw_8bit was not tried"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_go_with_parts_is_refused_before_anything_is_read(
    case: str, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    workload, message = REFUSED[case]
    folder = begin("refused", sharded(workload))
    monkeypatch.chdir(folder)
    recipe = load_recipe(Path("recipe.yaml"))
    with pytest.raises(RecipeError, match=rf"runtime\.fully_shard: .*{message}"):
        find_technique(recipe.technique.kind).require_fit(recipe)
    with pytest.raises(RecipeError, match=message):
        run(recipe)
    assert not (folder / "out").exists()


def test_a_model_that_is_no_decoder_is_refused_before_its_weights_are_read(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    sections = {"model": {"name": "../bert"}, "data": {"train": "../labelled.jsonl", "test_share": 0.25}}
    folder = begin("refused", sharded(Workload("instruction", sections)))
    monkeypatch.chdir(folder)
    with pytest.raises(UserError, match=r"runtime\.fully_shard: the model is of the family encoder"):
        run(load_recipe(Path("recipe.yaml")))
    assert not (folder / "out").exists()


def test_alone_nothing_is_in_parts(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = begin("alone", sharded(INSTRUCTION))
    monkeypatch.setattr(Shards, "__init__", lambda *args, **options: pytest.fail("sharded"))
    assert run_in_ranks(folder, 1) == [0]


def test_what_is_whole_is_its_own_part_and_its_own_sum() -> None:
    tensor = torch.arange(6.0).view(2, 3)
    assert own_part(tensor, torch.zeros(2, 3)) is tensor
    assert float(sum_of_squares([tensor, tensor])) == pytest.approx(110.0, rel=1e-6)
    assert float(sum_of_squares([])) == 0.0
