"""What a language model writes while it learns."""

from dataclasses import asdict
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from callbacks.vocabulary import known_texts
from inference.generate import TextGenerator
from inference.sampling import SamplingOptions
from inference.tokenizer import Tokenizer


class TextSamples(pl.Callback):
    """Adds texts to TensorBoard every ``every_n_steps`` steps, by the weights as they are.

    Same prompts, same seed: what changes from sample to sample is what was learnt. The texts are
    made by the project's own sampler from a copy of the weights, so the training, its random
    numbers included, does not notice.

    Args:
        prompts: what the samples begin with; none for the first words of the validation text. A
            prompt that the vocabulary has no tokens for is left out with a warning.
        every_n_steps: optimiser steps between two samples.
        max_new_tokens, temperature: see :class:`~inference.sampling.SamplingOptions`.

    Raises:
        ValueError: an interval below 1.
    """

    reads = "tokens"
    counts_chunks = True  # see strategies/chunks.py

    def __init__(
        self,
        prompts: tuple[str, ...] = (),
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
        self._shown: list[str] = []
        self._refused = False  # of the first process alone; the others do not know it

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._last = trainer.global_step
        tokenizer, known = known_texts(trainer, self, "prompts", self.prompts)
        net: Any = pl_module.net
        room = max(1, net.config.context // 2)
        if known and known[0] not in self.prompts:
            start = tokenizer.encode(_first_words(known[0]))[:room]
            known = [tokenizer.decode(start)]
        self._shown = known

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        # A step may be several of the optimiser's, so the interval may be passed between two.
        if (
            self._shown
            and trainer.global_step // self.every_n_steps > self._last // self.every_n_steps
        ):
            # Asked for by all processes: sharded weights (FSDP) are put together here.
            self._write(trainer, trainer.strategy.lightning_module_state_dict())
        self._last = trainer.global_step

    @rank_zero_only
    def _write(self, trainer: pl.Trainer, state: dict[str, Any]) -> None:
        if self._refused:
            return
        net: Any = trainer.lightning_module.net
        weights = {name.removeprefix("net."): value for name, value in state.items()}
        generator = TextGenerator(
            asdict(net.config),
            weights,
            Tokenizer(trainer.datamodule.tokenizer.to_json()),  # type: ignore[attr-defined]
            device="cpu",
            slots=len(self._shown),
        )
        try:
            texts = generator.generate(self._shown, self.options)
        except ValueError as error:  # such as a prompt longer than the model's context
            self._refused = True
            rank_zero_warn(f"TextSamples writes no samples: {error}")
            return
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                for prompt, text in zip(self._shown, texts, strict=True):
                    # Four blanks keep the lines as they are in Markdown.
                    lines = (prompt + text.text).replace("\n", "\n    ")
                    logger.experiment.add_text(
                        f"samples/{prompt.strip()}", f"    {lines}", trainer.global_step
                    )


def _first_words(text: str) -> str:
    """Up to 16 characters of the first line, whole words where there are blanks."""
    line = text.strip().partition("\n")[0] or text[:1]
    cut = line.rfind(" ", 0, 17) if len(line) > 16 else -1
    return line[:cut] if cut > 0 else line[:16]
