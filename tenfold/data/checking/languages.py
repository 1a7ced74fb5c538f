"""Which languages rows are in, by the identifier of py3langid (139 languages), on an even sample of the rows.

It takes 0.2 to 0.5 ms a text, longer than all else that is done with a row, and the shares of languages need no more
than a sample. Short texts and unsure answers count as undetermined.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tenfold.data.checking.finding import EXAMPLES_SHOWN, Finding, Shown

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

MOST_ASKED = 10_000
"""Rows at most whose language is asked for."""

SHORTEST = 60
"""Bytes in UTF-8 below which a text has no language that can be told: 60 Latin letters, 20 Chinese characters."""

_READ = 300
_SURE = 0.95
UNKNOWN = ("und", "zxx")


@dataclass
class Languages:
    """Counts by language of every `step`-th row."""

    step: int
    counts: Counter[str] = field(default_factory=Counter)
    _examples: dict[str, list[Shown]] = field(default_factory=dict)
    _identifier: LanguageIdentifier | None = None

    @classmethod
    def of(cls, num_rows: int) -> Languages:
        """Return an empty count for `num_rows` rows."""
        return cls(step=max(1, -(-num_rows // MOST_ASKED)))

    def ask(self, text: str, show: Callable[[], Shown]) -> None:
        """Count the language of one more row; of the first few of a language `show` makes examples."""
        language = "und"
        if len(text[:_READ].encode()) >= SHORTEST:
            language = str(self._opened().classify(text[:_READ])[0])
        self.counts[language] += 1
        examples = self._examples.setdefault(language, [])
        if len(examples) < EXAMPLES_SHOWN:
            shown = show()
            examples.append(Shown(shown.place, f"{language}: {shown.text}"))

    def _opened(self) -> LanguageIdentifier:
        if self._identifier is None:
            from py3langid.langid import MODEL_FILE, LanguageIdentifier

            self._identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True, min_confidence=_SURE)
        return self._identifier

    def finding(self) -> Finding:
        """Return the rows in any other language than most; one row alone of a language counts as unsure."""
        known = [(language, count) for language, count in self.counts.most_common() if language not in UNKNOWN]
        others = [(language, count) for language, count in known[1:] if count > 1]
        asked = "" if self.step == 1 else f"of every {self.step}th row: "
        told = ", ".join(f"{language} {count:,}" for language, count in known[:1] + others)
        unknown = sum(self.counts[name] for name in UNKNOWN) + len(known[1:]) - len(others)
        examples = [each for language, _ in others for each in self._examples[language]][:EXAMPLES_SHOWN]
        return Finding(
            "languages", sum(count for _, count in others), examples, f"{asked}{told}, too short or unsure {unknown:,}"
        )
