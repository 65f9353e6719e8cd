"""Text to token numbers and back, from an artifact's ``tokenizer.json``."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

END_OF_TEXT = "<|endoftext|>"


class Tokenizer:
    """Reads the ``tokenizer.json`` format of Hugging Face's tokenizers.

    A vocabulary of single characters needs no other package; byte-pair encoding is done by the
    package tokenizers.

    Args:
        source: the content of the file.

    Raises:
        ValueError: the content is no tokenizer, or the package tokenizers is needed and missing.
    """

    def __init__(self, source: str) -> None:
        try:
            kind = json.loads(source)["model"]["type"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError("tokenizer.json is damaged; export the model again") from error
        self.source = source
        self.end: int | None = None
        self._bpe: Any = None
        self._characters: list[str] = []
        if kind == "WordLevel":
            vocabulary = json.loads(source)["model"]["vocab"]
            self._characters = sorted(vocabulary, key=vocabulary.__getitem__)
            self._index = {character: index for index, character in enumerate(self._characters)}
            return
        try:
            from tokenizers import Tokenizer as HFTokenizer
        except ModuleNotFoundError as error:
            raise ValueError(
                f"a {kind} tokenizer needs the package tokenizers: make setup EXTRAS=dev,llm"
            ) from error
        self._bpe = HFTokenizer.from_str(source)
        self.end = self._bpe.token_to_id(END_OF_TEXT)

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        if not path.is_file():
            raise ValueError(f"{path} is missing; export the model again")
        return cls(path.read_text(encoding="utf-8"))

    @property
    def vocab_size(self) -> int:
        return self._bpe.get_vocab_size() if self._bpe else len(self._characters)

    @property
    def characters(self) -> list[str]:
        """The vocabulary by number where each token is one character, otherwise empty."""
        return self._characters

    def encode(self, text: str) -> list[int]:
        """Token numbers of ``text``.

        Raises:
            ValueError: characters that the model never saw; lists them and what it knows.
        """
        if self._bpe is not None:
            return self._bpe.encode(text).ids
        if unknown := sorted(set(text) - set(self._index)):
            known = "".join(self._characters)
            raise ValueError(
                f"the model's vocabulary lacks {' '.join(map(repr, unknown[:20]))}; it knows the "
                f"{len(known)} characters {known!r}"
            )
        return [self._index[character] for character in text]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token numbers; bytes that are no UTF-8 become U+FFFD."""
        if self._bpe is not None:
            return self._bpe.decode(list(ids), skip_special_tokens=True)
        return "".join(self._characters[number] for number in ids)


class TextStream:
    """Turns tokens that come one by one into pieces of text that can be shown at once.

    Held back are a character whose bytes are not all there and what may be the beginning of a stop
    string.

    Args:
        tokenizer: decodes the tokens.
        stop: strings that end the text; they are not part of it.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._ids: list[int] = []
        self._kept = 0  # tokens whose text was taken already, but for the last few
        self._pending = ""
        self.text = ""
        self.stopped = False

    def push(self, token: int) -> str:
        """The text that is sure after this token, perhaps none."""
        self._ids.append(token)
        # Decoding from a little before the new tokens: a token may be read differently at a start.
        before = self._tokenizer.decode(self._ids[: self._kept])
        now = self._tokenizer.decode(self._ids)
        # A character has at most four bytes, so more tokens than that are no beginning of one.
        if now.endswith("\ufffd") and len(self._ids) - self._kept < 4:
            return ""
        self._pending += now[len(before) :]
        self._ids, self._kept = self._ids[-4:], len(self._ids[-4:])
        return self._emit()

    def flush(self) -> str:
        """What was held back, when no more tokens come."""
        if self.stopped:
            return ""
        before = self._tokenizer.decode(self._ids[: self._kept])
        tail = self._tokenizer.decode(self._ids)[len(before) :]
        piece, self._pending = self._pending + tail, ""
        self.text += piece
        return piece

    def _emit(self) -> str:
        found = [at for stop in self._stop if (at := self._pending.find(stop)) >= 0]
        if found:
            piece, self._pending, self.stopped = self._pending[: min(found)], "", True
        else:
            held = max((_overlap(self._pending, stop) for stop in self._stop), default=0)
            cut = len(self._pending) - held
            piece, self._pending = self._pending[:cut], self._pending[cut:]
        self.text += piece
        return piece


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of ``text`` could begin ``stop``."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if stop.startswith(text[-length:]):
            return length
    return 0
