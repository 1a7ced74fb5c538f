"""What the check of rows can find, what to do about each, and how findings are counted with the first few shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

EXAMPLES_SHOWN = 3
"""How many examples of each kind are kept."""

SHOWN_CHARACTERS = 60
"""How much of a text an example quotes."""


@dataclass(frozen=True)
class Kind:
    """Something that rows can have: its `title`, whether it `may_be_meant`, and what to do."""

    title: str
    remedy: str
    may_be_meant: bool = False


KINDS: Mapping[str, Kind] = {
    "held_out": Kind(
        "rows with the prompt of a held-out row",
        "remove them from training: the score on the held-out file means nothing else (--out leaves them out)",
    ),
    "near_held_out": Kind(
        "rows that nearly repeat a held-out row", "remove them from training where the answer is given away"
    ),
    "exact_duplicates": Kind(
        "exact duplicates, beyond the first of each", "remove them: they weigh a row twice (--out leaves them out)"
    ),
    "near_duplicates": Kind(
        "near-duplicates of an earlier row", "look at them; keep the better one of each", may_be_meant=True
    ),
    "label_conflicts": Kind(
        "rows whose text has another label elsewhere", "decide which label is right, or remove these rows"
    ),
    "several_answers": Kind(
        "rows whose prompt has another answer elsewhere",
        "nothing if prompts may be answered in several ways; else keep one",
        may_be_meant=True,
    ),
    "unreadable": Kind("rows that cannot be learned from", "mend or remove them: `tenfold run` refuses them"),
    "empty_answers": Kind("rows without an answer", "remove them, or write the answer (--out leaves them out)"),
    "private_key": Kind("private keys", "remove them, and replace the key wherever it is used"),
    "token": Kind("access tokens", "remove them, and revoke the token where it is from"),
    "email": Kind("e-mail addresses", "replace them, unless you may train on them: a model can repeat them"),
    "phone": Kind("phone numbers", "replace them, unless you may train on them"),
    "card": Kind("credit card numbers (their check digit is right)", "remove them"),
    "iban": Kind("IBANs (their check digits are right)", "remove them, unless you may train on them"),
    "refusals": Kind("answers that refuse, or speak as a language model", "remove them, unless this is to be learned"),
    "same_answers": Kind("rows whose answer many prompts get", "look whether it says anything", may_be_meant=True),
    "cut_answers": Kind("answers that seem cut off", "look at them: the model learns to stop there", may_be_meant=True),
    "length_outliers": Kind(
        "rows far longer or shorter than the others",
        "look at them; long ones are cut at data.max_length",
        may_be_meant=True,
    ),
    "control_tokens": Kind(
        "rows with a chat template's control tokens as text",
        "remove the tokens: Tenfold adds the model's own",
    ),
    "mojibake": Kind("rows with text decoded wrongly (Ã© for é)", "read the source as UTF-8 again"),
    "replacement": Kind("rows with replacement characters (�)", "go back to the source: what stood there is lost"),
    "control_characters": Kind("rows with control characters", "remove the characters"),
    "surrogates": Kind("rows with half of a surrogate pair", "mend the escape, such as \\ud83d without its other half"),
    "inner_bom": Kind("rows with a byte order mark inside the text", "remove the character U+FEFF"),
    "file_bom": Kind("files that begin with a byte order mark", "nothing here: it is skipped", may_be_meant=True),
    "mixed_line_ends": Kind("texts or files that mix line ends", "save them with \\n alone", may_be_meant=True),
    "languages": Kind("rows in another language than most", "nothing if they are meant", may_be_meant=True),
}
"""Every kind of finding, in the order in which they are told."""

COUNTING = tuple(name for name, kind in KINDS.items() if not kind.may_be_meant)
"""The kinds that fail a strict check, wherever one row has them."""


@dataclass(frozen=True)
class Shown:
    """One example: where it stands, and a short text about it (secrets are masked)."""

    place: str
    text: str


@dataclass
class Finding:
    """How often a kind was found, the first examples, and `detail`: what else there is to say."""

    kind: str
    count: int = 0
    examples: list[Shown] = field(default_factory=list)
    detail: str = ""

    def to_json(self) -> dict[str, object]:
        """Return the finding as JSON figures."""
        of_kind = KINDS[self.kind]
        return {
            "kind": self.kind,
            "title": of_kind.title,
            "count": self.count,
            "may_be_meant": of_kind.may_be_meant,
            "detail": self.detail,
            "examples": [{"place": each.place, "text": each.text} for each in self.examples],
            "remedy": of_kind.remedy,
        }


class Tally:
    """Findings by kind, while rows go by."""

    def __init__(self) -> None:
        self._found: dict[str, Finding] = {}

    def add(self, kind: str, show: Callable[[], Shown]) -> None:
        """Count one more of `kind`; of the first few `show` makes examples."""
        finding = self._found.setdefault(kind, Finding(kind))
        finding.count += 1
        if len(finding.examples) < EXAMPLES_SHOWN:
            finding.examples.append(show())

    def count(self, kind: str, number: int) -> None:
        """Count `number` more of `kind` without examples."""
        if number:
            self._found.setdefault(kind, Finding(kind)).count += number

    def explain(self, kind: str, detail: str) -> None:
        """Say more about a kind, if it was found."""
        if kind in self._found:
            self._found[kind].detail = detail

    def put(self, finding: Finding) -> None:
        """Add a finding that was counted elsewhere, if there is any."""
        assert finding.kind not in self._found, "a kind is counted in one place"
        if finding.count:
            self._found[finding.kind] = finding

    def findings(self) -> list[Finding]:
        """Return what was found, in the order of `KINDS`."""
        return [self._found[kind] for kind in KINDS if kind in self._found]
