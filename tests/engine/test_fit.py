from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tenfold.data.batch import IGNORED, Batch
from tenfold.engine.log import Log
from tenfold.engine.stage import Judgement, Selection
from tenfold.errors import Interrupted, NonFiniteLoss, OutOfMemory
from tenfold.models.language_model import LanguageModel, Route
from tenfold.objectives.causal_lm import CausalLanguageModelling
from tenfold.objectives.objective import Loss
from tenfold.recipe import OptimSection
from tenfold.recipe.tuners import Full, Ia3, Lora, Prompt, TunerSettings
from tests.engine.stages import FixedWindows, make_model, make_stage, run_stage, trained


@pytest.mark.parametrize("tuner", [Lora(rank=4), Full(), Ia3()], ids=lambda tuner: tuner.kind)
def test_one_batch_of_eight_rows_equals_eight_batches_of_one(tuner: TunerSettings, tmp_path: Path) -> None:
    # fp32 sums in another order: a few units in the last place per update, growing through Adam's division
    whole, pieces = make_stage(tuner), make_stage(tuner, windows=FixedWindows(micro_batch_tokens=1))
    assert len(whole.windows.window(0).batches) == 1
    assert len(pieces.windows.window(0).batches) == 8
    models = [make_model(stage) for stage in (whole, pieces)]
    losses = []
    for number, (model, stage) in enumerate(zip(models, (whole, pieces), strict=True)):
        run_stage(model, stage, tmp_path / str(number))
        events = Log(tmp_path / str(number) / "log.jsonl").events()
        losses.append([event["loss"] for event in events if event["event"] == "update"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    first, second = (trained(model, stage) for model, stage in zip(models, (whole, pieces), strict=True))
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "phi", "mistral"])
def test_packed_rows_train_as_padded_rows_do(family: str, tmp_path: Path) -> None:
    logs = []
    for route in (Route(packs=True, splits_head=True), Route(packs=False, splits_head=False)):
        stage = make_stage(Full(), rate=1e-3, updates=4)
        model = make_model(stage, family=family, route=route)
        for module in model.base.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        run_stage(model, stage, tmp_path / str(route.packs))
        events = Log(tmp_path / str(route.packs) / "log.jsonl").events()
        logs.append([(event["loss"], event["gradient_norm"]) for event in events if event["event"] == "update"])
    # losses and gradients, not parameters: Adam turns a gradient that is zero but for rounding into a full step
    for packed, padded in zip(*logs, strict=True):
        assert packed == pytest.approx(padded, rel=1e-4)


def test_the_update_is_adamw_on_the_mean_loss_over_supervised_tokens(tmp_path: Path) -> None:
    stage = make_stage(Full(), updates=1, rate=1e-2, optim=OptimSection(warmup_share=0.0, max_gradient_norm=None))
    model, reference = make_model(stage), make_model(stage)
    run_stage(model, stage, tmp_path)

    (batch,) = stage.windows.window(0).batches
    losses, start = [], 0
    for length in batch.lengths:
        ids, targets = batch.input_ids[start : start + length], batch.targets[start : start + length]
        logits = reference.base(input_ids=ids[None]).logits[0]
        losses.append(nn.functional.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="none"))
        start += length
    loss = torch.cat(losses).sum() / batch.num_supervised
    optimizer = torch.optim.AdamW(reference.base.parameters(), lr=1e-2, weight_decay=0.0)
    loss.backward()
    optimizer.step()
    for (name, found), (_, expected) in zip(
        model.base.named_parameters(), reference.base.named_parameters(), strict=True
    ):
        # the first Adam step is rate * sign(gradient): where that is nearly zero, its sign is rounding
        moved = (found - expected).abs()
        assert (moved > 1e-4).float().mean() < 0.01, name


@pytest.mark.parametrize("tuner", [Lora(rank=4), Full(), Prompt(num_virtual_tokens=4)], ids=lambda tuner: tuner.kind)
def test_the_loss_falls_and_only_trainable_parameters_move(tuner: TunerSettings, tmp_path: Path) -> None:
    stage = make_stage(tuner, updates=12, rate=3e-2 if tuner.kind != "full" else 1e-2)
    model = make_model(stage)
    before = {name: value.detach().clone() for name, value in model.network.named_parameters()}
    result = run_stage(model, stage, tmp_path)
    losses = [event["loss"] for event in Log(tmp_path / "log.jsonl").events() if event["event"] == "update"]
    assert len(losses) == result.updates == 12
    assert result.final_loss == losses[-1] < 0.97 * losses[0]
    chosen = {id(parameter) for parameter in stage.tuner.trainable(model.network).values()}
    for name, value in model.network.named_parameters():
        assert torch.equal(value, before[name]) != (id(value) in chosen), name


def test_penalties_are_added_once_an_update_however_it_is_cut(tmp_path: Path) -> None:
    def penalty(network: nn.Module) -> Tensor:
        return sum((value**2).sum() for value in network.parameters() if value.requires_grad)  # type: ignore[return-value]

    ends = []
    for tokens in (1000, 1):
        stage = make_stage(penalties=(penalty,), windows=FixedWindows(micro_batch_tokens=tokens))
        model = make_model(stage)
        run_stage(model, stage, tmp_path / str(tokens))
        ends.append(trained(model, stage))
    plain = make_stage()
    free = make_model(plain)
    run_stage(free, plain, tmp_path / "plain")
    for name, value in ends[0].items():
        torch.testing.assert_close(value, ends[1][name], rtol=1e-3, atol=2e-5)
    length = {
        key: sum(float((v**2).sum()) for v in tensors.values())
        for key, tensors in {"with": ends[0], "without": trained(free, plain)}.items()
    }
    assert length["with"] < length["without"]


@dataclass(frozen=True)
class Hungry:
    """An objective that runs out of memory on more than `most` tokens."""

    most: int

    def weight(self, batch: Batch) -> int:
        return batch.num_supervised

    def __call__(self, model: LanguageModel, batch: Batch) -> Loss:
        if len(batch.input_ids) > self.most:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return CausalLanguageModelling()(model, batch)


def test_out_of_memory_halves_the_micro_batch_and_keeps_the_update(tmp_path: Path) -> None:
    plain, hungry = make_stage(), make_stage(objective=Hungry(most=20))
    models = [make_model(plain), make_model(hungry)]
    run_stage(models[0], plain, tmp_path / "plain")
    result = run_stage(models[1], hungry, tmp_path / "hungry")
    notes = [event["text"] for event in Log(tmp_path / "hungry" / "log.jsonl").events() if event["event"] == "note"]
    assert notes
    assert "out of memory" in str(notes[0])
    assert result.micro_batch_tokens <= 20
    expected, found = (trained(model, stage) for model, stage in zip(models, (plain, hungry), strict=True))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=2e-5)


def test_out_of_memory_on_a_single_row_says_what_to_do(tmp_path: Path) -> None:
    stage = make_stage(objective=Hungry(most=3))
    with pytest.raises(OutOfMemory, match=r"one row at a time \(12 tokens\)[\s\S]*max_length"):
        run_stage(make_model(stage), stage, tmp_path)


def test_other_runtime_errors_are_not_taken_for_memory(tmp_path: Path) -> None:
    class Broken(Hungry):
        def __call__(self, model: LanguageModel, batch: Batch) -> Loss:
            raise RuntimeError("size mismatch")

    stage = make_stage(objective=Broken(most=0))
    with pytest.raises(RuntimeError, match="size mismatch"):
        run_stage(make_model(stage), stage, tmp_path)


class Exploding(Hungry):
    """An objective whose loss is not a number for batches that hold row 2."""

    def __call__(self, model: LanguageModel, batch: Batch) -> Loss:
        loss = CausalLanguageModelling()(model, batch)
        return Loss(loss.total * float("nan")) if 2 in batch.rows else loss


def test_a_non_finite_loss_names_update_and_rows_and_moves_nothing(tmp_path: Path) -> None:
    stage = make_stage(objective=Exploding(most=0), windows=FixedWindows(micro_batch_tokens=1))
    model = make_model(stage)
    before = trained(model, stage)
    with pytest.raises(NonFiniteLoss, match=r"update 1: .*rows: rows.jsonl, line 3\n[\s\S]*learning_rate"):
        run_stage(model, stage, tmp_path)
    for name, value in trained(model, stage).items():
        assert torch.equal(value, before[name])


def test_asked_to_stop_it_finishes_the_update_and_writes_a_checkpoint(tmp_path: Path) -> None:
    stage = make_stage(updates=6)
    model = make_model(stage)
    asked = iter([False, False, True])
    with pytest.raises(Interrupted, match="after update 3"):
        run_stage(model, stage, tmp_path, stop_asked=lambda: next(asked), checkpoint_every=100)
    assert (tmp_path / "checkpoints" / "update-00000003").is_dir()


def test_the_best_parameters_come_back_and_patience_ends_the_stage(tmp_path: Path) -> None:
    values = iter([0.1, 0.5, 0.4, 0.3, 0.2])
    states: list[dict[str, Tensor]] = []
    stage = make_stage(updates=40)
    model = make_model(stage)

    def judge() -> Judgement:
        assert not model.network.training
        states.append(trained(model, stage))
        return Judgement(next(values))

    stage = replace(stage, selection=Selection(judge, every=2, patience=3))
    result = run_stage(model, stage, tmp_path)
    assert (result.best_value, result.best_update, result.updates) == (0.5, 4, 10)
    for name, value in trained(model, stage).items():
        assert torch.equal(value, states[1][name])
        assert not torch.equal(value, states[-1][name])


def test_a_metric_of_which_less_is_better_keeps_its_lowest_value(tmp_path: Path) -> None:
    values = iter([0.5, 0.2, 0.4])
    stage = make_stage(updates=6)
    selection = Selection(lambda: Judgement(next(values), "wer", higher_is_better=False), every=2)
    result = run_stage(make_model(stage), replace(stage, selection=selection), tmp_path)
    assert (result.best_value, result.best_update) == (0.2, 4)


def test_gradient_checkpointing_changes_nothing_but_memory(tmp_path: Path) -> None:
    ends, calls = [], []
    for is_on in (False, True):
        stage = make_stage(Full(), rate=1e-3)
        model = make_model(stage)
        if is_on:
            model.recompute_activations()
        counted: list[int] = []
        model.base.model.layers[0].self_attn.register_forward_hook(lambda *_, counted=counted: counted.append(1))
        run_stage(model, stage, tmp_path / str(is_on))
        ends.append(trained(model, stage))
        calls.append(len(counted))
    assert calls[1] == 2 * calls[0]
    for name, value in ends[0].items():
        torch.testing.assert_close(value, ends[1][name], rtol=0, atol=0)
