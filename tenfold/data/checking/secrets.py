"""Secrets and personal data in a text: found by their shape, and by their check digits where they have some.

Shape alone is not proof: a phone number needs separators or a leading `+`, a card number a right check digit (Luhn) and
an issuer's first digit, an IBAN its country's length and right check digits (ISO 13616). Addresses at the domains that
RFC 2606 keeps for examples are not told, nor are AWS's own example keys.

Every repetition has an upper bound, so that a line of a hundred megabytes takes time in proportion to its length.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

Match = re.Match[str]

_KEY = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----[\w+/=\s\\:,.-]{0,8000}")
_TOKENS = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:AKIA|ASIA)[0-9A-Z]{16}(?![0-9A-Za-z])"  # AWS
    r"|gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255}"
    r"|glpat-[\w-]{20,64}"  # GitLab
    r"|xox[abeprs]-[A-Za-z0-9-]{10,250}"  # Slack
    r"|[sr]k_live_[A-Za-z0-9]{16,250}"  # Stripe
    r"|sk-(?=[\w-]{0,150}\d)(?=[\w-]{0,150}[A-Z])[\w-]{20,250}"  # OpenAI and those that copy its form
    r"|AIza[\w-]{35}"  # Google
    r"|hf_[A-Za-z]{30,40}"
    r"|eyJ[\w-]{8,4000}\.eyJ[\w-]{8,8000}\.[\w-]{8,2000}"  # JSON Web Token
    r")"
)
_TOKEN_SIGNS = ("AKIA", "ASIA", "gh", "glpat-", "xox", "k_live_", "sk-", "AIza", "hf_", "eyJ")
_EMAIL = re.compile(
    r"(?<![\w.+-])[A-Za-z0-9_][\w.+-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})\.){1,5}[A-Za-z]{2,24}(?![\w-])",
    re.ASCII,
)
_EXAMPLE_DOMAIN = re.compile(
    r"(?:@|\.)(?:example\.(?:com|org|net)|[\w-]{1,63}\.(?:example|invalid|test))$", re.IGNORECASE
)
_PHONE = re.compile(
    r"(?<![\w.+/-])(?:"
    r"\+[1-9]\d{0,2}(?:[ .-]?(?:\(0?\d{1,4}\)|\d{1,5})){2,6}"  # international
    r"|\(\d{3}\) ?\d{3}[ .-]\d{4}|[2-9]\d{2}([.-])[2-9]\d{2}\1\d{4}"  # North America
    r"|\(?0[1-9]\d{1,4}\)?[ /-]\d{3,4}[ -]?\d{3,5}"  # trunk prefix 0, as in most of Europe
    r")(?![\w/]|[.-]\d)"
)
_CARD = re.compile(
    r"(?<![\w.+-])(?<!\d )(?:"
    r"[3-6]\d{12,18}|[3-6]\d{3}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|3\d{3}([ -])\d{6}\2\d{5}"
    r")(?![\w-]|\.\d| \d)"
)
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{1,4}){3,8}(?![A-Za-z0-9])")
_IBAN_COUNTRIES = {
    15: "NO",
    16: "BE",
    18: "DK FI FO GL NL SD",
    19: "MK SI",
    20: "AT BA EE KZ LT LU XK",
    21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA",
    23: "AE GI IL IQ OM TL",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST",
    26: "IS TR",
    27: "FR GR IT MC MR SM",
    28: "AL AZ BY CY DO GT HU LB NI PL SV",
    29: "BR EG PS QA UA",
    30: "JO KW MU",
    31: "MT SC",
    32: "LC",
    33: "RU",
}
_IBAN_LENGTHS = {country: length for length, countries in _IBAN_COUNTRIES.items() for country in countries.split()}


def found_in(text: str) -> Iterator[tuple[str, str]]:
    """Yield the kind and the text of every secret and every piece of personal data in `text`."""
    if "PRIVATE KEY" in text:
        yield from (("private_key", each[0]) for each in _KEY.finditer(text))
    if any(sign in text for sign in _TOKEN_SIGNS):
        yield from (("token", each[0]) for each in _TOKENS.finditer(text) if not each[0].endswith("EXAMPLE"))
    if "@" in text:
        yield from (("email", each[0]) for each in _EMAIL.finditer(text) if not _EXAMPLE_DOMAIN.search(each[0]))
    if _has_digits(text):
        yield from _numbers(text)


_SEVERAL_DIGITS = re.compile(r"\d[ .)/-]?\d[ .)/-]{0,2}\d")


def _has_digits(text: str) -> bool:
    return _SEVERAL_DIGITS.search(text) is not None


def _numbers(text: str) -> Iterator[tuple[str, str]]:
    """Yield cards, IBANs and phone numbers; of two that overlap only the surer one, in this order."""
    taken: list[tuple[int, int]] = []
    for kind, pattern, is_right in _NUMBERS:
        for match in pattern.finditer(text):
            if is_right(match[0]) and not any(match.start() < end and start < match.end() for start, end in taken):
                taken.append(match.span())
                yield kind, match[0]


def is_card(text: str) -> bool:
    """Say whether the digits are those of a card: 13 to 19, not all the same, with a right check digit (Luhn)."""
    digits = [int(sign) for sign in text if sign.isdigit()]
    if not 13 <= len(digits) <= 19 or len(set(digits)) < 3:
        return False
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def is_iban(text: str) -> bool:
    """Say whether the text is an IBAN: its country's length, and 1 modulo 97 (ISO 13616)."""
    compact = text.replace(" ", "")
    if _IBAN_LENGTHS.get(compact[:2]) != len(compact):
        return False
    return int("".join(str(int(sign, 36)) for sign in compact[4:] + compact[:4])) % 97 == 1


def is_phone(text: str) -> bool:
    """Say whether there are as many digits as phone numbers have (E.164: 15 at most)."""
    return 8 <= sum(sign.isdigit() for sign in text) <= 15


_NUMBERS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("iban", _IBAN, is_iban),
    ("card", _CARD, is_card),
    ("phone", _PHONE, is_phone),
)


def masked(kind: str, text: str) -> str:
    """Return enough of a secret to find it again, and not enough to use it."""
    if kind == "private_key":
        return text[: text.index("-----", 5) + 5] + "…"
    if kind == "email":
        name, _, domain = text.partition("@")
        return f"{name[0]}…@{domain[0]}….{domain.rpartition('.')[2]}"
    shown = 4 if kind in ("token", "iban") else 3
    return f"{text[:shown]}…{text[-2:]}"


def blanked(text: str) -> str:
    """Return `text` with everything that `found_in` finds as asterisks, of the same length."""
    for _, found in list(found_in(text)):
        text = text.replace(found, "*" * len(found))
    return text
