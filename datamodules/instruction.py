"""Questions and answers as data for fine-tuning a language model."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from datamodules.resident import ResidentLoader
from datamodules.tokenizers import BPETokenizer
from datamodules.windows import IGNORED

GPU_QUESTIONS = Path(__file__).parent / "gpu_questions.jsonl"
Example = tuple[list[int], list[int]]  # tokens of the prompt, of the answer


class InstructionDataModule(pl.LightningDataModule):
    """Batches ``(ids, targets)`` of int64 (B, context), with ``segments`` where rows are packed.

    Only the answer and the end of text behind it are learnt: ``targets`` holds the token after each
    and -100 where that is of the question or nothing at all. A row is padded on its right. Packed,
    a row holds as many examples as fit, and ``segments`` (B, context) numbers them: the model lets
    none see another.

    Args:
        source: ``gpu_questions`` (shipped: questions about GPUs and machine learning), or a file
            ``*.jsonl`` or ``*.csv`` with the fields ``question`` and ``answer``.
        tokenizer: that of the model: a name on the Hugging Face hub, or a folder with
            ``tokenizer.json``, or with GPT-2's ``vocab.json`` and ``merges.txt``.
        template: what the model is given; ``{question}`` stands for the question.
        context: tokens a row.
        batch_size: rows a training step and device.
        eval_batch_size: rows a validation step; it changes speed only.
        pack: several examples a row.
        too_long: what to do with an example longer than ``context``: ``error``, ``skip`` or
            ``cut`` its end; how many there were is printed.
        val_size: examples that are held out; 0 for none.
        seed: seed of the split and of the order.

    Raises:
        ValueError: a file that cannot be read, a line without its fields, no examples, one that is
            too long, or sizes that do not fit.
    """

    gives = "tokens"

    def __init__(
        self,
        source: str = "gpu_questions",
        tokenizer: str = "gpt2",
        template: str = "Question: {question}\nAnswer:",
        context: int = 128,
        batch_size: int = 8,
        eval_batch_size: int = 32,
        pack: bool = False,
        too_long: str = "error",
        val_size: int = 8,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, size in (
            ("context", context),
            ("batch_size", batch_size),
            ("eval_batch_size", eval_batch_size),
        ):
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")
        if val_size < 0:
            raise ValueError(f"val_size must be 0 or more, got {val_size}")
        if "{question}" not in template:
            raise ValueError("the template must hold {question}")
        if too_long not in ("error", "skip", "cut"):
            raise ValueError(f"too_long must be error, skip or cut, got {too_long!r}")
        self.save_hyperparameters()
        self.source = source
        self.tokenizer_name = tokenizer
        self.template = template
        self.context = context
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.pack = pack
        self.too_long = too_long
        self.val_size = val_size
        self.seed = seed
        self.tokenizer: BPETokenizer | None = None
        # The held-out pairs as text, for callbacks that ask the model.
        self.held_out: list[tuple[str, str]] = []
        self._splits: dict[str, tuple[Tensor, ...]] = {}

    def prepare_data(self) -> None:
        BPETokenizer.from_pretrained(self.tokenizer_name)

    def prompt(self, question: str) -> str:
        """What the model is given for a question."""
        return self.template.replace("{question}", question)

    def setup(self, stage: str) -> None:
        """Read, tokenise, split and pad or pack, once."""
        if self._splits:
            return
        path = GPU_QUESTIONS if self.source == "gpu_questions" else Path(self.source)
        pairs = read_pairs(path)
        self.tokenizer = BPETokenizer.from_pretrained(self.tokenizer_name)
        if self.val_size >= len(pairs):
            raise ValueError(f"val_size={self.val_size} leaves none of the {len(pairs)} examples")
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(len(pairs), generator=generator).tolist()
        self.held_out = [pairs[number] for number in order[: self.val_size]]
        examples = self._fit([self._tokens(pairs[number]) for number in order])
        device = torch.device("cpu") if self.trainer is None else self._device()
        for name, part in (
            ("val", examples[: self.val_size]),
            ("train", examples[self.val_size :]),
        ):
            part = [example for example in part if example is not None]
            if part:
                # Validation is never packed: each answer counts by itself.
                tensors = self._rows(part, self.pack and name == "train")
                self._splits[name] = tuple(tensor.to(device) for tensor in tensors)
                self._describe(name, part, tensors[0])
        if "train" not in self._splits:
            raise ValueError(f"no example of {self.source} fits into {self.context} tokens")

    def _device(self) -> torch.device:
        return self.trainer.strategy.root_device  # type: ignore[union-attr]

    def _tokens(self, pair: tuple[str, str]) -> Example:
        assert self.tokenizer is not None
        prompt = self.tokenizer.encode(self.prompt(pair[0])).tolist()
        return prompt, [*self.tokenizer.encode(f" {pair[1]}").tolist(), self.tokenizer.end]

    def _fit(self, examples: list[Example]) -> list[Example | None]:
        long = [e for e in examples if len(e[0]) + len(e[1]) > self.context]
        if not long:
            return list(examples)
        longest = max(len(prompt) + len(answer) for prompt, answer in long)
        told = f"{len(long)} of {len(examples)} examples are longer than {self.context} tokens"
        if self.too_long == "error":
            raise ValueError(
                f"{told} (the longest has {longest}); set --data.init_args.context {longest}, or "
                "--data.init_args.too_long skip or cut"
            )
        rank_zero_info(f"{told}: {self.too_long}")
        fitting: list[Example | None] = []
        for prompt, answer in examples:
            room = self.context - len(prompt)
            whole = len(answer) <= room
            if whole or (self.too_long == "cut" and room > 0):
                fitting.append((prompt, answer[:room]))
            else:
                fitting.append(None)
        return fitting

    def _rows(self, examples: list[Example], pack: bool) -> tuple[Tensor, ...]:
        assert self.tokenizer is not None
        rows: list[list[Example]] = []
        for example in examples:
            used = sum(len(p) + len(a) for p, a in rows[-1]) if rows else 0
            if pack and rows and used + len(example[0]) + len(example[1]) <= self.context:
                rows[-1].append(example)
            else:
                rows.append([example])
        ids = torch.full((len(rows), self.context), self.tokenizer.end)
        targets = torch.full((len(rows), self.context), IGNORED)
        segments = torch.zeros(len(rows), self.context, dtype=torch.long)
        for row, packed in enumerate(rows):
            at = 0
            for number, (prompt, answer) in enumerate(packed, start=1):
                end = at + len(prompt) + len(answer)
                ids[row, at:end] = torch.tensor(prompt + answer)
                # A target stands where the token before it does.
                targets[row, at + len(prompt) - 1 : end - 1] = torch.tensor(answer)
                segments[row, at:end] = number
                at = end
        return (ids, targets, segments) if pack else (ids, targets)

    def _describe(self, name: str, examples: list[Example], ids: Tensor) -> None:
        answers = sum(len(answer) for _, answer in examples)
        tokens = answers + sum(len(prompt) for prompt, _ in examples)
        rank_zero_info(
            f"{name}: {len(examples)} examples in {len(ids)} rows of {self.context}, {tokens:,} "
            f"tokens, {answers:,} of them answers, {1 - tokens / ids.numel():.0%} padding"
        )

    def train_dataloader(self) -> ResidentLoader:
        return self._loader("train", self.batch_size, shuffle=True)

    def val_dataloader(self) -> ResidentLoader | Sequence:
        return self._loader("val", self.eval_batch_size) if "val" in self._splits else []

    def _loader(self, split: str, batch_size: int, shuffle: bool = False) -> ResidentLoader:
        rank, world_size = 0, 1
        if self.trainer is not None:
            rank, world_size = self.trainer.global_rank, self.trainer.world_size
        return ResidentLoader(self._splits[split], batch_size, shuffle, self.seed, rank, world_size)


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """Questions and answers of a ``*.jsonl`` or ``*.csv`` file.

    Raises:
        ValueError: no such file, another kind of file, no examples, or a line without its fields;
            names the line.
    """
    if path.suffix not in (".jsonl", ".csv"):
        raise ValueError(f"{path} must be a *.jsonl or *.csv file")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = _csv_rows(file) if path.suffix == ".csv" else _json_rows(path, file)
            pairs = [_pair(path, number, row) for number, row in rows]
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    if not pairs:
        raise ValueError(f"{path} holds no examples")
    return pairs


def _csv_rows(file: Any) -> list[tuple[int, Any]]:
    reader = csv.DictReader(file)
    return [(reader.line_num, row) for row in reader]


def _json_rows(path: Path, file: Any) -> list[tuple[int, Any]]:
    rows = []
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            rows.append((number, json.loads(line)))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: no JSON ({error})") from error
    return rows


def _pair(path: Path, number: int, row: Any) -> tuple[str, str]:
    for name in ("question", "answer"):
        value = row.get(name) if isinstance(row, dict) else None
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{path}, line {number}: the field {name!r} is missing or empty")
    return row["question"].strip(), row["answer"].strip()
