"""Text to token numbers and back, from an artifact's ``tokenizer.json``."""

import json
from collections.abc import Sequence
from functools import cached_property
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
        ValueError: the content is no tokenizer, its tokens are not made of bytes as GPT-2's are, or
            the package tokenizers is needed and missing.
    """

    def __init__(self, source: str) -> None:
        try:
            content = json.loads(source)
            kind = content["model"]["type"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError("tokenizer.json is damaged; export the model again") from error
        self.source = source
        self.end: int | None = None
        self._bpe: Any = None
        self._characters: list[str] = []
        if kind == "WordLevel":
            vocabulary = content["model"]["vocab"]
            self._characters = sorted(vocabulary, key=vocabulary.__getitem__)
            self._index = {character: index for index, character in enumerate(self._characters)}
            return
        if (content.get("decoder") or {}).get("type") != "ByteLevel":
            raise ValueError(f"a {kind} tokenizer must be byte-level, as GPT-2's is")
        try:
            from tokenizers import Tokenizer as HFTokenizer
        except ModuleNotFoundError as error:
            raise ValueError(
                f"a {kind} tokenizer needs the package tokenizers: make setup EXTRAS=dev,llm"
            ) from error
        self._bpe = HFTokenizer.from_str(source)
        # What the file asks for beside the vocabulary would shorten, fill or change a text.
        self._bpe.no_truncation()
        self._bpe.no_padding()
        if getattr(self._bpe.model, "dropout", None) is not None:
            self._bpe.model.dropout = None
        self.end = self._bpe.token_to_id(END_OF_TEXT)

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        if not path.is_file():
            raise ValueError(f"{path} is missing; export the model again")
        return cls(path.read_text(encoding="utf-8"))

    @classmethod
    def of_pretrained(cls, folder: Path) -> "Tokenizer":
        """From ``tokenizer.json``, or GPT-2's older ``vocab.json`` and ``merges.txt``.

        Raises:
            ValueError: neither is there, or the package tokenizers is missing.
        """
        path = folder / "tokenizer.json"
        if path.is_file():
            return cls(path.read_text(encoding="utf-8"))
        pair = [folder / "vocab.json", folder / "merges.txt"]
        if not all(file.is_file() for file in pair):
            raise ValueError(f"{folder} has no tokenizer.json, nor vocab.json and merges.txt")
        try:
            from tokenizers import ByteLevelBPETokenizer
        except ModuleNotFoundError as error:
            raise ValueError(
                f"the tokenizer of {folder} needs the package tokenizers: make setup EXTRAS=dev,llm"
            ) from error
        bpe = ByteLevelBPETokenizer(*map(str, pair), add_prefix_space=False)
        if bpe.token_to_id(END_OF_TEXT) is not None:
            bpe.add_special_tokens([END_OF_TEXT])
        return cls(bpe.to_str())

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
            return self._bpe.encode(text, add_special_tokens=False).ids
        if unknown := sorted(set(text).difference(self._index)):
            known = "".join(self._characters)
            raise ValueError(
                f"the model's vocabulary lacks {' '.join(map(repr, unknown[:20]))}; it knows the "
                f"{len(known)} characters {known!r}"
            )
        return [self._index[character] for character in text]

    def name(self, token: int) -> str:
        """What the file calls a token; a special one has no bytes but a name."""
        return self._bpe.id_to_token(token) if self._bpe else self._characters[token]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token numbers; bytes that are no UTF-8 become U+FFFD."""
        return b"".join(map(self.pieces.__getitem__, ids)).decode("utf-8", "replace")

    @cached_property
    def pieces(self) -> list[bytes]:
        """The bytes of each token, by number; a special token has none."""
        if self._bpe is None:
            return [character.encode() for character in self._characters]
        added = self._bpe.get_added_tokens_decoder()
        bytes_of = {letter: byte for byte, letter in byte_letters().items()}
        pieces = []
        for number in range(self.vocab_size):
            if number in added:
                text = added[number]
                pieces.append(b"" if text.special else text.content.encode())
            else:
                token = self._bpe.id_to_token(number)
                pieces.append(bytes(bytes_of[letter] for letter in token or ""))
        return pieces

    @cached_property
    def texts(self) -> list[str | None]:
        """The text of each token, by number; None where its bytes are not whole characters."""
        return [_text(piece) for piece in self.pieces]


def _text(piece: bytes) -> str | None:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return None


def byte_letters() -> dict[int, str]:
    """GPT-2's letter for each byte: itself where it is printable, otherwise one from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    letters = {byte: chr(byte) for byte in printable}
    return letters | {byte: chr(0x100 + index) for index, byte in enumerate(others)}
