"""Memory that is really limited: wherever a run meets the limit it says so, and it goes on where there is more."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reliability.crash.outcome import leftovers
from reliability.crash.victim import run_in
from tests.crash.conftest import Begin
from tests.tiny_models import tiny_model
from tests.tiny_tokenizers import byte_tokenizer


def limited(megabytes: int) -> Callable[[], None]:
    """Return what lets a process have so much more address space than it has now, and no more."""

    def limit() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + (megabytes << 20)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))

    return limit


@pytest.fixture
def wide(begin: Begin, laid_out: Path) -> Path:
    """A folder with a run whose updates need some 200 MB if all rows are taken at once."""
    tokenizer = byte_tokenizer()
    sizes: dict[str, Any] = {"hidden_size": 256, "intermediate_size": 1024, "head_dim": 64}
    model = tiny_model("llama", vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, **sizes)
    model.save_pretrained(laid_out / "wide")
    tokenizer.save_pretrained(laid_out / "wide")
    rows = [{"prompt": f"lamp {n} " * 20, "completion": "red " * 20} for n in range(40)]
    (laid_out / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return begin(
        model={"name": "../wide"},
        data={"train": "../long.jsonl", "test_share": 0.1, "validation_share": 0.0},
        optim={"batch_size": 32, "max_updates": 2},
        evaluation={"every": None, "max_rows": 2},
        runtime={"micro_batch_tokens": 60_000},
        gate={"allow": ["overlap", "truncation"]},
    )


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="a system without /proc")
def test_out_of_memory_is_told_as_such_or_cut_smaller_and_with_more_the_run_goes_on(wide: Path) -> None:
    is_cut = False
    for megabytes in (4, 64, 96, 128, 192):
        ended = run_in(wide, first=limited(megabytes))
        assert ended.code in (0, 1) and "bug" not in ended.said, (megabytes, ended.said)
        if ended.code == 1:
            assert "memory" in ended.said and "  do: " in ended.said, ended.said
        is_cut = "out of memory: micro-batches of " in ended.said and ended.code == 0
        if is_cut:
            break
    assert is_cut, "somewhere between too little and enough it goes on with smaller micro-batches"
    assert run_in(wide).code == 0
    assert leftovers(wide) == []
