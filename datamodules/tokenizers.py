"""From a corpus to a vocabulary and token numbers.

A tokenizer is kept as text in the ``tokenizer.json`` format of Hugging Face's tokenizers, whichever
kind it is, so that transformers and vLLM read it too.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules.hub import pretrained_folder

END_OF_TEXT = "<|endoftext|>"


class CharTokenizer:
    """One token per character, numbered in the order of code points.

    Args:
        characters: the vocabulary.
    """

    def __init__(self, characters: str) -> None:
        self.characters = "".join(sorted(set(characters)))

    @property
    def vocab_size(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> Tensor:
        """Token numbers (N,), int32.

        Raises:
            ValueError: characters outside the vocabulary; lists them.
        """
        if unknown := sorted(set(text) - set(self.characters)):
            raise ValueError(
                f"the vocabulary lacks {len(unknown)} characters of the text: "
                f"{' '.join(map(repr, unknown[:20]))}"
            )
        known = np.array([ord(character) for character in self.characters], dtype=np.uint32)
        codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
        return torch.from_numpy(np.searchsorted(known, codes).astype(np.int32))

    def to_json(self) -> str:
        vocabulary = {character: number for number, character in enumerate(self.characters)}
        return json.dumps(
            {
                "version": "1.0",
                "truncation": None,
                "padding": None,
                "added_tokens": [],
                "normalizer": None,
                "pre_tokenizer": {
                    "type": "Split",
                    "pattern": {"Regex": "[\\s\\S]"},
                    "behavior": "Isolated",
                    "invert": False,
                },
                "post_processor": None,
                "decoder": {"type": "Fuse"},
                # No token stands for the unknown: a character outside the vocabulary is an error.
                "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unknown>"},
            },
            ensure_ascii=False,
        )


class BPETokenizer:
    """Byte-level byte-pair encoding, as GPT-2 has it; every text has token numbers.

    Source: R. Sennrich, B. Haddow and A. Birch, Neural machine translation of rare words with
    subword units, 2016.

    Truncation, padding and dropout that its file asks for are switched off: a text has all of its
    tokens and no others, always the same.

    Args:
        tokenizer: a ``tokenizers.Tokenizer``.
    """

    def __init__(self, tokenizer: Any) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        if getattr(tokenizer.model, "dropout", None) is not None:
            tokenizer.model.dropout = None
        self._tokenizer = tokenizer

    @classmethod
    def fit(cls, text: str, vocab_size: int) -> "BPETokenizer":
        """Learns ``vocab_size`` tokens from a text, the end of text and all 256 bytes included.

        Raises:
            ValueError: fewer than 257 tokens, or the package tokenizers is missing.
        """
        if vocab_size < 257:
            raise ValueError(f"a byte-level vocabulary has at least 257 tokens, got {vocab_size}")
        library = _library()
        bpe = library.ByteLevelBPETokenizer(add_prefix_space=False)
        # The end of text is a token already; its letters are no text to learn from.
        lines = text.replace(END_OF_TEXT, "\n").splitlines(keepends=True)
        bpe.train_from_iterator(
            lines, vocab_size, min_frequency=2, show_progress=False, special_tokens=[END_OF_TEXT]
        )
        return cls(bpe._tokenizer)

    @classmethod
    def from_files(cls, folder: Path) -> "BPETokenizer":
        """GPT-2's own files, ``vocab.json`` and ``merges.txt``.

        Raises:
            ValueError: a file is missing, or the package tokenizers is.
        """
        paths = [folder / name for name in ("vocab.json", "merges.txt")]
        for path in paths:
            if not path.is_file():
                raise ValueError(
                    f"{path} is missing; a tokenizer folder holds vocab.json and merges.txt, as "
                    "GPT-2's repository on the Hugging Face hub does"
                )
        library = _library()
        bpe = library.ByteLevelBPETokenizer(*map(str, paths), add_prefix_space=False)
        if bpe.token_to_id(END_OF_TEXT) is not None:
            bpe.add_special_tokens([END_OF_TEXT])
        return cls(bpe._tokenizer)

    @classmethod
    def from_pretrained(cls, name: str) -> "BPETokenizer":
        """The tokenizer of a pretrained GPT-2.

        Args:
            name: a folder with ``tokenizer.json``, or with GPT-2's ``vocab.json`` and
                ``merges.txt``; or a name on the Hugging Face hub.

        Raises:
            ValueError: it cannot be had, is no byte-pair encoding, or has no end of text.
        """
        folder = pretrained_folder(name, weights=False)
        path = folder / "tokenizer.json"
        if not path.is_file():
            return cls.from_files(folder)
        library = _library()
        try:
            tokenizer = library.Tokenizer.from_file(str(path))
        except Exception as error:  # the package raises Exception itself
            raise ValueError(f"{path} is damaged ({' '.join(str(error).split())[:200]})") from error
        found = cls(tokenizer)
        found.end  # noqa: B018  says it where there is none
        return found

    @property
    def end(self) -> int:
        """Number of the end of text.

        Raises:
            ValueError: the vocabulary has none.
        """
        number = self._tokenizer.token_to_id(END_OF_TEXT)
        if number is None:
            raise ValueError(
                f"the tokenizer has no {END_OF_TEXT}, which ends an answer; take a byte-pair "
                "tokenizer such as GPT-2's"
            )
        return number

    @property
    def vocab_size(self) -> int:
        return self._tokenizer.get_vocab_size()

    def encode(self, text: str) -> Tensor:
        """Token numbers (N,), int32, without any that a template would add."""
        return torch.tensor(
            self._tokenizer.encode(text, add_special_tokens=False).ids, dtype=torch.int32
        )

    def to_json(self) -> str:
        return self._tokenizer.to_str()


def _library() -> Any:
    try:
        import tokenizers
    except ModuleNotFoundError as error:
        raise ValueError(
            "byte-pair encoding needs the package tokenizers: make setup EXTRAS=dev,llm"
        ) from error
    return tokenizers
