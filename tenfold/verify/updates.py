"""Does training come out the same again? Interrupted and resumed, with the same seed, and with nothing else moved."""

from __future__ import annotations

from collections.abc import Mapping

from tenfold.verify.finding import Compared, Difference
from tenfold.verify.specimen import UPDATES, Opened, Specimen
from tenfold.verify.training import Trained, train, weights

STOP_AFTER = UPDATES // 2
"""Updates before the interruption."""

SAME_BITS = "none, the same sums in the same order"
"""Why there is no tolerance: on one machine, nothing is computed otherwise."""


def resumed(specimen: Specimen) -> Compared:
    """Compare a straight run with one that is stopped, loaded anew from its checkpoint, and taken to the end."""
    _, straight = specimen.trained
    folder, seed = specimen.folder / "interrupted", specimen.runtime.seed
    first = specimen.open()
    begun = train(first.model, first.stage, seed=seed, folder=folder, stop_after=STOP_AFTER)
    assert len(begun.losses) < first.stage.total_updates, "it was stopped on the way"
    del first
    second = specimen.open()
    ended = train(second.model, second.stage, seed=seed, folder=folder)
    what = f"{UPDATES} updates, {STOP_AFTER} + {UPDATES - STOP_AFTER} from a checkpoint"
    losses = {**begun.losses, **ended.losses}
    return _compared(what, specimen, straight, Trained(begun.before, ended.after, losses))


def repeated(specimen: Specimen) -> Compared:
    """Compare a run with another one of the same seed."""
    _, straight = specimen.trained
    opened = specimen.open()
    again = train(opened.model, opened.stage, seed=specimen.runtime.seed, folder=specimen.folder / "again")
    return _compared(f"{UPDATES} updates, twice", specimen, straight, again)


def _compared(what: str, specimen: Specimen, straight: Trained, other: Trained) -> Compared:
    losses = Difference("losses", _losses_apart(straight.losses, other.losses), 0.0)
    if not specimen.is_cpu:
        limit = UPDATES * specimen.allowed_in_own_precision.loss  # each update adds its own rounding
        why = "what rounding may change in each update, since a GPU adds in no fixed order"
        return Compared(what, (Difference(losses.name, losses.deviation, limit),), why)
    changed = _changed(straight.after, other.after)
    note = f"{len(changed)} of {len(straight.after)} tensors differ, such as {changed[0]}" if changed else ""
    return Compared(what, (Difference("tensors that differ", len(changed)), losses), SAME_BITS, note)


def _losses_apart(losses: Mapping[int, float], others: Mapping[int, float]) -> float:
    if losses.keys() != others.keys():
        return float("inf")
    return max(abs(others[update] - loss) / abs(loss) for update, loss in losses.items())


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def moved(specimen: Specimen) -> Compared:
    """Compare the hash of every weight before training with that after it: exactly what trains may differ."""
    opened, straight = specimen.trained
    trainable = _trainable_names(opened)
    changed = set(_changed(straight.before, straight.after))
    stray = sorted(changed - trainable)
    still = sorted(trainable - changed)
    notes = [f"moved though frozen: {', '.join(stray[:2])}"] if stray else []
    if still:
        notes.append(f"{len(still)} that train stayed as they were, such as {still[0]}")
    differences = (
        Difference("frozen that moved", len(stray)),
        Difference("nothing moved", float(not changed)),
    )
    what = f"{len(straight.before)} tensors, {len(trainable)} of which train"
    return Compared(what, differences, "none, by hash", "; ".join(notes))


def _trainable_names(opened: Opened) -> set[str]:
    ids = {id(parameter) for parameter in opened.stage.trainable(opened.model).values()}
    return {name for name, value in weights(opened.model, opened.stage).items() if id(value) in ids}
