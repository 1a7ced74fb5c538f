"""What an answer by itself gives away: that it refuses, or that it breaks off."""

from __future__ import annotations

import re

LONG_ANSWER = 80
"""Characters from which on an answer is expected to end as sentences do, where its file's other answers do."""

_REFUSALS = re.compile(
    r"\bas an? (?:ai\b|artificial intelligence|large language model|language model)"
    r"|\bi(?:'|’)?a?m (?:just |only )?an? (?:ai\b|large language model|language model)"
    r"|^\W*i(?:'|’| a)?m (?:very |really )?sorry,? but (?:i|as)\b"
    r"|^\W*i (?:cannot|can(?:'|’)?t|can not|am unable to|am not able to|won(?:'|’)t)"
    r" (?:assist|help|fulfil|comply|provide)"
    r"|\bals (?:ki|ein)[- ](?:sprach)?modell\b|\ben tant qu(?:e |['’])(?:ia|une ia|modèle de langage)\b"
    r"|\bcomo (?:un )?modelo de lengua(?:je)?\b|作为一个?(?:人工智能|ai|大?语言模型)",
    re.IGNORECASE,
)
_REFUSAL_WITHIN = 300
_ENDS_OPEN = re.compile(r"(?:\w|[,;(\[{–—-])$")


def refuses(answer: str) -> bool:
    """Say whether the answer begins by refusing, or by calling itself a language model."""
    return _REFUSALS.search(answer[:_REFUSAL_WITHIN]) is not None


def leaves_open(answer: str) -> bool:
    """Say whether a code block that the answer opens is never closed."""
    return answer.count("```") % 2 == 1


def ends_open(answer: str) -> bool:
    """Say whether the answer ends in the middle: after a letter, a comma, an opening bracket or a dash."""
    return _ENDS_OPEN.search(answer[-8:].rstrip()) is not None
