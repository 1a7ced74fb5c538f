from __future__ import annotations

import pytest
import torch

from tenfold.data.batch import IGNORED, Batch, pack
from tenfold.models.attention import register_attention
from tenfold.models.compact import compacted, whole
from tenfold.models.language_model import LanguageModel, Route, find_route
from tests.tiny_models import FAMILIES, VOCABULARY, tiny_model

CPU = torch.device("cpu")
PREFIX = [5, 9, 4, 8, 3]


def _batch(*, supervised_from: int = 7, ends: int = 1) -> Batch:
    """Four rows: three begin with all or part of PREFIX; the last `ends` tokens of each are unsupervised."""
    torch.manual_seed(0)
    rests = [torch.randint(3, VOCABULARY, (length,)).tolist() for length in (6, 9, 8, 12)]
    rows = [PREFIX + rests[0], PREFIX + rests[1], [2, 2, *rests[2]], PREFIX[:2] + rests[3]]
    return pack(
        [
            (number, row, [supervised_from <= place < len(row) - ends for place in range(len(row))])
            for number, row in enumerate(rows)
        ]
    )


def _model(family: str, *, compacts: bool) -> LanguageModel:
    register_attention()
    route = Route(packs=True, splits_head=True, compacts=compacts)
    return LanguageModel(tiny_model(family, attention="tenfold"), None, device=CPU, route=route)  # type: ignore[arg-type]


def test_alike_beginnings_stand_once_and_ends_without_a_target_are_left_out() -> None:
    batch = compacted(_batch())
    # each row's last target is its last token but one, so its last two tokens are not needed
    assert batch.cu_seqlens.tolist() == [0, 9, 9 + 7, 9 + 7 + 8, 9 + 7 + 8 + 10]
    assert batch.cu_seqlens_keys.diff().tolist() == [9, 12, 8, 12]
    assert batch.positions.tolist() == [*range(9), *range(5, 12), *range(8), *range(2, 12)]
    assert batch.input_ids[:5].tolist() == PREFIX


def test_targets_and_the_tokens_before_them_stay_in_batch_order() -> None:
    batch = _batch(supervised_from=1)
    small = compacted(batch)
    kept = batch.targets != IGNORED
    assert small.targets.tolist() == batch.targets[kept].tolist()
    assert small.input_ids[small.supervised].tolist() == batch.input_ids[kept].tolist()
    assert small.positions[small.supervised].tolist() == batch.positions[kept].tolist()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("supervised_from", [1, 7])
def test_losses_and_gradients_are_those_of_the_whole_batch(family: str, supervised_from: int) -> None:
    batch = _batch(supervised_from=supervised_from)
    results = []
    for compacts in (True, False):
        model = _model(family, compacts=compacts)
        loss = model.loss_sum(batch)
        loss.backward()
        gradients = {name: part.grad for name, part in model.base.named_parameters() if part.grad is not None}
        results.append((loss.detach(), model.token_losses(batch), gradients))
    (loss, losses, gradients), (plain_loss, plain_losses, plain_gradients) = results
    torch.testing.assert_close(loss, plain_loss, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(losses, plain_losses, atol=1e-5, rtol=1e-5)
    assert gradients.keys() == plain_gradients.keys()
    for name, expected in plain_gradients.items():
        # fp32 sums in another order; gradients of a summed loss are large
        tolerance = 1e-5 * (1 + float(expected.abs().max()))
        torch.testing.assert_close(gradients[name], expected, atol=tolerance, rtol=1e-4)


def test_rows_that_are_equal_share_what_comes_before_their_targets() -> None:
    row = [7, 6, 5, 4]
    batch = pack([(number, row, [False, False, True, True]) for number in range(3)])
    assert compacted(batch).cu_seqlens.diff().tolist() == [3, 2, 2]
    batch = pack([(number, row, [False, True, True, True]) for number in range(3)])
    assert compacted(batch).cu_seqlens.diff().tolist() == [3, 3, 3]
    losses = _model("llama", compacts=True).token_losses(batch).view(3, 3)
    torch.testing.assert_close(losses, losses[:1].expand(3, 3), atol=1e-5, rtol=1e-5)


def test_a_row_without_a_target_is_left_out_and_a_batch_of_them_is_not() -> None:
    silent = (0, [4, 5, 6], [False] * 3)
    spoken = (1, [7, 8, 9], [False, True, True])
    assert compacted(pack([silent, spoken])).input_ids.tolist() == [7, 8]
    assert compacted(pack([silent, silent])).input_ids.tolist() == [4, 5, 6, 4, 5, 6]
    assert _model("llama", compacts=True).loss_sum(pack([silent])).item() == 0.0


@pytest.mark.parametrize("family", FAMILIES)
def test_the_short_cut_is_found_where_rows_pack(family: str) -> None:
    register_attention()
    route = find_route(tiny_model(family, attention="tenfold"), CPU)
    assert route.compacts == route.packs


def test_a_model_that_ignores_what_is_shared_does_not_get_the_short_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    register_attention()
    causal = tiny_model("llama", attention="tenfold")
    plain = causal.base_model.forward
    monkeypatch.setattr(causal.base_model, "forward", lambda cu_seq_lens_k=None, **inputs: plain(**inputs))
    assert find_route(causal, CPU) == Route(packs=True, splits_head=True, compacts=False, fuses=True)


def test_under_dropout_each_row_is_computed_alone() -> None:
    model = _model("llama", compacts=True)
    model.wrap(torch.nn.Sequential(model.base, torch.nn.Dropout(0.1)), packs=True, autocast=None)
    assert model.route == Route(packs=True, splits_head=True, compacts=False)


def test_whole_keeps_every_token() -> None:
    batch = _batch()
    assert torch.equal(whole(batch).input_ids, batch.input_ids)
    assert torch.equal(whole(batch).cu_seqlens, whole(batch).cu_seqlens_keys)


@pytest.mark.parametrize("supervised_from", [1, 60])
def test_two_threads_give_the_same_gradient_each_time(supervised_from: int) -> None:
    register_attention()
    # wide enough for torch to share the gradient's sum among threads
    causal = tiny_model("llama", attention="tenfold", hidden_size=256)
    model = LanguageModel(causal, None, device=CPU, route=Route(True, True, True))  # type: ignore[arg-type]
    beginning, *rests = torch.randint(3, VOCABULARY, (13, 60), generator=torch.Generator().manual_seed(0)).tolist()
    in_loss = [place >= supervised_from for place in range(80)]
    batch = pack([(number, beginning + rest[:20], in_loss) for number, rest in enumerate(rests)])

    def gradient() -> torch.Tensor:
        causal.zero_grad()
        model.loss_sum(batch).backward()
        return torch.cat([weight.grad.flatten() for weight in causal.parameters() if weight.grad is not None])

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first = gradient()
        assert all(torch.equal(gradient(), first) for _ in range(8))
    finally:
        torch.set_num_threads(threads)
