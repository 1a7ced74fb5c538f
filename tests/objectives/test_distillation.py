"""The objective of distillation: a sum over supervised tokens, whatever is mixed into it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from torch.nn import functional

from tenfold.data.batch import Batch, SampledBatch, pack
from tenfold.kernels.linear_distillation import Mixture
from tenfold.models.attention import register_attention
from tenfold.models.language_model import LanguageModel, find_route
from tenfold.models.outputs import outputs
from tenfold.objectives.distillation import Distillation, HiddenMatch, Lesson
from tenfold.teaching.targets import LiveTeacher, Question
from tenfold.testing import check_objective
from tests.tiny_models import VOCABULARY, tiny_model

CPU = torch.device("cpu")


def model(*, seed: int = 0, **sizes: object) -> LanguageModel:
    register_attention()
    causal = tiny_model("llama", attention="tenfold", seed=seed, **sizes)
    return LanguageModel(causal, None, device=CPU, route=find_route(causal, CPU))


def batches() -> tuple[Batch, list[Batch]]:
    rows = [
        (number, list(range(3, 3 + length)), [place > 1 for place in range(length)])
        for number, length in enumerate((5, 9))
    ]
    return pack(rows), [pack([row]) for row in rows]


def teacher(*, blocks: tuple[int, ...] = (), k: int = 8) -> LiveTeacher:
    above = model(seed=3, num_hidden_layers=3, hidden_size=48, num_attention_heads=6)
    return LiveTeacher("sha", Question(k, 2.0, VOCABULARY), blocks, load=lambda: above)


@pytest.mark.parametrize("distance", ["cosine", "mse"])
@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl", "jsd"])
def test_it_is_a_sum_over_what_it_counts(divergence: str, distance: str) -> None:
    torch.manual_seed(0)
    projections = tuple(torch.nn.Linear(32, 48, bias=False) for _ in range(2))
    hidden = HiddenMatch(0.7, distance, (0, 1), projections)  # type: ignore[arg-type]
    mixture = Mixture(0.5, 2.0, divergence)  # type: ignore[arg-type]
    check_objective(Distillation(teacher(blocks=(0, 2)), mixture, hidden), model(), *batches())


def test_with_all_tokens_the_loss_is_hintons() -> None:
    whole, _ = batches()
    student, above = model(), teacher(k=VOCABULARY)
    found = Distillation(above, Mixture(0.25, 2.0, "forward_kl"))(student, whole).total
    logits, wanted = (
        torch.cat([each.base(input_ids=ids[None]).logits[0, 1:-1] for ids in whole.input_ids.split(whole.lengths)])
        for each in (student, above.load())
    )
    targets = whole.targets[whole.targets >= 0]
    divergence = functional.kl_div(
        torch.log_softmax(logits / 2, -1), torch.log_softmax(wanted / 2, -1), reduction="sum", log_target=True
    )
    expected = 0.75 * functional.cross_entropy(logits, targets, reduction="sum") + 0.25 * 4 * divergence
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)  # another attention kernel


def test_what_the_student_wrote_itself_has_no_cross_entropy() -> None:
    whole, _ = batches()
    sampled = SampledBatch(**vars(whole))
    half, whole_teacher = (Distillation(teacher(), Mixture(alpha, 1.0, "reverse_kl")) for alpha in (0.5, 1.0))
    assert torch.equal(half(model(), sampled).total, whole_teacher(model(), whole).total)
    assert isinstance(sampled.to(CPU), SampledBatch)


def test_hidden_states_are_compared_as_the_papers_do() -> None:
    whole, _ = batches()
    student = model()

    @dataclass(frozen=True)
    class Fixed:
        wanted: torch.Tensor = field(repr=False)

        def lesson(self, batch: Batch) -> Lesson:
            return Lesson(teacher().lesson(batch).tokens, (self.wanted,))

    states = outputs(student, whole, blocks=(1,)).blocks[0].detach()
    wanted = torch.randn(states.shape, generator=torch.Generator().manual_seed(1))
    mixture = Mixture(1.0, 1.0, "forward_kl")
    without = Distillation(teacher(), mixture)(student, whole).total
    for distance, expected in (
        ("mse", sum(functional.mse_loss(state, goal) for state, goal in zip(states, wanted, strict=True))),
        ("cosine", functional.cosine_embedding_loss(states, wanted, torch.ones(len(states)), reduction="sum")),
    ):
        match = HiddenMatch(3.0, distance, (1,))  # type: ignore[arg-type]
        found = Distillation(Fixed(wanted), mixture, match)(student, whole).total
        torch.testing.assert_close(found - without, 3.0 * expected, rtol=1e-4, atol=1e-4)
