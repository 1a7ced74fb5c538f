"""Every way of tuning keeps the same promises: what moves, that it learns, what is saved, what merging gives."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import peft
import pytest
import torch
from torch import nn

from tenfold.errors import ModelError
from tenfold.recipe.tuners import (
    TUNERS,
    Adalora,
    AdapterFusion,
    Bottleneck,
    Full,
    Ia3,
    Lora,
    Oft,
    Partial,
    Peft,
    Prefix,
    Prompt,
    PTuning,
    TunerSettings,
    Vera,
)
from tenfold.tuning.adapter_bank import open_bank
from tenfold.tuning.tuner import make_tuner
from tests.tuning.steps import build, difference, logits, snapshot, train


@dataclass(frozen=True)
class Case:
    settings: TunerSettings
    rate: float = 2e-3
    identity: bool = True  # attaching leaves every answer as it was
    merges: bool = True
    packs: bool = True
    peft: bool = True  # plain PEFT opens what is saved
    ground: Callable[[nn.Module], object] = lambda network: None  # what must be on the network before
    prunes: bool = False  # what trains may end where it began


def two_adapters(network: nn.Module) -> None:
    """Put two adapters with random weights on the network, as if trained before."""
    bank = open_bank(network)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        for name, style in (("first", "houlsby"), ("second", "pfeiffer")):
            bank.add(name, Bottleneck(style=style, reduction=4))
            for parameter in bank.parameters_of(name):
                nn.init.normal_(parameter, std=0.3)


CASES = {
    "full": Case(Full(), peft=False),
    "partial": Case(Partial(modules=(r"layers\.1\.", "lm_head")), peft=False),
    "lora": Case(Lora(rank=4)),
    "gaussian": Case(Lora(rank=4, init="gaussian")),
    "rslora": Case(Lora(rank=4, rank_stabilized=True)),
    "dora": Case(Lora(rank=4, decomposed=True)),
    "pissa": Case(Lora(rank=4, init="pissa", alpha=6.0)),
    "pissa-rslora": Case(Lora(rank=4, init="pissa", rank_stabilized=True)),
    "olora": Case(Lora(rank=4, init="olora")),
    "lora-plus": Case(Lora(rank=4, plus_ratio=16.0)),
    "lora-dropout": Case(Lora(rank=4, dropout=0.1)),
    "lora-head": Case(Lora(rank=4, also_train=("lm_head",))),
    "pissa-head": Case(Lora(rank=4, init="pissa", also_train=("lm_head", "embed_tokens"))),
    "lora-named": Case(Lora(rank=4, targets=("self_attn.q_proj", "down_proj"))),
    "ia3": Case(Ia3(), rate=2e-2),
    "ia3-named": Case(Ia3(targets=("k_proj", "up_proj"), feedforward=("up_proj",)), rate=2e-2),
    "prefix": Case(Prefix(num_virtual_tokens=4), rate=2e-1, identity=False, merges=False, packs=False),
    "prompt": Case(Prompt(num_virtual_tokens=4), rate=2e-1, identity=False, merges=False, packs=False),
    "p_tuning": Case(PTuning(num_virtual_tokens=4), rate=2e-2, identity=False, merges=False, packs=False),
    "vera": Case(Vera(rank=16), rate=2e-1),
    "oft": Case(Oft(block_size=8)),
    "adalora": Case(Adalora(initial_rank=4, target_rank=2), rate=2e-2, prunes=True),
    # a bottleneck is no change of weights, and PEFT has no such method
    "houlsby": Case(Bottleneck(style="houlsby", reduction=4), merges=False, peft=False),
    "pfeiffer": Case(Bottleneck(style="pfeiffer", reduction=4), merges=False, peft=False),
    "parallel": Case(Bottleneck(style="parallel", reduction=4), merges=False, peft=False),
    "bottleneck-dropout": Case(Bottleneck(reduction=4, dropout=0.1), merges=False, peft=False),
    "adapter-drop": Case(Bottleneck(reduction=4, drop_layers=(0,)), merges=False, peft=False),
    "adapter_fusion": Case(
        AdapterFusion(adapters={"first": None, "second": None}),
        identity=False,
        merges=False,
        peft=False,
        ground=two_adapters,
    ),
    "loha": Case(Peft(method="loha", options={"r": 4}), rate=2e-2),
    "fourierft": Case(Peft(method="FourierFT", options={"n_frequency": 50}), rate=1.0, identity=False),
    "ln_tuning": Case(Peft(method="ln-tuning"), rate=2e-2),
    "adaption_prompt": Case(
        Peft(method="ADAPTION_PROMPT", options={"adapter_len": 4, "adapter_layers": 2}),
        rate=2e-1,
        merges=False,
        packs=False,
    ),
}

BF16 = [name for name in CASES if name != "adaption_prompt"]


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def test_every_kind_of_the_recipe_is_tested_here() -> None:
    tested = {type(case.settings) for case in CASES.values()}
    assert tested == {
        section for kind, section in TUNERS.items() if kind not in ("qlora", "frozen")
    }  # test_quantized.py, test_heads.py


def test_keeps_every_promise(case: Case, tmp_path: Path) -> None:
    tuner = make_tuner(case.settings)
    base = build()
    case.ground(base)
    before = logits(base)
    torch.manual_seed(0)
    network = tuner.attach(base, total_updates=6)
    assert tuner.packs is case.packs

    assert tuner.loads_in_fp32 is isinstance(case.settings, Full)

    # attaching: exactly the trainable ones require gradients, in fp32; where promised no answer changes
    trainable = tuner.trainable(network)
    assert trainable
    assert {name for name, value in network.named_parameters() if value.requires_grad} == set(trainable)
    assert {value.dtype for value in trainable.values()} == {torch.float32}
    if case.identity:
        # subtracting factors from themselves leaves rounding of fp32 sums; logits here are about 3
        assert difference(logits(network), before) <= 1e-5

    # training: only those move, each of them does, and the loss falls
    parameters, buffers = snapshot(network), {name: value.clone() for name, value in network.named_buffers()}
    losses = train(tuner, network, steps=6, rate=case.rate)
    moved = {name for name, value in network.named_parameters() if not torch.equal(value, parameters[name])}
    assert moved == set(trainable) or (case.prunes and moved < set(trainable))
    assert all(torch.equal(value, buffers[name]) for name, value in network.named_buffers())
    assert losses[-1] < losses[0]
    trained = logits(network)
    assert difference(trained, before) > 1e-3

    # saving: a fresh base with the saved weights gives the very same answers
    tuner.save(network, tmp_path / "saved")
    loaded = tuner.load(build(), tmp_path / "saved")
    assert difference(logits(loaded), trained) <= 1e-6
    assert not any(value.requires_grad for value in loaded.parameters())

    # and so does plain PEFT, which knows nothing of this package; its own forward orders the sums otherwise
    assert tuner.saves_peft is case.peft
    if case.peft:
        assert difference(logits(_plain_peft(tmp_path / "saved")), trained) <= 1e-5

    # merging: a plain model of the same function, still so after its own round trip through disk
    if case.merges:
        merged = tuner.merge(network)
        assert type(merged) is type(build())
        assert difference(logits(merged), trained) <= 1e-5
        merged.save_pretrained(tmp_path / "merged")
        assert difference(logits(type(merged).from_pretrained(tmp_path / "merged")), trained) <= 1e-5
        assert difference(logits(tuner.merge(loaded)), trained) <= 1e-5
    else:
        with pytest.raises(ModelError, match="cannot be merged"):
            tuner.merge(network)


@pytest.mark.parametrize("name", BF16)
def test_trains_in_fp32_beside_frozen_bf16(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    tuner = make_tuner(case.settings)
    base = build(dtype=torch.bfloat16)
    case.ground(base)
    torch.manual_seed(0)
    network = tuner.attach(base, total_updates=6)
    trainable = tuner.trainable(network)
    assert {value.dtype for value in trainable.values()} == {torch.float32}
    parameters = snapshot(network)
    losses = train(tuner, network, steps=6, rate=case.rate)
    assert losses[-1] < losses[0]
    moved = {name for name, value in network.named_parameters() if not torch.equal(value, parameters[name])}
    assert moved == set(trainable) or (case.prunes and moved < set(trainable))

    trained = logits(network)
    tuner.save(network, tmp_path)
    loaded = tuner.load(build(dtype=torch.bfloat16), tmp_path)
    assert torch.equal(logits(loaded), trained)
    if case.merges:
        # each merged weight is rounded once to 8 bits
        assert difference(logits(tuner.merge(network)), trained) <= 0.05 * trained.abs().max().item()


def _plain_peft(folder: Path) -> peft.PeftModel:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing|Unsupported layer type|Model has `tie")
        return peft.PeftModel.from_pretrained(build(), folder)
