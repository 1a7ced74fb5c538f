from __future__ import annotations

import pytest
from transformers import LlamaForCausalLM

from tests.evaluation.byte_model import PlainModel, make_network


@pytest.fixture
def network() -> LlamaForCausalLM:
    return make_network()


@pytest.fixture
def model(network: LlamaForCausalLM) -> PlainModel:
    return PlainModel(network)
