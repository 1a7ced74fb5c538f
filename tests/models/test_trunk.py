"""Hidden states of encoders and decoders: packed rows give what each row gives alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModel, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from tenfold.data.batch import Batch, pack
from tenfold.errors import ArtifactError
from tenfold.models.architecture import family_of
from tenfold.models.attention import register_attention
from tenfold.models.heads import HeadSettings, load_heads, pool, save_heads
from tenfold.models.language_model import LanguageModel, find_route
from tenfold.models.trunk import Route, Trunk, find_packing
from tests.tiny_models import FAMILIES, tiny_model

CPU = torch.device("cpu")
ENCODERS: dict[str, dict[str, object]] = {
    "bert": {},
    "roberta": {"pad_token_id": 1},
    "xlm-roberta": {"pad_token_id": 1},
    "distilbert": {"dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4},
    "electra": {"embedding_size": 32},
}


def tiny_encoder(family: str) -> PreTrainedModel:
    """Return a random encoder; weights are drawn wide, so that a wrong mask shows."""
    register_attention()
    settings = {
        "vocab_size": 96,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
        "initializer_range": 0.2,
        **ENCODERS[family],
    }
    config = CONFIG_MAPPING[family](**settings)
    config._attn_implementation = "tenfold"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: PreTrainedModel = AutoModel.from_config(config)
    return model.eval()


def rows_of(*lengths: int, task: str = "main") -> tuple[list[list[int]], Batch]:
    generator = torch.Generator().manual_seed(5)
    rows = [torch.randint(3, 96, (length,), generator=generator).tolist() for length in lengths]
    return rows, pack([(number, row, [False] * len(row)) for number, row in enumerate(rows)], task=task)


@pytest.mark.parametrize("family", ENCODERS)
def test_an_encoders_rows_may_be_packed(family: str) -> None:
    base = tiny_encoder(family)
    assert family_of(base.config) == "encoder"
    route = find_packing(base, CPU)
    assert route.packs
    rows, batch = rows_of(9, 1, 17, 4)
    found = Trunk(base, None, device=CPU, route=route).hidden(batch).split(batch.lengths)  # type: ignore[arg-type]
    for row, states in zip(rows, found, strict=True):
        # fp32 on both sides, attention computed by another kernel: a few units in the last place
        expected = base(input_ids=torch.tensor([row])).last_hidden_state[0]
        torch.testing.assert_close(states, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ENCODERS)
def test_padded_rows_have_the_states_of_packed_ones(family: str) -> None:
    base = tiny_encoder(family)
    _, batch = rows_of(9, 3, 17)
    packed, padded = (
        Trunk(base, None, device=CPU, route=route).hidden(batch)  # type: ignore[arg-type]
        for route in (find_packing(base, CPU), Route(packs=False))
    )
    torch.testing.assert_close(packed, padded, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_decoders_states_are_its_own(family: str) -> None:
    register_attention()
    base = tiny_model(family, attention="tenfold")
    rows, batch = rows_of(9, 1, 17)
    for route in (find_route(base, CPU), Route(packs=False)):
        found = LanguageModel(base, None, device=CPU, route=route).hidden(batch).split(batch.lengths)  # type: ignore[arg-type]
        for row, states in zip(rows, found, strict=True):
            expected = base.base_model(input_ids=torch.tensor([row])).last_hidden_state[0]
            torch.testing.assert_close(states, expected, rtol=1e-4, atol=1e-4)


def test_a_model_that_lets_rows_see_each_other_is_not_packed() -> None:
    base = tiny_encoder("bert")
    base.config._attn_implementation = "sdpa"  # which knows nothing of borders
    assert not find_packing(base, CPU).packs


def headed(pooling: str, num_outputs: int = 3) -> Trunk:
    base = tiny_encoder("bert")
    model = Trunk(base, None, device=CPU, route=find_packing(base, CPU))  # type: ignore[arg-type]
    torch.manual_seed(0)
    model.add_head("values", HeadSettings(num_outputs, pooling))  # type: ignore[arg-type]
    model.eval()
    return model


@pytest.mark.parametrize("pooling", ["first", "last", "mean", "none"])
def test_a_head_answers_from_the_states_that_its_pooling_names(pooling: str) -> None:
    model = headed(pooling)
    rows, batch = rows_of(9, 1, 17, task="values")
    (head,) = model.heads.values()
    states = [model.base(input_ids=torch.tensor([row])).last_hidden_state[0] for row in rows]
    wanted = {"first": [s[:1] for s in states], "last": [s[-1:] for s in states], "none": states}
    pooled = wanted.get(pooling) or [s.mean(0, keepdim=True) for s in states]
    expected = torch.cat(pooled) @ head.linear.weight.T + head.linear.bias
    torch.testing.assert_close(model.logits(batch), expected, rtol=1e-4, atol=1e-4)


def test_saved_heads_come_back_and_others_are_refused(tmp_path: Path) -> None:
    model = headed("mean")
    save_heads(model.heads, tmp_path)
    _, batch = rows_of(5, 8, task="values")
    other = headed("mean")
    torch.nn.init.zeros_(next(other.heads.parameters()))
    load_heads(other.heads, tmp_path)
    assert torch.equal(other.logits(batch), model.logits(batch))
    with pytest.raises(ArtifactError, match="do not fit"):
        load_heads(headed("mean", num_outputs=4).heads, tmp_path)


@pytest.mark.parametrize("family", [*ENCODERS, *FAMILIES])
def test_the_states_of_every_layer_are_those_that_transformers_gives(family: str) -> None:
    register_attention()
    is_encoder = family in ENCODERS
    base = tiny_encoder(family) if is_encoder else tiny_model(family, attention="tenfold")
    rows, batch = rows_of(9, 1, 17)
    routes = (find_packing(base, CPU) if is_encoder else find_route(base, CPU), Route(packs=False))
    for route in routes:
        model = (Trunk if is_encoder else LanguageModel)(base, None, device=CPU, route=route)  # type: ignore[arg-type]
        found = model.layers(batch)
        assert len(found) == model.num_layers == base.config.num_hidden_layers + 1
        torch.testing.assert_close(found[-1], model.hidden(batch))
        for number, row in enumerate(rows):
            expected = base(input_ids=torch.tensor([row]), output_hidden_states=True).hidden_states
            for layer, states in enumerate(found):
                # fp32 on both sides, attention computed by another kernel
                own = states.split(batch.lengths)[number]
                torch.testing.assert_close(own, expected[layer][0], rtol=1e-4, atol=1e-4)


def test_a_weighted_mean_weighs_a_state_by_its_place() -> None:
    _, batch = rows_of(3, 1)
    states = torch.tensor([[1.0, 2.0], [4.0, 8.0], [7.0, 3.0], [5.0, 6.0]])
    expected = [[(1 + 2 * 4 + 3 * 7) / 6, (2 + 2 * 8 + 3 * 3) / 6], [5.0, 6.0]]
    torch.testing.assert_close(pool(states, batch, "weighted_mean"), torch.tensor(expected))
