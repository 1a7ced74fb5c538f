"""The loss of a student that answers with labels, against figures worked out by hand and against torch's own losses."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tenfold.data.batch import Batch, Entry, LabelForm, pack_labelled
from tenfold.kernels.linear_distillation import Divergence, Mixture
from tenfold.models.heads import HeadSettings
from tenfold.models.trunk import Route, Trunk
from tenfold.objectives.label_distillation import LabelDistillation, TaughtForm, divergence
from tenfold.objectives.labels import LabelBinaryCrossEntropy, LabelCrossEntropy, SquaredError, WholeRowLoss
from tenfold.testing import check_objective
from tests.tiny_models import tiny_bert

MIXTURE = Mixture(alpha=0.25, temperature=2.0, divergence="forward_kl")


@dataclass(frozen=True)
class Told:
    """A teacher that says what it was given, row by row."""

    rows: tuple[tuple[float, ...], ...]

    def logits(self, batch: Batch) -> Tensor:
        return torch.tensor([self.rows[row] for row in batch.rows])


class Fixed(Trunk):
    """A model that answers every batch by the same logits."""

    def __init__(self, answers: Tensor) -> None:
        super().__init__(tiny_bert(vocab_size=8), None, device=torch.device("cpu"), route=Route(packs=False))  # type: ignore[arg-type]
        self.answers = answers

    def logits(self, batch: Batch) -> Tensor:
        return self.answers


def labelled(*labels: tuple[float, ...], form: LabelForm) -> Batch:
    rows = [Entry(number, [1, 2 + number, 3], [False] * 3, label) for number, label in enumerate(labels)]
    return pack_labelled(rows, form=form)


def test_of_one_label_it_is_the_formula_worked_out_by_hand() -> None:
    student, teacher = [2.0, 0.0], [0.0, 4.0]
    # softened by T = 2 the student says e/(e + 1) for the first, the teacher 1/(1 + e²)
    p, q = math.e / (math.e + 1), 1 / (1 + math.e**2)
    kl = q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p))
    hard = math.log(1 + math.exp(-2.0))
    objective = LabelDistillation(Told((tuple(teacher),)), LabelCrossEntropy(), "class", MIXTURE)
    found = objective(Fixed(torch.tensor([student])), labelled((0.0,), form="class")).total
    assert found.item() == pytest.approx(0.75 * hard + 0.25 * 4 * kl, rel=1e-6)


def test_of_several_labels_each_is_a_question_of_its_own() -> None:
    student, teacher = torch.tensor([[1.0, -2.0]]), torch.tensor([[3.0, 0.5]])
    soft = 0.0
    for mine, theirs in zip(student[0].tolist(), teacher[0].tolist(), strict=True):
        p, q = (1 / (1 + math.exp(-each / 2)) for each in (mine, theirs))
        soft += q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p))
    hard = math.log(1 + math.exp(-1.0)) + math.log(1 + math.exp(-2.0))
    objective = LabelDistillation(Told((tuple(teacher[0].tolist()),)), LabelBinaryCrossEntropy(), "classes", MIXTURE)
    batch = labelled((1.0, 0.0), form="classes")
    assert objective(Fixed(student), batch).total.item() == pytest.approx(0.75 * hard + 0.25 * 4 * soft, rel=1e-6)
    assert objective.weight(batch) == 2


def test_of_numbers_it_is_the_distance_to_the_row_and_to_the_teacher() -> None:
    objective = LabelDistillation(Told(((0.5,), (-1.0,))), SquaredError(), "value", MIXTURE)
    found = objective(Fixed(torch.tensor([[1.0], [2.0]])), labelled((3.0,), (2.5,), form="value")).total
    hard, soft = (1.0 - 3.0) ** 2 + (2.0 - 2.5) ** 2, (1.0 - 0.5) ** 2 + (2.0 + 1.0) ** 2
    assert found.item() == pytest.approx(0.75 * hard + 0.25 * soft)  # no T²: a number is not softened


@pytest.mark.parametrize("form", ["class", "classes", "value"])
@pytest.mark.parametrize("kind", ["forward_kl", "reverse_kl", "jsd"])
def test_a_student_that_says_what_its_teacher_says_pays_nothing_and_gets_no_gradient(
    form: TaughtForm, kind: Divergence
) -> None:
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found = divergence(logits, logits.detach().clone(), form, replace(MIXTURE, divergence=kind))
    found.backward()  # type: ignore[no-untyped-call]
    # sums of a few products in fp32
    assert abs(found.item()) < 1e-5 and logits.grad is not None and float(logits.grad.abs().max()) < 1e-5


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_torch_has_the_same_divergence_with_the_teacher_as_the_target(temperature: float) -> None:
    generator = torch.Generator().manual_seed(1)
    student, teacher = (torch.randn(6, 5, generator=generator) for _ in range(2))
    logs, target = ((each / temperature).log_softmax(-1) for each in (student, teacher))
    wanted = temperature**2 * functional.kl_div(logs, target, reduction="sum", log_target=True)
    mixture = replace(MIXTURE, temperature=temperature)
    torch.testing.assert_close(divergence(student, teacher, "class", mixture), wanted)
    turned = divergence(teacher, student, "class", replace(mixture, divergence="reverse_kl"))
    torch.testing.assert_close(turned, wanted)


def test_with_alpha_1_labels_play_no_part_and_with_a_little_less_they_do() -> None:
    model, told = Fixed(torch.tensor([[1.0, -1.0]])), Told(((0.0, 1.0),))
    totals = []
    for alpha in (1.0, 0.9):
        objective = LabelDistillation(told, LabelCrossEntropy(), "class", replace(MIXTURE, alpha=alpha))
        totals.append([objective(model, labelled((label,), form="class")).total.item() for label in (0.0, 1.0)])
    assert totals[0][0] == totals[0][1] and totals[1][0] != totals[1][1]


OWN: dict[TaughtForm, tuple[WholeRowLoss, list[tuple[float, ...]], int]] = {
    "class": (LabelCrossEntropy(class_weights=(1.0, 2.0, 0.5), label_smoothing=0.1), [(0.0,), (2.0,)], 3),
    "classes": (LabelBinaryCrossEntropy(), [(0.0, 1.0, 1.0), (1.0, 0.0, 0.0)], 3),
    "value": (SquaredError(), [(0.5,), (-1.5,)], 1),
}


@pytest.mark.parametrize("form", OWN)
def test_it_keeps_the_promises_of_every_objective(form: TaughtForm) -> None:
    own, labels, num_outputs = OWN[form]
    model = Trunk(tiny_bert(vocab_size=8), None, device=torch.device("cpu"), route=Route(packs=False))  # type: ignore[arg-type]
    torch.manual_seed(0)
    model.add_head("main", HeadSettings(num_outputs, pooling="mean"))
    told = Told(tuple(tuple(float(place - number) for place in range(num_outputs)) for number in range(2)))
    entries = [Entry(row, [1, 2 + row, 3], [False] * 3, label) for row, label in enumerate(labels)]
    parts = [pack_labelled([entry], form=form) for entry in entries]
    check_objective(LabelDistillation(told, own, form, MIXTURE), model, pack_labelled(entries, form=form), parts)
