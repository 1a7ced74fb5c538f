"""What has the shape of a secret and is none stays quiet; hostile texts take linear time."""

from __future__ import annotations

import re

import pytest

from tenfold.data.checking import damage, secrets
from tenfold.data.checking.damage import damages, quoted
from tenfold.data.checking.secrets import blanked, found_in, is_card, is_iban, masked
from tests.data.checking import planted


@pytest.mark.parametrize(
    "text",
    [
        "on 2024-11-28 at 12:30:45, version 10.2.33.4",
        "order 1234567890123456 of 3.14159265358979",
        "write to name@example.com or me@host.test",
        "use scikit-learn and sk-something-long-without-any-digits",
        "ratio 0.123-4567, pages 120-135, 1914-1918",
        "4539 5787 6362 1487",
        "DE89 3704 0044 0532 0130 01",
        "0000 0000 0000 0000",
        "ISBN 978-3-16-148410-0",
        "x = [1024, 2048, 4096]; 192.168.100.200",
    ],
)
def test_harmless_text_is_not_told(text: str) -> None:
    assert list(found_in(text)) == []


@pytest.mark.parametrize(
    "text", ["«CAFÉ» et garçon", "“AMANHÔ e NÃO", "naïve façade, Ångström", "Привет, мир", "日本語。", "Â is a letter"]
)
def test_good_text_of_any_language_is_not_damaged(text: str) -> None:
    assert list(damages([text], text)) == []


def test_phone_numbers_of_several_countries_are_found() -> None:
    for number in (planted.PHONE, "(212) 555-0147", "212-555-0147", "030/901 8200", "+44 20 7946 0958"):
        assert [kind for kind, _ in found_in(f"call {number} now")] == ["phone"], number


def test_check_digits_decide() -> None:
    assert is_card(planted.CARD) and not is_card(planted.CARD[:-1] + "7")
    assert is_iban(planted.IBAN) and not is_iban(planted.IBAN[:-1] + "1")


def test_masks_hide_the_middle() -> None:
    assert masked("email", planted.EMAIL) == "m…@w….org"
    assert planted.GITHUB[6:-3] not in masked("token", planted.GITHUB)
    assert planted.AWS not in blanked(f"key {planted.AWS}.")


def test_the_body_of_a_private_key_is_never_shown() -> None:
    body = "MIIEpAIBAAKCAQEA7bq"
    for line_end in ("\n", "\r\n", "\\n"):
        text = f"Keep it: {planted.PRIVATE_KEY}{line_end}{body}{line_end}{body}"
        ((kind, found),) = found_in(text)
        assert kind == "private_key" and masked(kind, found) == planted.PRIVATE_KEY + "…"
        assert body not in blanked(text)


def test_what_a_terminal_cannot_show_becomes_an_escape() -> None:
    assert quoted("a\x1b[31m\ud83d") == "a\\x1b[31m\\ud83d"


PATTERNS = {
    name: each for module in (secrets, damage) for name, each in vars(module).items() if isinstance(each, re.Pattern)
}


@pytest.mark.parametrize("name", PATTERNS)
def test_no_pattern_repeats_without_bound(name: str) -> None:
    """So a huge line takes time in proportion to its length, whatever is in it."""
    without_escapes = re.sub(r"\\.", "x", PATTERNS[name].pattern)
    without_sets = re.sub(r"\[[^\]]*\]", "x", without_escapes)
    assert not re.search(r"[*+]|\{\d+,\}", without_sets)
