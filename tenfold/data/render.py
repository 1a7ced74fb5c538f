"""How an example becomes tokens with a loss mask, by the tokenizer's own chat template.

A chat text is tokenised once, as a whole, so the tokens are those of `apply_chat_template`. A reply is in the
loss from the first token that generation would have to produce up to and including the token that ends the
turn; what the template puts after it (a line break, the next turn's header) is not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from itertools import compress
from typing import cast

from jinja2.exceptions import TemplateError, TemplateRuntimeError, TemplateSyntaxError
from transformers import PreTrainedTokenizerBase

from tenfold.data.batch import Batch, Entry, LabelForm, pack
from tenfold.data.examples import Example, Turn, learned_replies
from tenfold.data.fields import RowFault
from tenfold.data.limits import Bounded, TooMuch
from tenfold.data.mask import Ends, supervise
from tenfold.data.rendered import Rendered, each_or_fault, special_ids, tokenizer_content
from tenfold.data.templates import ChatTemplate, Message, PlainTemplate, SpannedText
from tenfold.data.tokenise import Tokeniser
from tenfold.data.translation import INSTRUCTION, with_prompt
from tenfold.errors import DataError, Problem
from tenfold.recipe import DataSection

_PROMPT = ("prompt", "language", "source_language")
_VERSION = 4  # raise it when the same example would give other tokens or another mask
_PROBE = Example((Turn("user", "a"), Turn("assistant", "b")))
_TEXT_PROBE = Example(text="a")


class Renderer:
    """Turns examples into tokens as the `data` section says; it holds no rows."""

    form: LabelForm | None = None

    def __init__(self, tokenizer: PreTrainedTokenizerBase, data: DataSection) -> None:
        self.tokenizer = tokenizer
        self.data = data
        self._tokeniser = Tokeniser(tokenizer, data.special_tokens)

    def render(self, example: Example) -> Rendered:
        """Return all tokens of `example`, not yet cut to `max_length`.

        Raises:
            RowFault: the template refuses the turns or rewrites them.
            DataError: no template fits the tokenizer, or it cannot say where its tokens lie.
        """
        rendered = self.render_all([example])[0]
        if isinstance(rendered, RowFault):
            raise rendered
        return rendered

    def render_all(self, examples: Sequence[Example]) -> list[Rendered | RowFault]:
        """Return what `render` gives for each example, faults in their place; one call of the tokenizer."""
        texts = each_or_fault(self._spanned, examples)
        tokens = iter(self._tokeniser.placed([text for text in texts if isinstance(text, SpannedText)]))
        results: list[Rendered | RowFault] = []
        for example, text in zip(examples, texts, strict=True):
            if isinstance(text, RowFault):
                results.append(text)
                continue
            ids, ends = next(tokens)
            results.append(self._masked(example, text, ids, ends))
        return results

    def cut(self, example: Example, rendered: Rendered) -> list[Rendered]:
        """Return `rendered` cut to `max_length`: a conversation loses its end, raw text goes on in new rows.

        The first token of a further row has nothing before it and is in no loss; a last piece of one token,
        which could teach nothing, is left out.
        """
        limit, length = self.data.max_length, len(rendered.input_ids)
        if length <= limit:
            return [rendered]
        if example.text is None:
            ids, supervised = rendered.input_ids[:limit], rendered.supervised[:limit]
            response_cut = any(rendered.supervised[limit:])
            return [replace(rendered, input_ids=ids, supervised=supervised, truncated=True, response_cut=response_cut)]
        pieces = (rendered.input_ids[start : start + limit] for start in range(0, length, limit))
        return [Rendered(ids, [False, *[True] * (len(ids) - 1)]) for ids in pieces if len(ids) > 1]

    def prompt(self, example: Example) -> list[int]:
        """Return the tokens the model is given to produce the last reply: all before it, and its opening.

        An example that ends with a user's turn has no reply yet: then all of it comes before.
        """
        hidden, names = self._tokeniser.spelling.hidden(example)
        turns = self._turns(hidden)
        if turns[-1].role == "assistant":
            turns = turns[:-1]
        with Bounded(self._template_place):
            pieces = self._template.prompt(turns, example.separator)
        return [*self._first_ids, *self._tokeniser.asked(pieces, names)]

    def ask(self, example: Example) -> Entry:
        """Return the prompt's tokens; raises `RowFault`."""
        ids = self.prompt(example)
        return Entry(0, ids, [False] * len(ids))

    def collate(self, entries: Sequence[Entry], *, task: str = "main") -> Batch:
        """Return `entries` laid end to end."""
        return pack(entries, task=task)

    def messages(self, example: Example) -> list[Message] | None:
        """Return what the chat template is given for `example`, or None where no chat template renders it.

        Raises:
            RowFault: its prompt names a language that nothing says.
        """
        template = self._template
        if example.text is not None or not isinstance(template, ChatTemplate):
            return None
        with Bounded(self._template_place):
            return template.messages(self._turns(example))

    def holds_special(self, example: Example) -> bool:
        """Return whether the row spells out a special token, which is kept as text."""
        return bool(self._tokeniser.spelling.hidden(example)[1])

    def reference(self, example: Example) -> str:
        """Return the last reply as the row has it; empty for raw text."""
        return example.turns[-1].content if example.turns else ""

    def text_of(self, tokens: Sequence[int]) -> str:
        """Return a run of tokens as text."""
        return cast(str, self.tokenizer.decode(list(tokens)))

    @property
    def own_chat_template(self) -> str | None:
        """The tokenizer's own chat template, if it has one."""
        if self.tokenizer.chat_template is None:
            return None
        try:
            return cast(str, self.tokenizer.get_chat_template())
        except ValueError as error:  # several templates, none called default
            raise DataError(
                Problem("tokenizer", f"which chat template? {error}", remedy="set data.chat_template")
            ) from None

    @property
    def chat_template(self) -> str | None:
        """The chat template in use, or None where turns are rendered plain."""
        return None if self.data.template == "plain" else self.data.chat_template or self.own_chat_template

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Tokens that end a reply: the end-of-sequence token, and what the template puts after a reply."""
        rendered = self.render(_PROBE)
        ends = {self.tokenizer.eos_token_id} - {None}
        if rendered.end_supervised:
            ends.add(list(compress(rendered.input_ids, rendered.supervised))[-1])
        return frozenset(ends)

    @cached_property
    def fingerprint(self) -> str:
        """Equal exactly when the same examples give the same tokens and masks; the same in every process.

        A small conversation and raw text, rendered, are part of it, so a template that prints today's date gives a
        new fingerprint tomorrow.
        """
        tokenizer = self.tokenizer
        special = [tokenizer.eos_token, tokenizer.bos_token, tokenizer.pad_token, sorted(self._special_ids)]
        probes = [self.render(probe) for probe in (_PROBE, _TEXT_PROBE) if tokenizer.eos_token or not probe.text]
        rendered = [(probe.input_ids, probe.supervised) for probe in probes]
        settings = self.data.model_dump(include={"system", "train_on", "max_length", "special_tokens", *_PROMPT})
        parts = [_VERSION, tokenizer_content(tokenizer), special, self.chat_template, settings, rendered]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @cached_property
    def _template(self) -> ChatTemplate | PlainTemplate:
        if self.data.template == "plain" and self.data.chat_template:
            raise DataError(
                Problem("data.template", "plain leaves data.chat_template unused", remedy="remove one of the two")
            )
        template = self.chat_template
        if template is None:
            return self._plain
        return ChatTemplate(self._apply)

    @cached_property
    def _plain(self) -> PlainTemplate:
        if self.data.template == "chat":
            raise DataError(
                Problem(
                    "data.template",
                    "chat, but the tokenizer has no chat template",
                    "auto, plain, or a template in data.chat_template",
                )
            )
        return PlainTemplate(self._eos)

    @property
    def _eos(self) -> str:
        if self.tokenizer.eos_token is None:
            raise DataError(
                Problem(
                    "tokenizer",
                    "has no end-of-sequence token, so no text could end",
                    remedy="use another model",
                )
            )
        return cast(str, self.tokenizer.eos_token)

    def _apply(self, messages: list[Message], *, add_generation_prompt: bool) -> str:
        where = self._template_place
        try:
            text = self.tokenizer.apply_chat_template(
                messages,
                chat_template=self.data.chat_template,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
            )
        except TemplateSyntaxError as error:
            raise DataError(Problem(where, f"not valid Jinja: line {error.lineno}: {error.message}")) from None
        except (TemplateError, TooMuch, MemoryError):
            raise
        except Exception as error:  # whatever a template does: divide by zero, call itself, count too far
            raise TemplateRuntimeError(f"{type(error).__name__}: {error}") from error
        return cast(str, text)

    def _turns(self, example: Example) -> tuple[Turn, ...]:
        turns = with_prompt(example, self.data, default=INSTRUCTION)
        if self.data.system is None or turns[0].role == "system":
            return turns
        return (Turn("system", self.data.system), *turns)

    def _spanned(self, example: Example) -> SpannedText:
        hidden, names = self._tokeniser.spelling.hidden(example)
        if hidden.text is not None:
            return SpannedText((hidden.text + self._eos,), stands_for=names)
        turns = self._turns(hidden)
        learned = learned_replies(turns, self.data.train_on)
        with Bounded(self._template_place):
            text = self._template.render(turns, example.separator, learned)
        return replace(text, stands_for=names) if names else text

    @property
    def _template_place(self) -> str:
        return "data.chat_template" if self.data.chat_template else "the tokenizer's chat template"

    def _masked(self, example: Example, text: SpannedText, ids: list[int], ends: Ends) -> Rendered:
        if example.text is not None:
            ids = [*self._bos, *ids]
            return Rendered(ids, [False, *[True] * (len(ids) - 1)])
        supervised, end_supervised = supervise(text.spans, ids, ends, self._special_ids)
        opening = self._first_ids
        return Rendered([*opening, *ids], [*[False] * len(opening), *supervised], end_supervised)

    @cached_property
    def _special_ids(self) -> frozenset[int]:
        return special_ids(self.tokenizer)

    @cached_property
    def _bos(self) -> list[int]:
        """The tokens that the tokenizer puts before a text: none, or a beginning-of-sequence token."""
        bare, whole = self._tokeniser.ids(["a"])[0], self.tokenizer("a")["input_ids"]
        start = next((t for t in range(len(whole)) if whole[t : t + len(bare)] == bare), 0)
        return cast(list[int], whole[:start])

    @property
    def _first_ids(self) -> list[int]:
        return self._bos if isinstance(self._template, PlainTemplate) else []
