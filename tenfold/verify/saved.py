"""Does the tuned model stay the same one? Saved and reloaded, merged into its base, opened by plain transformers."""

from __future__ import annotations

from tenfold.errors import ModelError
from tenfold.tuning.merging import can_merge
from tenfold.tuning.tuner import make_tuner
from tenfold.verify.exported import plain_losses
from tenfold.verify.finding import Compared, Difference, Skipped
from tenfold.verify.gradients import plain_forward
from tenfold.verify.measure import REASON, Values, row_values, values_apart
from tenfold.verify.specimen import Specimen, Tuned


def reloaded(specimen: Specimen) -> Compared | Skipped:
    """Compare what the model in memory says of rows with what it says once saved and loaded again."""
    tuned = specimen.tuned
    return _compared(f"{tuned.kind} in memory, from disk", tuned, tuned.reloaded, tuned.expected)


def merged(specimen: Specimen) -> Compared | Skipped:
    """Compare the saved adapter beside its base with the one model that both are merged into."""
    tuned, settings = specimen.tuned, specimen.world.recipe.tuner
    if tuned.kind != "adapter":
        return Skipped(f"what is saved is {_article(tuned.kind)}: there is no adapter to merge")
    if not can_merge(settings):
        return Skipped(f"{settings.kind} is no change of weights, so nothing can be merged")
    model = tuned.load()
    try:
        model.rebase(make_tuner(settings).merge(model.network))
    except ModelError as error:
        return Skipped(error.problems[0].found)
    model.eval()
    return _compared("adapter, merged model", tuned, row_values(model, tuned.rows), tuned.reloaded)


def exported(specimen: Specimen) -> Compared | Skipped:
    """Compare the saved files as opened here with the same files opened by plain transformers and PEFT."""
    tuned, world = specimen.tuned, specimen.world
    tuner = make_tuner(world.recipe.tuner)
    if world.family not in ("decoder", "encoder_decoder") or any(row.labels is not None for row in tuned.rows):
        return Skipped("only answers in text are compared: heads are files of our own, sound is read by us")
    if tuner.quantization is not None:
        return Skipped("plain transformers would open the base unquantised, which is another model")
    if tuned.kind == "adapter" and not tuner.saves_peft:
        return Skipped(f"PEFT has no {tuner.name}: its files are of our own format")
    base = world.files.folder if tuned.kind == "adapter" else None
    found = plain_losses(tuned.weights, tuned.rows, family=world.family, base=base)
    model = tuned.load()
    with plain_forward(model):  # the files are compared, not the kernels
        own = row_values(model, tuned.rows)
    return _compared("files by Tenfold, by transformers and PEFT", tuned, found, own)


def _compared(what: str, tuned: Tuned, found: Values, expected: Values) -> Compared:
    apart = Difference("values", values_apart(found, expected), tuned.tolerance)
    return Compared(what, (apart,), REASON)


def _article(kind: str) -> str:
    return {"model": "a whole model", "heads": "heads alone", "estimators": "estimators"}.get(kind, kind)
