"""The settings of adapter tuning, as a recipe writes them."""

from __future__ import annotations

from pydantic import Field

from tenfold.techniques.technique import Options

FUSION = "fusion"
"""The name of the stage that trains the fusion."""


class AdapterOptions(Options):
    """Settings of adapter tuning."""

    fuse: tuple[str, ...] = ()
    """Tasks whose adapters are fused, once all are trained (AdapterFusion)."""
    fuse_on: str | None = None
    """The task that the fusion is trained on, and answers in the end; the first of `fuse` when unset."""
    fusion_learning_rate: float = Field(default=5e-5, gt=0.0, le=10.0)
    """Peak rate of the fusion (Pfeiffer et al. 2021, section 4.3)."""
    drop_blocks: int = Field(default=0, ge=0)
    """Also measure each task, and its time a row, with the adapters of the first so many blocks left out."""

    @property
    def fused_task(self) -> str | None:
        """The task that the fusion is trained on, if there is one."""
        return self.fuse_on or (self.fuse[0] if self.fuse else None)
