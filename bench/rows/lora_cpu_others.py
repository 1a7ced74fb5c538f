"""LoRA on one core of a CPU, beside the trainers of LLaMA-Factory, LitGPT and torchtune."""

from __future__ import annotations

from dataclasses import replace

from bench.others import OthersRow, Peer
from bench.rows import lora_cpu

ROW = OthersRow(
    replace(lora_cpu.ROW, name="lora_cpu_others", title="LoRA on a CPU, other programs"),
    (
        Peer("llamafactory", "LLaMA-Factory", "a bf16 base under autocast, trained weights in fp32, as TRL has it."),
        Peer(
            "litgpt",
            "LitGPT",
            "all in bf16, the trained weights and AdamW's state too; it does not clip gradients, and always computes "
            "the output layer in pieces of 128 tokens of every row.",
        ),
        Peer("torchtune", "torchtune", "all in bf16, the trained weights and AdamW's state too."),
    ),
)
