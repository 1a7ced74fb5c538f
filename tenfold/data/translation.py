"""How rows to translate become prompts: an instruction that names the language, or the text as it is."""

from __future__ import annotations

from dataclasses import replace

from tenfold.data.examples import Example, Turn
from tenfold.data.fields import RowFault
from tenfold.recipe import DataSection

INSTRUCTION = "Translate into {language}: {source}"
"""What a decoder is asked where `data.prompt` is unset."""

BARE = "{source}"
"""What an encoder-decoder is given where `data.prompt` is unset: those made to translate need no instruction."""


def with_prompt(example: Example, data: DataSection, *, default: str) -> tuple[Turn, ...]:
    """Return the example's turns; the text of a translation is put into `data.prompt`, or `default` where it is unset.

    Raises:
        RowFault: the prompt names a language, and neither the row nor the recipe says which.
    """
    if not example.is_translation:
        return example.turns
    prompt = data.prompt or default
    place = next(place for place, turn in enumerate(example.turns) if turn.role == "user")
    asked = example.turns[place]
    languages = {"language": example.language or data.language, "source_language": data.source_language}
    for name, language in languages.items():
        if language is None and "{" + name + "}" in prompt:
            remedy = f"set data.{name}, " + ("add a column language, " if name == "language" else "")
            raise RowFault(f"the prompt names {{{name}}}, and nothing says which it is", f"{remedy}or set data.prompt")
    # not str.format: what a row says may hold braces too
    text = prompt
    for name, value in languages.items():
        text = text.replace("{" + name + "}", value or "")
    before, _, after = text.partition("{source}")
    asked = replace(asked, content=f"{before}{asked.content}{after}")
    return (*example.turns[:place], asked, *example.turns[place + 1 :])
