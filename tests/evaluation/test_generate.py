from __future__ import annotations

import threading
from typing import Any

import peft
import pytest
import torch
from torch import nn
from transformers import LlamaForCausalLM

from tenfold.evaluation.generate import batches_by_length, greedy_answers, stream
from tenfold.models.generate import Sampling, continue_prompts, end_token_ids, evaluating, until_end
from tests.evaluation.byte_model import END, ByteTokenizer, make_network

PROMPTS = [[7, 3, 9], list(range(40, 60)), [120], [88, 2, 3, 4, 5, 6], list(range(12)), [9, 9]]
STOPS = (257,)
ENDS = (END, *STOPS)


def generate(*arguments: Any, **settings: Any) -> list[str]:
    return [answer.text for answer in greedy_answers(*arguments, **settings)]


@torch.no_grad()
def plain_greedy(network: nn.Module, prompt: list[int], max_new_tokens: int) -> list[int]:
    """One prompt, no cache, no padding."""
    tokens = list(prompt)
    for _ in range(max_new_tokens):
        best = int(network(input_ids=torch.tensor([tokens]), use_cache=False).logits[0, -1].argmax())
        if best in ENDS:
            break
        tokens.append(best)
    return tokens[len(prompt) :]


def text(tokens: list[int]) -> str:
    decoded = ByteTokenizer().decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return decoded.strip()


def plain_answers(network: nn.Module, max_new_tokens: int) -> list[str]:
    return [text(plain_greedy(network, prompt, max_new_tokens)) for prompt in PROMPTS]


@pytest.mark.parametrize("batch_tokens", [1, 60, 10_000])
def test_batches_answer_as_each_prompt_alone_without_a_cache(network: LlamaForCausalLM, batch_tokens: int) -> None:
    answers = generate(network, ByteTokenizer(), PROMPTS, stop_ids=STOPS, max_new_tokens=9, batch_tokens=batch_tokens)
    assert answers == plain_answers(network, 9)
    assert len(set(answers)) > 3, "the tiny model answers each prompt in its own way"


def test_answers_stop_at_the_end_of_turn(network: LlamaForCausalLM) -> None:
    # make the second answer's third token an end: that row must stop there, the others must not
    tokens = plain_greedy(network, PROMPTS[1], 9)
    network.generation_config.eos_token_id = [END, tokens[2]]
    cut = tokens.index(tokens[2])
    answers = generate(network, ByteTokenizer(), PROMPTS, stop_ids=STOPS, max_new_tokens=9)
    assert answers[1] == text(tokens[:cut])
    assert max(len(answer) for answer in answers) > len(answers[1])


def test_answers_stop_at_the_ids_that_the_caller_names(network: LlamaForCausalLM) -> None:
    tokens = plain_greedy(network, PROMPTS[1], 9)
    cut = tokens.index(tokens[2])
    stops = (*STOPS, tokens[2])
    assert generate(network, ByteTokenizer(), PROMPTS, stop_ids=stops, max_new_tokens=9)[1] == text(tokens[:cut])
    pieces = stream(network, ByteTokenizer(), PROMPTS[1], stop_ids=stops, max_new_tokens=9)
    assert "".join(pieces).strip() == text(tokens[:cut])


def test_end_tokens_come_from_the_network_the_tokenizer_and_the_caller(
    network: LlamaForCausalLM,
) -> None:
    network.generation_config.eos_token_id = [5, 6]
    assert end_token_ids(network, ByteTokenizer(), {6, 257}) == (5, 6, END, 257)
    network.generation_config.eos_token_id = None
    assert end_token_ids(network, ByteTokenizer(), ()) == (END,)
    assert until_end([1, 2, 257, 3], (END, 257)) == [1, 2]


def test_the_models_own_generation_settings_change_nothing_and_nothing_is_said(
    network: LlamaForCausalLM, caplog: pytest.LogCaptureFixture
) -> None:
    expected = plain_answers(network, 9)
    own = network.generation_config
    own.do_sample, own.temperature, own.top_p, own.top_k = True, 3.0, 0.5, 5
    own.repetition_penalty, own.no_repeat_ngram_size, own.min_new_tokens, own.num_beams = 5.0, 1, 8, 3
    network.config.use_cache = False
    assert generate(network, ByteTokenizer(), PROMPTS, stop_ids=STOPS, max_new_tokens=9) == expected
    assert caplog.records == []
    own.max_length = 4
    assert generate(network, ByteTokenizer(), PROMPTS, stop_ids=STOPS, max_new_tokens=9) == expected


def test_dropout_is_off_while_generating_and_every_module_gets_its_mode_back(
    network: LlamaForCausalLM,
) -> None:
    expected = plain_answers(network, 9)
    network.train()
    network.model.layers[0].eval()
    modes = [module.training for module in network.modules()]
    assert generate(network, ByteTokenizer(), PROMPTS, stop_ids=STOPS, max_new_tokens=9) == expected
    assert [module.training for module in network.modules()] == modes
    with pytest.raises(RuntimeError, match="stop"), evaluating(network):
        raise RuntimeError("stop")
    assert [module.training for module in network.modules()] == modes


def test_training_goes_on_after_generating(network: LlamaForCausalLM) -> None:
    generate(network, ByteTokenizer(), PROMPTS, stop_ids=STOPS, max_new_tokens=3)
    network(input_ids=torch.tensor([[1, 2, 3]]), labels=torch.tensor([[1, 2, 3]])).loss.backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


# peft 0.21 asks transformers 5.23 for a name that is on its way out
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize(
    "config",
    [
        peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj", "v_proj"], init_lora_weights=False),
        peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
        peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
    ],
    ids=lambda config: config.peft_type.value,
)
def test_peft_networks_answer_in_batches_as_alone(config: peft.PeftConfig) -> None:
    torch.manual_seed(1)
    network = peft.get_peft_model(make_network(), config).eval()
    for name, parameter in network.named_parameters():
        if "prompt" in name:
            nn.init.normal_(parameter)
    alone = [generate(network, ByteTokenizer(), [prompt], stop_ids=STOPS, max_new_tokens=7)[0] for prompt in PROMPTS]
    assert generate(network, ByteTokenizer(), PROMPTS, stop_ids=STOPS, max_new_tokens=7) == alone
    assert alone == plain_answers(network, 7)
    assert alone != plain_answers(make_network(), 7), "the adapter changes the answers"
    assert "".join(stream(network, ByteTokenizer(), PROMPTS[1], stop_ids=STOPS, max_new_tokens=7)).strip() == alone[1]


def test_a_prompt_near_the_models_limit_shortens_its_own_answer_only(network: LlamaForCausalLM) -> None:
    near = [5] * (network.config.max_position_embeddings - 4)
    rows = continue_prompts(network, [PROMPTS[0], near, PROMPTS[5]], max_new_tokens=20, end_ids=[])
    assert [len(row) for row in rows] == [20, 4, 20]
    for row, prompt in zip(rows, (PROMPTS[0], near, PROMPTS[5]), strict=True):
        assert [row] == continue_prompts(network, [prompt], max_new_tokens=20, end_ids=[])


def test_an_answer_knows_whether_it_was_cut(network: LlamaForCausalLM) -> None:
    tokens = plain_greedy(network, PROMPTS[1], 9)
    network.generation_config.eos_token_id = [END, tokens[2]]
    length = tokens.index(tokens[2])
    near = [5] * (network.config.max_position_embeddings - 4)

    def cut(limit: int) -> list[bool]:
        answers = greedy_answers(
            network, ByteTokenizer(), [PROMPTS[1], near], stop_ids=[tokens[2]], max_new_tokens=limit
        )
        return [answer.is_cut for answer in answers]

    assert cut(length) == [True, True], "no room even for the end"
    assert cut(length + 1)[0] is False
    network.generation_config.eos_token_id = END
    answers = greedy_answers(network, ByteTokenizer(), [near], stop_ids=(), max_new_tokens=50)
    assert answers[0].is_cut, "the model's own limit cuts too"


def test_batches_keep_to_the_budget_and_hold_every_prompt_once() -> None:
    lengths = [5, 100, 7, 60, 60, 1, 300]
    batches = batches_by_length(lengths, 40, 250)
    assert sorted(index for batch in batches for index in batch) == list(range(7))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * (max(lengths[index] for index in batch) + 40) <= 250
    assert batches[0] == [6], "the longest comes first, alone since it is over the budget"
    assert batches_by_length([], 40, 250) == []
    assert batches_by_length([5, 7, 5, 6], 1, 1000, longest_gap=1) == [[1, 3], [0, 2]]


def test_the_stream_is_the_answer_in_pieces(network: LlamaForCausalLM) -> None:
    network.train()
    pieces = list(stream(network, ByteTokenizer(), PROMPTS[3], stop_ids=STOPS, max_new_tokens=9))
    network.eval()
    assert "".join(pieces).strip() == plain_answers(network, 9)[3]
    assert len(pieces) > 2
    assert "" not in pieces


def test_a_letter_of_several_bytes_comes_whole(network: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = list("aü→b".encode())
    monkeypatch.setattr("tenfold.evaluation.generate.stream_tokens", lambda *_, **__: iter([*tokens, 0xFF]))
    assert list(stream(network, ByteTokenizer(), [1], stop_ids=STOPS, max_new_tokens=9)) == [
        "a",
        "ü",
        "→",
        "b",
        "\ufffd",
    ]


def test_sampling_is_seeded_and_leaves_the_random_state_alone(network: LlamaForCausalLM) -> None:
    def answer(**options: float) -> str:
        sampling = Sampling(**options)  # type: ignore[arg-type]
        return "".join(
            stream(network, ByteTokenizer(), [7, 3, 9], stop_ids=STOPS, max_new_tokens=12, sampling=sampling)
        )

    state = torch.get_rng_state()
    assert answer(temperature=2.0, seed=1) == answer(temperature=2.0, seed=1)
    assert len({answer(temperature=2.0, seed=seed) for seed in range(4)}) > 1
    assert torch.equal(torch.get_rng_state(), state)
    greedy = answer(temperature=0.0)
    assert answer(temperature=2.0, top_p=1e-6, seed=5) == greedy  # only the likeliest token is left


def test_leaving_the_stream_early_ends_its_thread(network: LlamaForCausalLM) -> None:
    pieces = stream(network, ByteTokenizer(), PROMPTS[3], stop_ids=STOPS, max_new_tokens=200)
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    assert "generate" not in [thread.name for thread in threading.enumerate()]


def test_what_fails_in_the_stream_is_raised_where_it_is_read(network: LlamaForCausalLM) -> None:
    with pytest.raises(IndexError):
        list(stream(network, ByteTokenizer(), [100_000], stop_ids=STOPS, max_new_tokens=3))


def test_drawn_answers_follow_from_the_seed_alone_and_disturb_no_random_state() -> None:
    network = make_network()

    def drawn(seed: int) -> list[list[int]]:
        sampling = Sampling(temperature=1.0, seed=seed)
        return continue_prompts(network, PROMPTS, max_new_tokens=12, end_ids=[], sampling=sampling)

    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = drawn(5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert drawn(5) == first
    assert drawn(6) != first
    assert first != continue_prompts(network, PROMPTS, max_new_tokens=12, end_ids=[])
