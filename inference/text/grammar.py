"""Which tokens may come next while JSON that conforms to a schema is generated."""

from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor

from inference.text.json_schema import ESCAPES, Schema, closed, prepare
from inference.text.schema_characters import needed_characters, written_with
from inference.text.tokenizer import Tokenizer

# What one schema may take, in the units of llguidance's LLParserLimits: some 20 ms at first, and
# some 10 ms for a step; above it is refused, or ends its own answer.
_LIMITS = {"step_lexer_fuel": 100_000, "max_lexer_states": 50_000, "verbose_errors": False}


class GrammarError(ValueError):
    """An answer cannot be continued by its schema."""


class Grammar:
    """Where one answer is in its grammar.

    Args:
        matcher: the library's, which belongs to this answer alone.
        size: tokens that it knows.
        ends: whether the model has a token that ends an answer.
    """

    def __init__(self, matcher: Any, size: int, ends: bool) -> None:
        self.matcher = matcher
        self.size = size
        self._ends = ends

    @property
    def complete(self) -> bool:
        """Whether nothing can follow or, without a token for the end, nothing need follow."""
        return self.matcher.is_stopped() or (not self._ends and self.matcher.is_accepting())

    def push(self, token: int) -> None:
        """Takes the next token.

        Raises:
            GrammarError: it was not allowed.
        """
        self.matcher.consume_token(token)
        self.check()

    def check(self) -> None:
        """Raises GrammarError where a token was not allowed, or a step took too much."""
        if self.matcher.is_error():
            raise GrammarError(
                f"the answer cannot be continued by its schema: {_why(self.matcher)}"
            )


def allowed_tokens(grammars: Sequence[Grammar]) -> Tensor:
    """The tokens that may come next by n grammars of one model: bits (n, size / 32) of int32.

    It is computed in threads, and others may use Python meanwhile.
    """
    from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask_par

    masks = allocate_token_bitmask(len(grammars), grammars[0].size)
    matchers = [(grammar.matcher, row) for row, grammar in enumerate(grammars)]
    fill_next_token_bitmask_par(_threads(), matchers, masks)
    return torch.from_numpy(masks)


class GrammarCompiler:
    """Makes grammars of JSON Schemas for the vocabulary of one model.

    Args:
        tokenizer: of the model.

    Raises:
        ValueError: the package llguidance is missing, or tokens are parts of characters and some
            bytes have none.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        try:
            from llguidance import LLTokenizer
        except ModuleNotFoundError as error:
            raise ValueError(
                "answers in JSON need the package llguidance: make setup EXTRAS=dev,serve"
            ) from error
        self._ends = tokenizer.end is not None
        vocabulary: Any = _Vocabulary(tokenizer)  # the library asks for attributes, not for a class
        self._tokens = LLTokenizer(vocabulary)
        # None for a vocabulary that can write all characters.
        self._characters = _characters(set(tokenizer.pieces))

    def compile(self, schema: Any) -> Grammar:
        r"""The grammar of the answers that a JSON Schema allows.

        Of those, some are not written: with white space but single blanks after colons and commas,
        with \u escapes, and with properties that an object neither names nor speaks of, as
        llama.cpp has it.

        Raises:
            ValueError: not a schema, too large or complex, nothing can conform to it, or it has
                keywords that are not supported or characters that the vocabulary lacks; names them.
        """
        wanted = prepare(schema)
        matcher = self._matcher(wanted)
        narrow = closed(wanted)
        if narrow != wanted:
            with suppress(ValueError):  # such as parts of an allOf that name different properties
                matcher, wanted = self._matcher(narrow), narrow
        if self._characters is not None:
            if missing := needed_characters(wanted) - self._characters:
                lacking = " ".join(map(repr, sorted(missing)[:40]))
                raise ValueError(
                    f"this model cannot write JSON by this schema: its vocabulary lacks {lacking}"
                )
            matcher = self._matcher(written_with(wanted, self._characters))
        matcher.compute_bitmask()  # what can be refused is so before the first token
        if matcher.is_error():
            raise ValueError(f"the schema is not supported: {_why(matcher)}")
        return Grammar(matcher, self._tokens.vocab_size, self._ends)

    def _matcher(self, schema: Schema) -> Any:
        from llguidance import LLMatcher, LLParserLimits

        escapes = "".join(ESCAPES.values())
        if self._characters is not None:
            escapes = "".join(one for one in escapes if {one, "\\"} <= self._characters)
        options: Any = {
            "whitespace_flexible": False,
            "item_separator": ", ?",
            "key_separator": ": ?",
            # One way to write each name, so that none that has its own schema comes in disguise.
            "json_allowed_escapes": escapes,
        }
        grammar = LLMatcher.grammar_from_json_schema(schema, overrides=options)
        matcher = LLMatcher(self._tokens, grammar, log_level=0, limits=LLParserLimits(**_LIMITS))
        if matcher.is_error():
            raise ValueError(f"the schema is not supported: {_why(matcher)}")
        return matcher


@cache
def _threads() -> Any:
    from llguidance import LLExecutor

    return LLExecutor()


def _why(matcher: Any) -> str:
    """The library's message on one line, without its advice about its own options."""
    text = " ".join(matcher.get_error().split()).partition(". Enable")[0]
    text = text.replace("regex parse error", "pattern cannot be parsed")
    return text.replace("NoExtensionBias", "nothing conforms to it")[:300]


class _Vocabulary:
    """What the library asks of a tokenizer; without an end of text it adds a token of its own.

    It is called for the tokens of text that has to come next, which a model knows best in its own
    tokens.
    """

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokens = tokenizer.pieces
        self.eos_token_id = tokenizer.end
        self.special_token_ids = [n for n, piece in enumerate(self.tokens) if not piece]
        self._tokenizer = tokenizer
        self._of_piece = {piece: number for number, piece in enumerate(self.tokens) if piece}

    def __call__(self, text: str) -> list[int]:
        if self._tokenizer.characters:
            parts = [character.encode() for character in text]
        else:
            tokens = self._tokenizer.encode(text)
            if all(self.tokens[token] for token in tokens):
                return tokens
            # The name of a special token, which is text here.
            parts = [bytes([byte]) for byte in text.encode()]
        known = takewhile(self._of_piece.__contains__, parts)
        return [self._of_piece[part] for part in known]


def _characters(pieces: set[bytes]) -> set[str] | None:
    """The characters that are tokens; None where every byte is one."""
    if all(bytes([byte]) in pieces for byte in range(256)):
        return None
    try:
        return {text for piece in pieces if len(text := piece.decode()) == 1}
    except UnicodeDecodeError as error:
        raise ValueError(
            "answers in JSON need a vocabulary of whole characters, or one with all bytes"
        ) from error
