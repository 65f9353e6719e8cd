"""What a language model writes while it learns."""

from dataclasses import asdict
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from inference.generate import TextGenerator
from inference.sampling import SamplingOptions
from inference.tokenizer import Tokenizer


class TextSamples(pl.Callback):
    """Adds texts to TensorBoard every ``every_n_steps`` steps, by the weights as they are.

    Same prompts, same seed: what changes from sample to sample is what was learnt. The texts are
    made by the project's own sampler from a copy of the weights, so the training, its random
    numbers included, does not notice.

    Args:
        prompts: beginnings of texts; they must be in the vocabulary.
        every_n_steps: optimiser steps between two samples.
        max_new_tokens, temperature: see :class:`~inference.sampling.SamplingOptions`.

    Raises:
        ValueError: an interval below 1, or a prompt outside the vocabulary.
    """

    reads = "tokens"

    def __init__(
        self,
        prompts: tuple[str, ...] = ("the cat", "the dog"),
        every_n_steps: int = 250,
        max_new_tokens: int = 100,
        temperature: float = 0.8,
    ) -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps must be at least 1, got {every_n_steps}")
        self.prompts = prompts
        self.every_n_steps = every_n_steps
        self.options = SamplingOptions(max_new_tokens, temperature, seed=0)
        self._last = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._last = trainer.global_step
        tokenizer = Tokenizer(trainer.datamodule.tokenizer.to_json())  # type: ignore[attr-defined]
        for prompt in self.prompts:
            tokenizer.encode(prompt)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        # A step may be several of the optimiser's, so the interval may be passed between two.
        if trainer.global_step // self.every_n_steps > self._last // self.every_n_steps:
            # Asked for by all processes: sharded weights (FSDP) are put together here.
            self._write(trainer, trainer.strategy.lightning_module_state_dict())
        self._last = trainer.global_step

    @rank_zero_only
    def _write(self, trainer: pl.Trainer, state: dict[str, Any]) -> None:
        net: Any = trainer.lightning_module.net
        weights = {name.removeprefix("net."): value for name, value in state.items()}
        generator = TextGenerator(
            asdict(net.config),
            weights,
            Tokenizer(trainer.datamodule.tokenizer.to_json()),  # type: ignore[attr-defined]
            device="cpu",
            slots=len(self.prompts),
        )
        texts = generator.generate(self.prompts, self.options)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                for prompt, text in zip(self.prompts, texts, strict=True):
                    # Four blanks keep the lines as they are in Markdown.
                    lines = (prompt + text.text).replace("\n", "\n    ")
                    logger.experiment.add_text(
                        f"samples/{prompt.strip()}", f"    {lines}", trainer.global_step
                    )
