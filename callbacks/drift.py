"""Whether a fine-tuned language model forgets plain text."""

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from datamodules.windows import IGNORED

# Of nothing that the models here are fine-tuned on.
PASSAGE = (
    "The garden behind the house had not been looked after for years. Grass stood as high as the "
    "window, and the path to the well could only be guessed. In spring my grandmother took a "
    "scythe from the barn, sharpened it with a stone, and began at the gate. She worked slowly and "
    "without a pause, and by noon there was a strip of short grass that led to the old apple tree. "
    "We children carried the hay to the fence and were allowed to sleep on it in the afternoon. "
    "When the apples were ripe, the neighbours came with baskets. Some brought bread, others a "
    "bottle of cider from the year before, and in the evening there was music. Nobody asked to "
    "whom the tree belonged. It had been there before the house, they said, and it would be there "
    "when the roof had fallen in. In winter it snowed for three days, and the whole garden lay "
    "under a blanket in which only the tracks of a fox could be seen."
)


class Drift(pl.Callback):
    """Logs ``drift/perplexity``, that of a plain passage, at each validation.

    What a model learns in fine-tuning it may pay for elsewhere: a perplexity that rises says that
    it forgets how other text goes. The value before the training is that of the base.

    Raises:
        ValueError: the module's ``net`` returns no loss of tokens, or the data has no tokenizer.

    Example::

        callbacks+:
          - class_path: callbacks.Drift
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if not hasattr(pl_module, "pretrained") or not hasattr(trainer.datamodule, "tokenizer"):
            raise ValueError("Drift needs a GPT2LoRA and data with a tokenizer; take it out")

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        data: Any = trainer.datamodule
        ids, targets = windows(data.tokenizer.encode(PASSAGE).long(), data.context)
        net: Any = pl_module.net
        total, device = torch.zeros((), device=pl_module.device), pl_module.device
        with trainer.precision_plugin.val_step_context():
            for one, wanted in zip(ids.to(device), targets.to(device), strict=True):
                total += net(one[None], wanted[None]) * (wanted != IGNORED).sum()
        pl_module.log("drift/perplexity", (total / (targets != IGNORED).sum()).exp())


def windows(tokens: Tensor, context: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets (N, context) of a text in strides; what is missing at its end is -100."""
    inputs, targets = tokens[:-1], tokens[1:]
    rows = -(-len(inputs) // context)
    short = rows * context - len(inputs)
    padded = (
        torch.cat([part, part.new_full((short,), fill)]).view(rows, context)
        for part, fill in ((inputs, 0), (targets, IGNORED))
    )
    first, second = padded
    return first, second
