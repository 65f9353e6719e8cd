"""Pieces of text from tokens as they come; stop strings end it."""

import codecs
from collections.abc import Sequence

from inference.text.tokenizer import Tokenizer


class TextStream:
    """Turns tokens, as they come, into pieces of text that can be shown at once.

    Held back are a character whose bytes are not all there and what may be the beginning of a stop
    string.

    Args:
        tokenizer: decodes the tokens.
        stop: strings that end the text; they are not part of it.

    ``came`` counts the characters of all tokens so far, ``given`` those that were given out.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        self._pieces = tokenizer.pieces
        self._texts = tokenizer.texts
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._partial = False  # whether the decoder has some bytes of a character
        self._stop = [_Stop(text) for text in stop]
        self._firsts = {text[0] for text in stop}
        self._pending = ""
        self._shown: list[str] = []
        self.came = self.given = 0
        self.stop: str | None = None  # the string that ended the text

    @property
    def stopped(self) -> bool:
        return self.stop is not None

    @property
    def text(self) -> str:
        """All that was given out so far."""
        return "".join(self._shown)

    @property
    def pieces(self) -> int:
        """How many pieces were given out so far."""
        return len(self._shown)

    def between(self, begin: int, end: int) -> str:
        """The text of pieces ``begin`` to ``end``; may be called while another thread pushes."""
        return "".join(self._shown[begin:end])

    def push(self, token: int) -> str:
        """The text that is sure after this token, perhaps none."""
        # Nearly all tokens are whole characters, which are then decoded once for all streams.
        text = None if self._partial else self._texts[token]
        if text is None:
            text = self._decoder.decode(self._pieces[token])
            self._partial = bool(self._decoder.getstate()[0])
        self.came += len(text)
        if self._stop and (self._pending or not self._firsts.isdisjoint(text)):
            return self._emit(text)
        return self._show(text)

    def flush(self) -> str:
        """What was held back, when no more tokens come."""
        if self.stopped:
            return ""
        piece, self._pending = self._pending + self._decoder.decode(b"", final=True), ""
        return self._show(piece)

    def _show(self, piece: str) -> str:
        self._shown.append(piece)
        self.given += len(piece)
        return piece

    def _emit(self, text: str) -> str:
        for at, character in enumerate(text):
            found = [stop.push(character) for stop in self._stop]
            if whole := [stop.text for stop, ends in zip(self._stop, found, strict=True) if ends]:
                self._pending, before = "", self._pending
                self.stop = max(whole, key=len)
                piece = (before + text[: at + 1])[: -len(self.stop)]
                break
        else:
            self._pending += text
            cut = len(self._pending) - max(stop.matched for stop in self._stop)
            piece, self._pending = self._pending[:cut], self._pending[cut:]
        return self._show(piece)


class _Stop:
    """A string that is looked for while its characters come, in linear time.

    ``matched`` characters at the end of what came are the beginning of it. Source: D. Knuth,
    J. Morris, V. Pratt, Fast pattern matching in strings, 1977.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.matched = 0
        # For each beginning, the length of the longest shorter one that it ends with.
        self._shorter = [0]
        length = 0
        for character in text[1:]:
            length = self._longest(length, character)
            self._shorter.append(length)

    def push(self, character: str) -> bool:
        """Whether the string ends with this character."""
        self.matched = self._longest(self.matched, character)
        return self.matched == len(self.text)

    def _longest(self, length: int, character: str) -> int:
        while length and self.text[length] != character:
            length = self._shorter[length - 1]
        return length + (self.text[length] == character)
