"""Training on a GPU, beside TRL with Liger's kernels and beside Unsloth: LoRA, QLoRA and all weights, 1B and 8B."""

from __future__ import annotations

from bench.accelerated import GpuRow

_LORA = {"kind": "lora", "rank": 16, "alpha": 32}
_QLORA = {"kind": "qlora", "rank": 16, "alpha": 32}
_TRL = {"bf16": True, "use_liger_kernel": True, "padding_free": False, "dataloader_pin_memory": True}
"""Rows are of about one length, so there is hardly any padding to be free of."""
_PLAIN = {"trl": {**_TRL, "gradient_checkpointing": False}, "unsloth": {"bf16": True}}
_CHECKPOINTED = {"trl": {**_TRL, "gradient_checkpointing": True}, "unsloth": {"bf16": True}}
_FULL_1B = {name: {**settings, "dtype": "float32"} for name, settings in _PLAIN.items()}
"""In fp32, as Tenfold holds trained weights."""
_FULL_8B = {name: {**settings, "dtype": "bfloat16", "optim": "adamw_8bit"} for name, settings in _CHECKPOINTED.items()}
"""Weights and gradients of 8B in fp32 are more than a card of 80 GB holds, so the peers round their updates to bf16."""
_SAVING = {"optimizer": "adamw_8bit", "in_backward": True, "max_gradient_norm": None}
_FULL = {"kind": "full"}

ROWS = (
    GpuRow("gpu_lora_1b", "LoRA on a GPU, 1B", "1B", _LORA, 2e-4, 4, _PLAIN),
    GpuRow("gpu_lora_8b", "LoRA on a GPU, 8B", "8B", _LORA, 2e-4, 4, _CHECKPOINTED, checkpointing=True),
    GpuRow("gpu_qlora_8b", "QLoRA on a GPU, 8B", "8B", _QLORA, 2e-4, 4, _CHECKPOINTED, checkpointing=True),
    GpuRow("gpu_full_1b", "Full fine-tuning on a GPU, 1B", "1B", _FULL, 2e-5, 6, _FULL_1B),
    GpuRow("gpu_full_8b", "Full fine-tuning on a GPU, 8B", "8B", _FULL, 2e-5, 6, _FULL_8B, _SAVING, checkpointing=True),
)
