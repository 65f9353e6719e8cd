"""Which tokens keep a text the beginning of a JSON object, so that nothing else is written."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from inference.tokenizer import Tokenizer

# Where a text is: the brackets that are open, and what may come next.
State = tuple[str, str]
START: State = ("", "start")
DONE: State = ("", "done")
_NEEDED = '{}[]":,'
_DIGITS = frozenset(b"0123456789")
_HEX = _DIGITS | frozenset(b"abcdefABCDEF")
_LITERALS = {ord("t"): "rue", ord("f"): "alse", ord("n"): "ull"}
# What may follow inside a number; "end" marks where it may be over.
_NUMBER = {
    "minus": {"0": "zero", "1-9": "int"},
    "zero": {".": "dot", "e": "exp", "end": ""},
    "int": {"0": "int", "1-9": "int", ".": "dot", "e": "exp", "end": ""},
    "dot": {"0": "frac", "1-9": "frac"},
    "frac": {"0": "frac", "1-9": "frac", "e": "exp", "end": ""},
    "exp": {"0": "power", "1-9": "power", "sign": "sign"},
    "sign": {"0": "power", "1-9": "power"},
    "power": {"0": "power", "1-9": "power", "end": ""},
}
_DEEPEST = 32  # brackets that may be open


class JsonGrammar:
    """The tokens that may come next, for the texts of one tokenizer.

    The text is one object (RFC 8259) without white space but single blanks after a colon or comma.

    Args:
        tokenizer: of the model.

    Raises:
        ValueError: the vocabulary has no token for one of the characters that JSON needs.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._pieces = tokenizer.pieces
        known = set(self._pieces)
        if missing := [letter for letter in _NEEDED if letter.encode() not in known]:
            raise ValueError(
                f"this model cannot write JSON: its vocabulary lacks {' '.join(missing)}"
            )
        self._masks: dict[State, Tensor] = {}

    def after(self, state: State, token: int) -> State:
        """Where the text is behind a token that was allowed."""
        found = _walk(state, self._pieces[token])
        assert found is not None, "the token was not allowed"
        return found

    def allowed(self, state: State) -> Tensor:
        """Which tokens (V,) may come next, as bool."""
        mask = self._masks.get(state)
        if mask is None:
            if len(self._masks) > 1024:
                self._masks.clear()
            mask = self._masks[state] = self._mask(state)
        return mask

    def _mask(self, state: State) -> Tensor:
        if state[1] in ("string", "key"):
            mask, rest = self._plain.clone(), self._special
        else:
            mask, rest = torch.zeros(len(self._pieces), dtype=torch.bool), self._by_first(state)
        for token in rest:
            mask[token] = _walk(state, self._pieces[token]) is not None
        return mask

    @cached_property
    def _plain(self) -> Tensor:
        """Tokens that are allowed everywhere in a string."""
        return torch.tensor([bool(piece) and not _odd(piece) for piece in self._pieces])

    @cached_property
    def _special(self) -> list[int]:
        return [token for token, piece in enumerate(self._pieces) if piece and _odd(piece)]

    @cached_property
    def _firsts(self) -> dict[int, list[int]]:
        firsts: dict[int, list[int]] = {}
        for token, piece in enumerate(self._pieces):
            if piece:
                firsts.setdefault(piece[0], []).append(token)
        return firsts

    def _by_first(self, state: State) -> list[int]:
        tokens: list[int] = []
        for first, group in self._firsts.items():
            if _step(state, first) is not None:
                tokens += group
        return tokens


def _odd(piece: bytes) -> bool:
    return any(byte < 0x20 or byte in b'"\\' for byte in piece)


def _walk(state: State, piece: bytes) -> State | None:
    """Behind all bytes of a token; None where one is not allowed, or nothing comes of it."""
    found: State | None = state if piece else None
    for byte in piece:
        if found is None:
            break
        found = _step(found, byte)
    return found


def _step(state: State, byte: int) -> State | None:
    open_, place = state
    if place in ("string", "key", "string\\", "key\\") or place[-1:].isdigit():
        return _in_string(open_, place, byte)
    if place.startswith("literal"):
        rest = place[len("literal") :]
        if byte != ord(rest[0]):
            return None
        return (open_, f"literal{rest[1:]}" if rest[1:] else "after")
    if place in _NUMBER:
        return _in_number(open_, place, byte)
    letter = chr(byte)
    if place == "start":
        return ("{", "first key") if letter == "{" else None
    if place in ("first key", "next key", "next key!"):
        if letter == '"':
            return (open_, "key")
        if letter == "}" and place == "first key":
            return _closed(open_)
        return (open_, "next key!") if letter == " " and place == "next key" else None
    if place == "colon":
        return (open_, "value") if letter == ":" else None
    if place in ("value", "value!", "first value"):
        if letter == "]" and place == "first value":
            return _closed(open_)
        return (open_, "value!") if letter == " " and place == "value" else _value(open_, byte)
    if place == "after":
        return _after(open_, letter)
    return None


def _value(open_: str, byte: int) -> State | None:
    letter = chr(byte)
    if letter in "{[" and len(open_) < _DEEPEST:
        return (open_ + letter, "first key" if letter == "{" else "first value")
    if letter == '"':
        return (open_, "string")
    if byte in _LITERALS:
        return (open_, f"literal{_LITERALS[byte]}")
    if letter == "-":
        return (open_, "minus")
    if byte in _DIGITS:
        return (open_, "zero" if letter == "0" else "int")
    return None


def _after(open_: str, letter: str) -> State | None:
    inside = open_[-1:]
    if letter == ",":
        return (open_, "next key" if inside == "{" else "value")
    return _closed(open_) if letter == {"{": "}", "[": "]"}.get(inside) else None


def _closed(open_: str) -> State:
    return (open_[:-1], "after") if len(open_) > 1 else DONE


def _in_string(open_: str, place: str, byte: int) -> State | None:
    """``place`` ends with a backslash behind one, and with the hex digits to come behind \\u."""
    kind = "key" if place.startswith("key") else "string"
    left = place[len(kind) :]
    if left == "\\":
        if byte == ord("u"):
            return (open_, f"{kind}4")
        return (open_, kind) if byte in b'"\\/bfnrt' else None
    if left:
        more = int(left) - 1
        return (open_, f"{kind}{more}" if more else kind) if byte in _HEX else None
    if byte == ord("\\"):
        return (open_, f"{kind}\\")
    if byte == ord('"'):
        return (open_, "colon" if kind == "key" else "after")
    return (open_, kind) if byte >= 0x20 else None


def _in_number(open_: str, place: str, byte: int) -> State | None:
    letter, rules = chr(byte), _NUMBER[place]
    kinds = {"0": "0", ".": ".", "e": "e", "E": "e", "+": "sign", "-": "sign"}
    kind = kinds.get(letter, "1-9" if byte in _DIGITS else "")
    if kind in rules:
        return (open_, rules[kind])
    return _after(open_, letter) if "end" in rules else None
