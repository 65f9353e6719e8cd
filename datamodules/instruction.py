"""Questions and answers as data for fine-tuning a language model."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from datamodules.pairs import SHIPPED, read_pairs
from datamodules.resident import ResidentLoader
from datamodules.resumable import ResumableDataModule
from datamodules.splitting import split
from datamodules.tokenizers import BPETokenizer
from datamodules.windows import IGNORED

Pair = tuple[str, str]
Tokens = tuple[list[int], list[int]]  # of the prompt, of the answer


class InstructionDataModule(ResumableDataModule):
    """Batches ``(ids, targets)`` of int64 (B, context), with ``segments`` where rows are packed.

    Only the answer and the end of text behind it are learned: ``targets`` holds the token after
    each and -100 where that is of the question or nothing at all. A row is padded on its right with
    the end of text. Packed, a row holds as many examples as fit, and ``segments`` (B, context)
    numbers them: the model lets none see another.

    Args:
        source: ``gpu_questions`` (shipped: 140 questions about GPUs and machine learning),
            ``course_questions`` (shipped: the course's five), or a file or folder with the fields
            ``question`` and ``answer``, see :func:`~datamodules.pairs.read_pairs`.
        tokenizer: a folder with ``tokenizer.json``, or with GPT-2's ``vocab.json`` and
            ``merges.txt``, or a name on the Hugging Face hub; None for that of the model that is
            trained.
        template: what the model is given; ``{question}`` stands for the question.
        context: tokens per row.
        batch_size: rows a training step and device.
        eval_batch_size: rows a validation step; it changes speed only.
        pack: several examples per row.
        too_long: what to do with an example longer than ``context``: ``error``, ``skip`` or
            ``cut`` its end; how many there were is printed.
        val_size: examples that are held out, fewer where a question that occurs several times would
            be in both splits; 0 for none; None for 8, or a fifth of fewer than 40 examples.
        seed: seed of the split and of the order.

    Raises:
        ValueError: a file that cannot be read, a line without its fields, no examples, one that is
            too long, or sizes that do not fit.
    """

    yields = "tokens"
    order_options = ("seed", "batch_size", "context", "pack", "too_long", "val_size")

    def __init__(
        self,
        source: str = "gpu_questions",
        tokenizer: str | None = None,
        template: str = "Question: {question}\nAnswer:",
        context: int = 128,
        batch_size: int = 8,
        eval_batch_size: int = 32,
        pack: bool = False,
        too_long: Literal["error", "skip", "cut"] = "error",
        val_size: int | None = None,
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
        if val_size is not None and val_size < 0:
            raise ValueError(f"val_size must be 0 or more, got {val_size}")
        if "{question}" not in template:
            raise ValueError("the template must hold {question}")
        if too_long not in ("error", "skip", "cut"):
            raise ValueError(f"too_long must be error, skip or cut, got {too_long!r}")
        # Of a loggers' single list of names, context is the model's, which may be longer.
        self.save_hyperparameters(logger=False)
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
        self.held_out: list[Pair] = []
        self.opening = ""  # a prompt, for callbacks that show what the model makes of it
        self._splits: dict[str, tuple[Tensor, ...]] = {}
        self._expected: str | None = None

    def prepare_data(self) -> None:
        self._load_tokenizer()

    def prompt(self, question: str) -> str:
        """What the model is given for a question."""
        return self.template.replace("{question}", question)

    def setup(self, stage: str) -> None:
        """Read, tokenize, split and pad or pack, once."""
        if self._splits:
            return
        pairs = read_pairs(SHIPPED.get(self.source, Path(self.source)))
        self.tokenizer = self._load_tokenizer()
        examples = self._fit([(pair, self._tokens(pair)) for pair in pairs])
        if self.val_size is None:
            self.val_size = min(8, len(examples) // 5)
        train, val = split(examples, self.val_size, self.seed, _question)
        self._tell_repeated(examples, len(val))
        self.content = hashlib.sha256(repr([train, val]).encode()).hexdigest()
        self._check_examples()
        device = torch.device("cpu") if self.trainer is None else self._device()
        for name, part in (("val", val), ("train", train)):
            if part:
                # Validation is never packed: each answer counts by itself.
                tensors = self._rows([tokens for _, tokens in part], self.pack and part is train)
                self._splits[name] = tuple(tensor.to(device) for tensor in tensors)
                self._describe(name, [tokens for _, tokens in part], tensors[0])
        self.held_out = [pair for pair, _ in val]
        self.opening = self.prompt((val or train)[0][0][0])

    def _device(self) -> torch.device:
        return self.trainer.strategy.root_device  # type: ignore[union-attr]

    def _load_tokenizer(self) -> BPETokenizer:
        module = None if self.trainer is None else self.trainer.lightning_module
        name = self.tokenizer_name or getattr(module, "pretrained", None)
        if name is None:
            raise ValueError(
                "without a model that has one the tokenizer must be named: a folder or a name on "
                "the Hugging Face hub (--data.init_args.tokenizer)"
            )
        return BPETokenizer.from_pretrained(name)

    def _tokens(self, pair: Pair) -> Tokens:
        assert self.tokenizer is not None
        prompt = self.tokenizer.encode(self.prompt(pair[0])).tolist()
        return prompt, [*self.tokenizer.encode(f" {pair[1]}").tolist(), self.tokenizer.end]

    def _fit(self, examples: list[tuple[Pair, Tokens]]) -> list[tuple[Pair, Tokens]]:
        """The examples without those that are too long, or with their answers cut."""
        lengths = [len(prompt) + len(answer) for _, (prompt, answer) in examples]
        long = sum(length > self.context for length in lengths)
        if not long:
            return examples
        told = f"{long} of {len(lengths)} examples are longer than {self.context} tokens"
        if self.too_long == "error":
            raise ValueError(
                f"{told} (the longest has {max(lengths)}); set --data.init_args.context "
                f"{max(lengths)}, or --data.init_args.too_long skip or cut"
            )
        fitting = []
        for pair, (prompt, answer) in examples:
            room = self.context - len(prompt)
            if len(answer) <= room or (self.too_long == "cut" and room > 0):
                fitting.append((pair, (prompt, answer[:room])))
        left_out = len(examples) - len(fitting)
        rank_zero_info(f"{told}: {long - left_out} cut, {left_out} left out")
        if not fitting:
            raise ValueError(f"no example of {self.source} fits into {self.context} tokens")
        return fitting

    def _rows(self, examples: list[Tokens], pack: bool) -> tuple[Tensor, ...]:
        assert self.tokenizer is not None
        rows: list[list[Tokens]] = []
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

    def _tell_repeated(self, examples: list[tuple[Pair, Tokens]], held_out: int) -> None:
        repeated = len(examples) - len({_question(example) for example in examples})
        if repeated:
            rank_zero_info(
                f"{repeated} of {len(examples)} examples repeat a question; equal ones are in one "
                f"split, {held_out} are held out"
            )

    def _describe(self, name: str, examples: list[Tokens], ids: Tensor) -> None:
        answers = sum(len(answer) for _, answer in examples)
        tokens = answers + sum(len(prompt) for prompt, _ in examples)
        rank_zero_info(
            f"{name}: {len(examples)} examples in {len(ids)} rows of {self.context}, {tokens:,} "
            f"tokens, {answers:,} of them answers, {1 - tokens / ids.numel():.0%} padding"
        )

    def train_dataloader(self) -> ResidentLoader:
        self.refuse_unknown_order()
        overfit = self.trainer is not None and self.trainer.overfit_batches
        # --trainer.overfit_batches means the same batches every epoch.
        return self._loader("train", self.batch_size, shuffle=not overfit)

    def val_dataloader(self) -> ResidentLoader | Sequence:
        if "val" not in self._splits:
            self.refuse_empty_validation("val_size")
            return []
        return self._loader("val", self.eval_batch_size)

    def _loader(self, split: str, batch_size: int, shuffle: bool = False) -> ResidentLoader:
        rank, world_size = 0, 1
        if self.trainer is not None:
            rank, world_size = self.trainer.global_rank, self.trainer.world_size
        return ResidentLoader(self._splits[split], batch_size, shuffle, self.seed, rank, world_size)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "examples": self.content}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._expected = state_dict.get("examples")
        if self.content:
            self._check_examples()

    def _order(self) -> dict[str, Any]:
        # The examples are compared by themselves, for an export as well.
        return {name: value for name, value in super()._order().items() if name != "content"}

    def _check_examples(self) -> None:
        if self._expected is not None and self._expected != self.content:
            raise ValueError(
                f"the checkpoint was trained on other examples than those of {self.source} now; "
                "continue with the data, template, tokenizer and seed of that run, or start a new "
                "run"
            )


def _question(example: tuple[Pair, Tokens]) -> str:
    """What makes two questions equal: their words, whatever their capitals and blanks."""
    return " ".join(example[0][0].casefold().split())
