"""A text as a language model's data: tokenized, cut by position, on the training device."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from datamodules.corpus import (
    COURSE_TEXT,
    cats_and_dogs,
    download_shakespeare,
    python_topics,
    read_shakespeare,
    read_texts,
)
from datamodules.resumable import ResumableDataModule, sha256
from datamodules.tokenizers import BPETokenizer, CharTokenizer
from datamodules.windows import WindowLoader


class CharTextDataModule(ResumableDataModule):
    """Batches ``(inputs, targets)`` of int64 (B, context), targets one token further on.

    The first part of the text is for training, the last for validation, which sees the whole of it
    in strides of ``context``, each token counted once. The text lies on the device as token
    numbers, and a batch is cut by index.

    Args:
        source: ``cats_and_dogs`` (embedded), ``course`` (the course's 135 characters, too few for a
            validation part), ``python_topics`` (comes with Python),
            ``tiny_shakespeare`` (downloaded, checked), or the path of a text file or of a folder of
            ``*.txt`` files, UTF-8.
        root: folder of downloads.
        context: tokens a window.
        batch_size: windows a training step and device.
        eval_batch_size: windows a validation step; it changes speed only.
        batches: training batches per epoch and device.
        val_fraction: share of the text, its end, for validation; 0 for none.
        tokenizer: ``char`` (one token per character), ``bpe`` (byte pairs learned from the text),
            or a folder with GPT-2's ``vocab.json`` and ``merges.txt``.
        bpe_vocab_size: tokens that ``bpe`` learns.
        seed: seed of the windows' offsets and order.

    Raises:
        ValueError: sizes below 1, a share outside 0 to below 1, a text that cannot be read or is
            shorter than a window.
    """

    yields = "tokens"
    order_options = ("seed", "batch_size", "batches", "context", "val_fraction")

    def __init__(
        self,
        source: str = "cats_and_dogs",
        root: str = "data",
        context: int = 32,
        batch_size: int = 32,
        eval_batch_size: int = 64,
        batches: int = 250,
        val_fraction: float = 0.1,
        tokenizer: str = "char",
        bpe_vocab_size: int = 512,
        seed: int = 0,
    ) -> None:
        super().__init__()
        sizes = {
            "context": context,
            "batch_size": batch_size,
            "eval_batch_size": eval_batch_size,
            "batches": batches,
        }
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")
        if not 0 <= val_fraction < 1:
            raise ValueError(f"val_fraction must be from 0 to below 1, got {val_fraction}")
        # Of a loggers' single list of names, context is the model's, which may be longer.
        self.save_hyperparameters(logger=False)
        self.source = source
        self.root = root
        self.context = context
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.batches = batches
        self.val_fraction = val_fraction
        self.tokenizer_kind = tokenizer
        self.bpe_vocab_size = bpe_vocab_size
        self.seed = seed
        self.tokenizer: CharTokenizer | BPETokenizer | None = None
        # Characters that a token of the validation text stands for, on average.
        self.chars_per_token = 1.0
        # How the validation text begins, for callbacks that show what the model makes of it.
        self.opening = ""
        self._splits: dict[str, Tensor] = {}
        self._expected: str | None = None

    @property
    def _shakespeare(self) -> Path:
        return Path(self.root) / "tinyshakespeare" / "input.txt"

    def prepare_data(self) -> None:
        if self.source == "tiny_shakespeare":
            download_shakespeare(self._shakespeare)

    def _read(self) -> str:
        if self.source == "cats_and_dogs":
            return cats_and_dogs()
        if self.source == "course":
            return COURSE_TEXT
        if self.source == "python_topics":
            return python_topics()
        if self.source == "tiny_shakespeare":
            return read_shakespeare(self._shakespeare)
        return read_texts(Path(self.source))

    def setup(self, stage: str) -> None:
        """Read, tokenize and cut the text, once."""
        if self._splits:
            return
        text = self._read()
        cut = int(len(text) * (1 - self.val_fraction))
        parts = {"train": text[:cut], "val": text[cut:]} if self.val_fraction else {"train": text}
        if self.tokenizer_kind == "char":
            tokenizer = CharTokenizer(text)
        elif self.tokenizer_kind == "bpe":
            # From the training part alone: the validation text stays unseen.
            tokenizer = BPETokenizer.fit(parts["train"], self.bpe_vocab_size)
        else:
            tokenizer = BPETokenizer.from_files(Path(self.tokenizer_kind))
        self._check_tokenizer(tokenizer.to_json())
        splits = {name: tokenizer.encode(part) for name, part in parts.items()}
        for name, tokens in splits.items():
            if len(tokens) <= self.context:
                raise ValueError(
                    f"the {name} part of {self.source} has {len(tokens)} tokens, a window needs "
                    f"{self.context + 1}; give a longer text, a smaller context or, for "
                    "validation, another val_fraction"
                )
        measured = "val" if self.val_fraction else "train"
        self.chars_per_token = len(parts[measured]) / len(splits[measured])
        self.opening = _opening(parts[measured])
        self.content = sha256(splits.values())
        if self.trainer is not None:
            device = self.trainer.strategy.root_device
            splits = {name: tokens.to(device) for name, tokens in splits.items()}
        self.tokenizer, self._splits = tokenizer, splits

    def train_dataloader(self) -> WindowLoader:
        self.refuse_unknown_order()
        return self._loader("train", self.batch_size, self.batches)

    def val_dataloader(self) -> WindowLoader | Sequence:
        if not self.val_fraction:
            self.refuse_empty_validation("val_fraction")
            return []
        return self._loader("val", self.eval_batch_size)

    def _loader(self, split: str, batch_size: int, batches: int = 0) -> WindowLoader:
        rank, world_size, shuffle = 0, 1, True
        if self.trainer is not None:
            rank, world_size = self.trainer.global_rank, self.trainer.world_size
            # --trainer.overfit_batches means the same batches every epoch.
            shuffle = not self.trainer.overfit_batches
        text, order = self._splits[split], (self.seed, rank, world_size, shuffle)
        return WindowLoader(text, self.context, batch_size, batches, *order)

    def state_dict(self) -> dict[str, Any]:
        if self.tokenizer is None:
            return {}
        return {**super().state_dict(), "tokenizer": self.tokenizer.to_json()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._expected = state_dict.get("tokenizer")
        if self.tokenizer is not None:
            self._check_tokenizer(self.tokenizer.to_json())
        super().load_state_dict(state_dict)

    def _check_tokenizer(self, mine: str) -> None:
        if self._expected is not None and self._expected != mine:
            raise ValueError(
                f"the checkpoint was trained with another tokenizer than that of {self.source}; "
                "resume with the text and tokenizer of that run, or start a new run"
            )


def _opening(text: str) -> str:
    """The first 200 characters; from the second line on where the first one is short."""
    start = text[:100].find("\n") + 1
    return text[start : start + 200].lstrip() or text[:200]
