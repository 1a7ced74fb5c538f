"""What a check found: how far two ways to the same result are apart, how far they may be, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Outcome = Literal["pass", "FAIL", "skipped"]


@dataclass(frozen=True)
class Difference:
    """How far apart two ways to one quantity are; a pass is at most `tolerance`."""

    name: str
    deviation: float
    tolerance: float = 0.0

    @property
    def is_kept(self) -> bool:
        """Whether it is within the tolerance; what is not a number is not."""
        return self.deviation <= self.tolerance

    @property
    def severity(self) -> float:
        """The deviation as a share of the tolerance, to find the largest by."""
        if self.is_kept:
            return self.deviation / self.tolerance if self.tolerance else 0.0
        share = self.deviation / self.tolerance if self.tolerance else float("inf")
        return share if share == share else float("inf")


@dataclass(frozen=True)
class Compared:
    """What a check measured. `because` is the reason of its tolerances."""

    what: str
    differences: tuple[Difference, ...]
    because: str
    note: str = ""
    """What else is worth saying, such as where the largest difference is."""


@dataclass(frozen=True)
class Skipped:
    """Why a check does not apply."""

    reason: str


@dataclass(frozen=True)
class Finding:
    """One check as it came out."""

    check: str
    promise: str
    """What holds where it passes, in words."""
    outcome: Outcome
    reason: str
    """Of the tolerance, of the skip, or of a check that could not be finished."""
    what: str = ""
    differences: tuple[Difference, ...] = ()
    note: str = ""
    seconds: float = 0.0

    @property
    def largest(self) -> Difference | None:
        """The difference that comes nearest to its tolerance, or goes furthest beyond it."""
        return max(self.differences, key=lambda each: each.severity, default=None)

    def to_json(self) -> dict[str, Any]:
        """Return the finding as plain values."""
        differences = [
            {"name": each.name, "deviation": each.deviation, "tolerance": each.tolerance} for each in self.differences
        ]
        return {**vars(self), "differences": differences, "seconds": round(self.seconds, 2)}


@dataclass(frozen=True)
class Verification:
    """All findings of one recipe or artifact, and what they were found on."""

    subject: str
    facts: dict[str, Any]
    findings: tuple[Finding, ...]

    @property
    def is_passed(self) -> bool:
        """Whether nothing failed."""
        return not any(finding.outcome == "FAIL" for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        findings = [finding.to_json() for finding in self.findings]
        return {"subject": self.subject, "passed": self.is_passed, **self.facts, "findings": findings}


def count(outcome: Outcome, findings: Sequence[Finding]) -> int:
    """Return how many findings came out so."""
    return sum(finding.outcome == outcome for finding in findings)
