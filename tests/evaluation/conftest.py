from __future__ import annotations

import pytest
from byte_model import PlainModel, make_network
from transformers import LlamaForCausalLM


@pytest.fixture
def network() -> LlamaForCausalLM:
    return make_network()


@pytest.fixture
def model(network: LlamaForCausalLM) -> PlainModel:
    return PlainModel(network)
