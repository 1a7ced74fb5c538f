"""The real SmolLM2-135M-Instruct, fetched from the package registry: what tiny random models cannot show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from tenfold.answering import predict_rows
from tenfold.models.sources import BUILTIN, resolve
from tenfold.recipe import ModelSection, Recipe, parse_recipe
from tenfold.running import run

pytestmark = pytest.mark.real_model
NAME = "smollm2-135m-instruct"


@pytest.fixture(scope="module")
def kept_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the module: the model is fetched and converted once."""
    return tmp_path_factory.mktemp("real") / "cache"


@pytest.fixture(autouse=True)
def use_kept_cache(kept_cache: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENFOLD_CACHE", str(kept_cache))


def household(tmp_path: Path, **optim: object) -> Recipe:
    return parse_recipe(
        {
            "model": {"name": NAME},
            "data": {"train": "sample:household", "max_length": 128},
            "optim": {"batch_size": 8, "max_updates": 8, "learning_rate": 1e-3, **optim},
            "evaluation": {"max_rows": 12, "retention": False},
            "output": str(tmp_path / "out"),
        }
    )


def test_the_built_in_model_is_converted_once_and_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    files = resolve(ModelSection(name=NAME))
    assert BUILTIN[NAME].sha256[:12] in files.folder.name
    assert files.num_parameters == 134_515_008
    monkeypatch.setattr("tenfold.models.sources._fetched", lambda *_: pytest.fail("fetched again"))
    assert resolve(ModelSection(name=NAME)) == files
    tokenizer = AutoTokenizer.from_pretrained(files.folder)
    model = AutoModelForCausalLM.from_pretrained(files.folder, dtype=torch.float32)
    ids = tokenizer("The capital of France is", return_tensors="pt")
    with torch.no_grad():
        best = model(**ids).logits[0, -1].argmax()
    assert tokenizer.decode(best) == " Paris"


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # plain PEFT's own
def test_a_short_run_learns_and_plain_peft_agrees(tmp_path: Path) -> None:
    artifact = run(household(tmp_path))
    loss = artifact.scorecard.change("main", "response_loss")
    assert loss is not None
    assert loss.is_better
    assert loss.test.difference.high < -1.0

    provenance = json.loads((artifact.folder / "provenance.json").read_text())
    assert provenance["route"]["packs"]
    assert provenance["route"]["splits_head"]
    base = AutoModelForCausalLM.from_pretrained(resolve(ModelSection(name=NAME)).folder, dtype=torch.float32)
    plain = PeftModel.from_pretrained(base, artifact.folder / "adapter").eval()
    tuned = artifact.load()
    tokenizer = AutoTokenizer.from_pretrained(artifact.folder / "adapter")
    prompt = "turn on the kitchen lamp"
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.no_grad():
        expected = plain(**ids).logits[0, -1].log_softmax(-1)
        found = tuned.network(**ids).logits[0, -1].float().log_softmax(-1)
    # trained and answered in bf16 where the machine has it: the distribution agrees, the last bits do not
    divergence = torch.sum(expected.exp() * (expected - found))
    assert divergence < 0.02
    (line,) = predict_rows(artifact.folder, prompts=[prompt], data=None, out=None, max_new_tokens=24, base=None)
    assert json.loads(line)["response"]
