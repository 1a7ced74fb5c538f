"""Features are the model's own hidden states, pooled; kept in chunks, they are the same as read fresh."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tenfold.data.prepare import Prepared
from tenfold.engine.log import Log
from tenfold.errors import Interrupted, ModelError
from tenfold.features import extract
from tenfold.features.extract import Extraction, batches_of
from tenfold.features.views import View, parts_of, settled
from tenfold.models.language_model import LanguageModel
from tests.features.conftest import extraction

VIEWS = (
    View((-1,), "mean"),
    View((1,), "last"),
    View((0, -1), "first"),
    View(("average",), "weighted_mean"),
)


def by_hand(model: LanguageModel, prepared: Prepared, view: View) -> torch.Tensor:
    """Return the view of every row as transformers gives it, one row at a time."""
    rows = []
    for entry in prepared.entries(range(len(prepared))):
        with torch.no_grad():
            output = model.base(input_ids=torch.tensor([entry.input_ids]), output_hidden_states=True)
        states = torch.stack([layer[0] for layer in output.hidden_states])
        weights = torch.arange(1, states.shape[1] + 1, dtype=torch.float32)
        pooled = {
            "first": states[:, 0],
            "last": states[:, -1],
            "mean": states.mean(1),
            "weighted_mean": (states * weights[:, None]).sum(1) / weights.sum(),
        }[view.pooling]
        rows.append(torch.cat([pooled.mean(0) if layer == "average" else pooled[layer] for layer in view.layers]))
    return torch.stack(rows)


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_features_are_transformers_own_hidden_states_pooled(
    view: View, decoder: LanguageModel, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract, "ROWS_PER_CHUNK", 10)
    (own,) = settled([view], decoder.num_layers)
    found = extraction(decoder).of(prepared, own.parts).matrix(own)
    # fp32 on both sides; packed attention sums in another order
    torch.testing.assert_close(torch.from_numpy(found), by_hand(decoder, prepared, view), rtol=1e-4, atol=1e-4)


def test_kept_features_are_those_read_fresh_and_the_model_is_not_asked_again(
    decoder: LanguageModel, prepared: Prepared
) -> None:
    views = settled(VIEWS, decoder.num_layers)
    fresh = extraction(decoder).of(prepared, parts_of(views))

    def no_model() -> LanguageModel:
        raise AssertionError("the model was asked")

    kept = Extraction(no_model, "tiny", 128, Log(None)).of(prepared, parts_of(views))
    assert kept.seconds == fresh.seconds > 0
    for view in views:
        assert (kept.matrix(view) == fresh.matrix(view)).all()
    with pytest.raises(AssertionError, match="the model was asked"):
        Extraction(no_model, "another model", 128, Log(None)).of(prepared, parts_of(views))


def test_a_new_layer_is_read_without_those_that_are_there(
    decoder: LanguageModel, prepared: Prepared, cache: Path
) -> None:
    first, second = settled(VIEWS[:2], decoder.num_layers)
    extraction(decoder).of(prepared, first.parts)
    (folder,) = (cache / "features").iterdir()
    written = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    extraction(decoder).of(prepared, (*first.parts, *second.parts))
    assert len(list((cache / "features").iterdir())) == 2
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == written


def test_interrupted_reading_goes_on_where_it_stopped(
    decoder: LanguageModel, prepared: Prepared, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    monkeypatch.setattr(extract, "ROWS_PER_CHUNK", 10)
    (view,) = settled(VIEWS[:1], decoder.num_layers)
    asked = iter([False, True])
    with pytest.raises(Interrupted, match="features were read"):
        extraction(decoder, stop_asked=lambda: next(asked)).of(prepared, view.parts)
    files = sorted((cache / "features").rglob("*.safetensors"))
    assert [path.name for path in files] == ["00000.safetensors"]
    written = files[0].stat().st_mtime_ns
    found = extraction(decoder).of(prepared, view.parts).matrix(view)
    assert files[0].stat().st_mtime_ns == written, "the first chunk was not read again"
    torch.testing.assert_close(torch.from_numpy(found), by_hand(decoder, prepared, VIEWS[0]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("damage", ["cut", "changed", "no hash"])
def test_a_damaged_chunk_is_read_again(damage: str, decoder: LanguageModel, prepared: Prepared, cache: Path) -> None:
    (view,) = settled(VIEWS[:1], decoder.num_layers)
    whole = extraction(decoder).of(prepared, view.parts).matrix(view)
    (path,) = (cache / "features").rglob("*.safetensors")
    content = path.read_bytes()
    if damage == "no hash":
        path.with_suffix(".json").unlink()
    else:
        path.write_bytes(content[:100] if damage == "cut" else content[:-1] + bytes([content[-1] ^ 1]))
    assert (extraction(decoder).of(prepared, view.parts).matrix(view) == whole).all()
    assert path.read_bytes() == content


def test_batches_hold_every_row_once_and_no_more_tokens_than_asked() -> None:
    lengths = [7, 300, 3, 60, 61, 5, 128]
    batches = list(batches_of(lengths, tokens=128))
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or sum(lengths[place] for place in batch) <= 128 for batch in batches)


def test_a_layer_that_the_model_does_not_have_is_refused() -> None:
    with pytest.raises(ModelError, match="no layer 3") as caught:
        settled([View((3,), "mean"), View((-4,), "mean"), View(("average", -3), "last")], 3)
    assert len(caught.value.problems) == 2 and "-3 to 2" in str(caught.value)
    assert settled([View((-1, 0), "mean"), View((2, 0), "mean")], 3) == (View((2, 0), "mean"),)


def test_chosen_rows_are_taken(decoder: LanguageModel, prepared: Prepared) -> None:
    (view,) = settled(VIEWS[:1], decoder.num_layers)
    features = extraction(decoder).of(prepared, view.parts)
    assert (features.take([5, 2]).matrix(view) == features.matrix(view)[[5, 2]]).all()
    few = prepared.select([5, 2])
    assert few.entries([0, 1])[0].input_ids == prepared.entries([5])[0].input_ids
    assert few.origin(1) == prepared.origin(2) and few.fingerprint != prepared.fingerprint
    assert few.column("length").tolist() == prepared.column("length")[[5, 2]].tolist()
