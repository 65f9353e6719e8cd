"""The course's language model, and any other GPT on the way to GPT-2."""

import math

import lightning.pytorch as pl
import torch
from torch import Tensor
from torchmetrics import MeanMetric

from lightning_modules.clippable import clippable
from lightning_modules.nets.gpt import GPT, GPTConfig
from lightning_modules.sharding import shard

Batch = tuple[Tensor, Tensor]


class MiniGPT(pl.LightningModule):
    """Next-token training of a :class:`~lightning_modules.nets.gpt.GPT`, kept in ``self.net``.

    A batch is ``(inputs, targets)``, int64 of shape (B, T); targets of -100 do not count.
    Logs ``train/loss`` every ``log_every_n_steps``, ``val/loss`` (nats per token),
    ``val/perplexity`` and ``val/bits_per_char`` over the whole validation text.

    Args:
        vocab_size: tokens, None for as many as the data's tokenizer has.
        context: longest input in tokens.
        width, hidden, layers, heads: see :class:`~lightning_modules.nets.gpt.GPTConfig`.
        output_projection, pre_norm, gelu, qkv_bias, bias, tied: the steps from the course's net to
            GPT-2, see there.
        dropout: probability of dropping a value while training.
        lr: learning rate of AdamW.
        betas: decay of AdamW's two averages.
        weight_decay: decay of matrices and embeddings; biases and norms are not decayed.

    Raises:
        ValueError: a vocabulary or context smaller than the data's, or an impossible shape.
    """

    reads = "tokens"

    net: GPT

    def __init__(
        self,
        vocab_size: int | None = None,
        context: int = 32,
        width: int = 32,
        hidden: int = 0,
        layers: int = 2,
        heads: int = 1,
        output_projection: bool = False,
        pre_norm: bool = False,
        gelu: bool = False,
        qkv_bias: bool = False,
        bias: bool = True,
        tied: bool = False,
        dropout: float = 0.0,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr = lr
        self.betas = betas
        self.weight_decay = weight_decay
        self.example_input_array = torch.zeros(1, context, dtype=torch.long)
        self.val_loss = MeanMetric()
        self._shape = {
            "context": context,
            "width": width,
            "hidden": hidden,
            "layers": layers,
            "heads": heads,
            "output_projection": output_projection,
            "pre_norm": pre_norm,
            "gelu": gelu,
            "qkv_bias": qkv_bias,
            "bias": bias,
            "tied": tied,
            "dropout": dropout,
        }
        GPTConfig(**self._shape)  # an impossible shape is refused before any data is read
        if vocab_size is not None:
            self.net = GPT(GPTConfig(vocab_size, **self._shape))

    def configure_model(self) -> None:
        """Builds the net where the vocabulary is the data's, and checks that the two fit."""
        # Without a trainer (load_from_checkpoint) there is no data to compare with.
        data = getattr(self._trainer, "datamodule", None)
        tokenizer = getattr(data, "tokenizer", None)
        if self.hparams.vocab_size is None:
            if tokenizer is None:
                raise ValueError(
                    "without a data module that has a tokenizer the vocabulary's size must be "
                    "given: MiniGPT(vocab_size=...)"
                )
            self.hparams.vocab_size = tokenizer.vocab_size
            self.net = GPT(GPTConfig(tokenizer.vocab_size, **self._shape))
        if tokenizer is not None and tokenizer.vocab_size > self.net.config.vocab_size:
            raise ValueError(
                f"the text has {tokenizer.vocab_size} different tokens, the model "
                f"{self.net.config.vocab_size}; leave --model.init_args.vocab_size out"
            )
        if data is not None and data.context > self.net.config.context:
            raise ValueError(
                f"the data's windows have {data.context} tokens, the model sees at most "
                f"{self.net.config.context}; set --model.init_args.context {data.context}"
            )
        shard(self, self.net, self.net.blocks)

    def forward(self, ids: Tensor) -> Tensor:
        return self.net(ids)

    def _step(self, batch: Batch) -> Tensor:
        return self.net(*batch)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self._step(batch)
        self.log("train/loss", loss, batch_size=len(batch[0]))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.val_loss.update(self._step(batch), weight=(batch[1] >= 0).sum())

    def on_validation_epoch_end(self) -> None:
        loss = self.val_loss.compute()
        self.val_loss.reset()
        chars = getattr(getattr(self.trainer, "datamodule", None), "chars_per_token", 1.0)
        # The mean over all processes already; sync_dist keeps Lightning from asking for it.
        self.log("val/loss", loss, sync_dist=True)
        self.log("val/perplexity", loss.exp(), sync_dist=True)
        self.log("val/bits_per_char", loss / (math.log(2) * chars), sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        parameters = [p for p in self.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": self.weight_decay},
            {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
        ]
        return clippable(torch.optim.AdamW(groups, lr=self.lr, betas=self.betas, fused=True))
