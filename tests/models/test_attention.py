from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from tenfold.models import attention
from tenfold.models.attention import deferred_mask, register_attention, tenfold_attention
from tests.tiny_models import FAMILIES, VOCABULARY, tiny_model

LENGTHS = (11, 1, 7)


@pytest.fixture(autouse=True)
def registered() -> None:
    register_attention()


def _rows() -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randint(3, VOCABULARY, (length,)) for length in LENGTHS]


def _packed() -> dict[str, Any]:
    borders = torch.tensor([0, *LENGTHS]).cumsum(0).to(torch.int32)
    return {
        "input_ids": torch.cat(_rows())[None],
        "position_ids": torch.cat([torch.arange(length) for length in LENGTHS])[None],
        "cu_seq_lens_q": borders,
        "cu_seq_lens_k": borders,
        "max_length_q": max(LENGTHS),
        "max_length_k": max(LENGTHS),
        "use_cache": False,
    }


def _gradients(model: nn.Module, logits: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(2)
    (logits * torch.randn(logits.shape)).sum().backward()
    return {name: part.grad for name, part in model.named_parameters() if part.grad is not None}


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_rows_equal_each_row_alone(family: str) -> None:
    ours, eager = tiny_model(family, attention="tenfold"), tiny_model(family)
    packed = ours(**_packed()).logits[0]
    alone = torch.cat([eager(input_ids=row[None]).logits[0] for row in _rows()])
    torch.testing.assert_close(packed, alone, atol=1e-5, rtol=1e-5)
    mine, theirs = _gradients(ours, packed), _gradients(eager, alone)
    assert mine.keys() == theirs.keys()
    for name in theirs:
        torch.testing.assert_close(
            mine[name], theirs[name], atol=1e-5 * (1 + theirs[name].abs().max().item()), rtol=1e-5
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_rows_build_no_mask(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise AssertionError("a [T, T] mask was built")

    monkeypatch.setattr(attention, "sdpa_mask", refuse)
    tiny_model(family, attention="tenfold")(**_packed())


@pytest.mark.parametrize("family", FAMILIES)
def test_reset_positions_without_borders_do_not_leak(family: str) -> None:
    inputs = {name: given for name, given in _packed().items() if name in ("input_ids", "position_ids", "use_cache")}
    ours = tiny_model(family, attention="tenfold")(**inputs).logits
    torch.testing.assert_close(ours, tiny_model(family)(**inputs).logits, atol=1e-5, rtol=1e-5)
    alone = torch.cat([tiny_model(family)(input_ids=row[None]).logits[0] for row in _rows()])
    torch.testing.assert_close(ours[0], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("has_padding", [True, False])
def test_batches_without_borders_equal_eager(family: str, has_padding: bool) -> None:
    torch.manual_seed(3)
    tokens = torch.randint(3, VOCABULARY, (2, 9))
    mask = torch.ones(2, 9, dtype=torch.int64)
    mask[1, 6:] = 0
    inputs = {"input_ids": tokens, "attention_mask": mask if has_padding else None}
    ours = tiny_model(family, attention="tenfold")(**inputs).logits
    theirs = tiny_model(family)(**inputs).logits
    seen = mask.bool() if has_padding else torch.ones(2, 9, dtype=torch.bool)
    torch.testing.assert_close(ours[seen], theirs[seen], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_generation_with_left_padding_equals_single_prompts(family: str) -> None:
    model = tiny_model(family, attention="tenfold")
    eager = tiny_model(family)
    prompts = [row for row in _rows() if len(row) > 1]
    longest = max(map(len, prompts))
    padded = torch.stack([nn.functional.pad(row, (longest - len(row), 0)) for row in prompts])
    mask = torch.stack([nn.functional.pad(torch.ones_like(row), (longest - len(row), 0)) for row in prompts])
    options = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None}
    together = model.generate(padded, attention_mask=mask, **options)[:, longest:]
    for row, generated in zip(prompts, together, strict=True):
        alone = eager.generate(row[None], attention_mask=torch.ones_like(row[None]), **options)[0, len(row) :]
        assert generated.tolist() == alone.tolist()


def test_dropout_in_training_reaches_packed_rows_and_follows_the_seed() -> None:
    model = tiny_model("llama", attention="tenfold", attention_dropout=0.5).train()
    packed = _packed()
    outputs = []
    for seed in (4, 4, 5):
        torch.manual_seed(seed)
        outputs.append(model(**packed).logits)
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_registering_twice_changes_nothing() -> None:
    register_attention()
    assert AttentionInterface()["tenfold"] is tenfold_attention


def _call(**changes: Any) -> None:
    torch.manual_seed(0)
    query = torch.randn(1, 2, 4, 8)
    arguments = {
        "module": SimpleNamespace(is_causal=True),
        "query": query,
        "key": query,
        "value": query,
        "attention_mask": None,
        "cu_seq_lens_q": torch.tensor([0, 4]),
    }
    tenfold_attention(**{**arguments, **changes})


def _mask(**changes: Any) -> Any:
    causal = {"batch_size": 1, "q_length": 4, "kv_length": 4, "mask_function": lambda b, h, q, k: k <= q}
    return deferred_mask(**{**causal, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"s_aux": torch.zeros(2)}, "attention sinks"),
        ({"s_aux": torch.zeros(2), "cu_seq_lens_q": None}, "attention sinks"),
        ({"position_bias": torch.zeros(1)}, "'position_bias'"),
        ({"key": torch.zeros(1, 2, 6, 8)}, "a cache of keys"),
        ({"query": torch.zeros(2, 2, 4, 8)}, "2 lines of packed rows"),
        ({"is_causal": False, "sliding_window": 2}, "no soft cap and no window"),
        ({"module": SimpleNamespace(is_causal=False), "softcap": 2.0}, "no soft cap and no window"),
        ({"attention_mask": torch.ones(1, 1, 4, 4, dtype=torch.bool)}, "a mask beside"),
        ({"attention_mask": _mask(local_size=3)}, "local size 3 with a sliding window of None"),
        (
            {"attention_mask": _mask(local_size=3), "sliding_window": 2},
            "local size 3 with a sliding window of 2",
        ),
        ({"attention_mask": _mask(mask_function=lambda b, h, q, k: k <= q + 1)}, "see later ones"),
    ],
)
def test_what_packed_attention_would_compute_wrongly_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(NotImplementedError, match=message):
        _call(**changes)


def test_the_plain_call_is_not_refused() -> None:
    _call()
    _call(
        attention_mask=_mask(),
        position_ids=torch.arange(4)[None],
        sliding_window=None,
        output_attentions=False,
    )
