"""The losses of heads are torch's, summed over exactly what they count; cutting and padding change nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tenfold.data.batch import Batch, Entry, LabelForm, pack_labelled
from tenfold.models.heads import HeadSettings
from tenfold.models.language_model import LanguageModel, find_route
from tenfold.models.trunk import Route, Trunk, find_packing
from tenfold.objectives.labels import LabelBinaryCrossEntropy, LabelCrossEntropy, SpanCrossEntropy, SquaredError
from tenfold.objectives.objective import Objective
from tests.tiny_models import tiny_bert, tiny_model

CPU = torch.device("cpu")
LABELS: dict[LabelForm, list[tuple[float, ...]]] = {
    "class": [(float(n % 3),) for n in range(8)],
    "classes": [(float(n % 2), 1.0, float(n % 3 == 0)) for n in range(8)],
    "value": [(n / 4 - 1,) for n in range(8)],
    "tags": [tuple(float((n + t) % 3) if t % 2 else -100.0 for t in range(3 + n)) for n in range(8)],
    "span": [(1.0, float(1 + n % 3)) for n in range(8)],
}
OBJECTIVES: dict[LabelForm, Objective] = {
    "class": LabelCrossEntropy(class_weights=(0.5, 2.0, 1.0), label_smoothing=0.1),
    "classes": LabelBinaryCrossEntropy(),
    "value": SquaredError(),
    "tags": LabelCrossEntropy(),
    "span": SpanCrossEntropy(),
}
OUTPUTS = {"value": 1, "span": 2}


def entries(form: LabelForm) -> list[Entry]:
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randint(4, 90, (3 + n,), generator=generator).tolist() for n in range(8)]
    return [Entry(n, row, [False] * len(row), LABELS[form][n]) for n, row in enumerate(rows)]


def model_for(form: LabelForm, family: str, *, packs: bool = True) -> Trunk:
    torch.manual_seed(0)
    if family == "bert":
        base = tiny_bert(vocab_size=96)
        model = Trunk(base, None, device=CPU, route=find_packing(base, CPU))
    else:
        base = tiny_model(family)
        model = LanguageModel(base, None, device=CPU, route=find_route(base, CPU))
    if not packs:
        model.route = Route(packs=False)
    torch.manual_seed(3)
    model.add_head("main", HeadSettings(OUTPUTS.get(form, 3), "none" if form in ("tags", "span") else "last"))
    return model


def loss_and_gradient(model: Trunk, form: LabelForm, batches: list[Batch]) -> tuple[float, Tensor]:
    objective = OBJECTIVES[form]
    weight = sum(objective.weight(batch) for batch in batches)
    total = sum(float(loss) for loss in map(lambda batch: _backward(objective, model, batch, weight), batches))
    gradient = torch.cat([p.grad.flatten() for p in model.base.parameters() if p.grad is not None])
    return total, gradient


def _backward(objective: Objective, model: Trunk, batch: Batch, weight: int) -> float:
    loss = objective(model, batch).total / weight
    loss.backward()
    return float(loss.detach())


@pytest.mark.parametrize("family", ["bert", "llama"])
@pytest.mark.parametrize("form", LABELS)
def test_one_batch_of_eight_equals_eight_of_one_and_packed_equals_padded(form: LabelForm, family: str) -> None:
    rows = entries(form)
    whole = loss_and_gradient(model_for(form, family), form, [pack_labelled(rows, form=form)])
    cut = loss_and_gradient(model_for(form, family), form, [pack_labelled([row], form=form) for row in rows])
    padded = loss_and_gradient(model_for(form, family, packs=False), form, [pack_labelled(rows, form=form)])
    for loss, gradient in (cut, padded):
        assert loss == pytest.approx(whole[0], rel=1e-5)  # sums in another order, in fp32
        torch.testing.assert_close(gradient, whole[1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("form", LABELS)
def test_the_loss_is_torchs_mean_over_what_is_counted(form: LabelForm) -> None:
    model, rows = model_for(form, "bert"), entries(form)
    batch = pack_labelled(rows, form=form)
    objective = OBJECTIVES[form]
    with torch.no_grad():
        logits, found = model.logits(batch), objective(model, batch).total / objective.weight(batch)
        assert batch.labels is not None
        if form == "class":
            each = functional.cross_entropy(
                logits, batch.labels, weight=torch.tensor([0.5, 2.0, 1.0]), label_smoothing=0.1, reduction="none"
            )
            expected = each.mean()
        elif form == "tags":
            expected = functional.cross_entropy(logits, batch.labels)
        elif form == "classes":
            expected = functional.binary_cross_entropy_with_logits(logits, batch.labels)
        elif form == "value":
            expected = functional.mse_loss(logits[:, 0], batch.labels)
        else:
            parts = logits.split(batch.lengths)
            expected = torch.stack(
                [
                    -torch.log_softmax(part[:, side], 0)[ends[side]]
                    for part, ends in zip(parts, batch.labels.tolist(), strict=True)
                    for side in (0, 1)
                ]
            ).sum() / len(rows)
    torch.testing.assert_close(found, expected)


def test_rows_without_a_label_count_nothing() -> None:
    rows = [Entry(0, [5, 6, 7], [False] * 3, (-100.0, -100.0)), Entry(1, [8, 9], [False] * 2, (0.0, 1.0))]
    model, objective = model_for("span", "bert"), SpanCrossEntropy()
    both, one = pack_labelled(rows, form="span"), pack_labelled(rows[1:], form="span")
    assert objective.weight(both) == objective.weight(one) == 1
    torch.testing.assert_close(objective(model, both).total, objective(model, one).total)
