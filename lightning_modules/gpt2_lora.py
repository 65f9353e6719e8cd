"""GPT-2 of transformers, fine-tuned by peft's low-rank adapters."""

from typing import Any, Literal

import lightning.pytorch as pl
import torch
from lightning.pytorch.strategies import FSDPStrategy
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torchmetrics import MeanMetric

from datamodules.hub import pretrained_folder
from lightning_modules.adapters import adapt, plain_weights, target_modules
from lightning_modules.clippable import clippable
from lightning_modules.gpt2_base import load_base
from lightning_modules.nets.causal_loss import CausalLoss
from lightning_modules.nets.gpt import GPT
from lightning_modules.nets.gpt2 import from_gpt2, from_gpt2_config


class GPT2LoRA(pl.LightningModule):
    """Fine-tunes a pretrained GPT-2 by low-rank adapters; all else is frozen.

    A batch is ``(ids, targets)`` or ``(ids, targets, segments)``, int64 of shape (B, T), as
    :class:`~datamodules.InstructionDataModule` yields it. Logs ``train/loss``, and over the
    held-out answers ``val/loss`` (nats per token) and ``val/perplexity``. A checkpoint holds the
    adapters and what their training needs, not the base, which it names with its sha256.

    In a ``bf16`` precision the frozen weights are kept in bfloat16, the adapters in float32.

    Source: E. Hu et al., LoRA: low-rank adaptation of large language models, 2021;
    T. Dettmers et al., QLoRA: efficient finetuning of quantized LLMs, 2023.

    Args:
        pretrained: a GPT-2 on the Hugging Face hub, or a folder that transformers saved.
        r: rank of the adapters.
        alpha: their output is scaled by ``alpha / r``; at least 1.
        dropout: probability of dropping a value that enters an adapter.
        target: which linear layers get one: ``c_attn``, ``attention``, ``all``, or a list of
            names of modules within a block.
        lr: learning rate of AdamW.
        weight_decay: decay of the adapters.
        gradient_checkpointing: compute a block again in the backward pass instead of keeping it:
            less memory, more time.
        quantize: ``4bit`` keeps the frozen linear layers in 4 bits (needs the extra ``qlora``).

    Raises:
        ValueError: no such model, another kind of model, target modules that match nothing, a
            rank, alpha or dropout out of range, or a checkpoint that was trained on another base.
    """

    reads = "tokens"

    net: CausalLoss

    def __init__(
        self,
        pretrained: str = "gpt2",
        r: int = 8,
        alpha: int = 16,
        dropout: float = 0.0,
        target: str | list[str] = "c_attn",
        lr: float = 3e-4,
        weight_decay: float = 0.0,
        gradient_checkpointing: bool = False,
        quantize: Literal["4bit"] | None = None,
    ) -> None:
        super().__init__()
        if r < 1:
            raise ValueError(f"r must be at least 1, got {r}")
        if alpha < 1:
            raise ValueError(f"alpha must be at least 1, or the adapters do nothing, got {alpha}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be from 0 to below 1, got {dropout}")
        if quantize not in (None, "4bit"):
            raise ValueError(f"quantize must be 4bit or left out, got {quantize!r}")
        self.targets = target_modules(target)
        self.save_hyperparameters()
        self.pretrained = pretrained
        self.lr = lr
        self.weight_decay = weight_decay
        self.val_loss = MeanMetric()
        self.base_sha256 = ""
        # What a checkpoint lacks, the base, is no error.
        self.strict_loading = False
        self._trained: set[str] = set()

    def prepare_data(self) -> None:
        """Downloads the base, in one process alone."""
        pretrained_folder(self.pretrained)

    def configure_model(self) -> None:
        """Loads the base and puts the adapters in, once."""
        if hasattr(self, "net"):
            return
        if self.device_mesh is not None:
            raise ValueError(
                "the adapters are not made for ModelParallelStrategy; take ddp, or for a base that "
                "one GPU cannot hold lightning.pytorch.strategies.FSDPStrategy, see docs/scaling.md"
            )
        given = self.hparams
        device: Any = "cpu" if self._trainer is None else self._trainer.strategy.root_device
        model, self.base_sha256 = load_base(
            self.pretrained, self._frozen_dtype(), given.quantize, device
        )
        adapted = adapt(model, self.targets, given.r, given.alpha, given.dropout)
        if given.gradient_checkpointing:
            # transformers 5 has given it another name on the way.
            enable = getattr(model, "activation_checkpointing_enable", None)
            enable = enable or model.gradient_checkpointing_enable
            enable({"use_reentrant": False})
        self.net = CausalLoss(adapted.train())  # dropout is off, but in the adapters
        trained = {name: p.numel() for name, p in self.named_parameters() if p.requires_grad}
        self._trained = set(trained)
        count, total = sum(trained.values()), sum(p.numel() for p in self.parameters())
        modules = sum(name.endswith("lora_A") for name, _ in self.named_modules())
        rank_zero_info(
            f"LoRA on {modules} modules ({', '.join(self.targets)}): {count:,} of {total:,} "
            f"parameters train ({count / total:.2%})"
        )
        self._check_data()

    def _frozen_dtype(self) -> torch.dtype:
        """Of the frozen weights. FSDP shards only what has one type, and casts by itself."""
        if self._trainer is None or not str(self._trainer.precision).startswith("bf16"):
            return torch.float32
        sharded = isinstance(self._trainer.strategy, FSDPStrategy)
        return torch.float32 if sharded else torch.bfloat16

    def _check_data(self) -> None:
        data = getattr(self._trainer, "datamodule", None)
        tokenizer = getattr(data, "tokenizer", None)
        if tokenizer is not None and tokenizer.vocab_size > self.net.vocab_size:
            raise ValueError(
                f"the data's tokenizer has {tokenizer.vocab_size} tokens and {self.pretrained} "
                f"{self.net.vocab_size}: leave --data.init_args.tokenizer out"
            )
        context = self.net.base.config.n_positions
        if data is not None and data.context > context:
            raise ValueError(
                f"the data's rows have {data.context} tokens, {self.pretrained} reads at most "
                f"{context}; set --data.init_args.context {context}"
            )

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (B, T, vocab_size) of the token after each of ids (B, T)."""
        return self.net.logits(ids)

    def _step(self, batch: tuple[Tensor, ...]) -> Tensor:
        return self.net(*batch)

    def training_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Tensor:
        loss = self._step(batch)
        self.log("train/loss", loss, batch_size=len(batch[0]))
        return loss

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        self.val_loss.update(self._step(batch), weight=(batch[1] >= 0).sum())

    def on_validation_epoch_end(self) -> None:
        loss = self.val_loss.compute()
        self.val_loss.reset()
        # The mean over all processes already; sync_dist keeps Lightning from asking for it.
        self.log("val/loss", loss, sync_dist=True)
        self.log("val/perplexity", loss.exp(), sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        trained = [p for p in self.parameters() if p.requires_grad]
        return clippable(
            torch.optim.AdamW(trained, lr=self.lr, weight_decay=self.weight_decay, fused=True)
        )

    # Here and not in state_dict, which FSDP asks for all that it shards.
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint.get("state_dict", {})
        checkpoint["state_dict"] = {n: state[n] for n in state if n in self._trained}
        checkpoint["base"] = {"name": self.pretrained, "sha256": self.base_sha256}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.configure_model()
        base = checkpoint.get("base", {})
        if base.get("sha256") != self.base_sha256:
            raise ValueError(
                f"the checkpoint's adapters were trained on {base.get('name')} with sha256 "
                f"{str(base.get('sha256'))[:12]}; {self.pretrained} has {self.base_sha256[:12]}: "
                "adapters fit the base that they were trained on alone"
            )
        if "state_dict" in checkpoint and checkpoint["state_dict"].keys() != self._trained:
            raise ValueError(
                "the checkpoint has adapters of other modules than this model; use its target "
                "modules"
            )

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        keys = super().load_state_dict(state_dict, strict=strict, assign=assign)
        # load_from_checkpoint would warn of every weight of the base.
        missing = [name for name in keys.missing_keys if name in self._trained]
        return type(keys)(missing, keys.unexpected_keys)

    def merged(self) -> GPT:
        """The adapted model as the project's own GPT, in float32 on the CPU."""
        return self._own_gpt(plain_weights(self.net.base))

    def unadapted(self) -> GPT:
        """The base as the project's own GPT, in float32 on the CPU."""
        return self._own_gpt(plain_weights(self.net.base, merge=False))

    def _own_gpt(self, weights: dict[str, Tensor]) -> GPT:
        config = from_gpt2_config(self.net.base.config.to_dict(), self.pretrained)
        with torch.device("meta"):  # no weights of its own, and no random numbers for them
            net = GPT(config)
        net.load_state_dict(from_gpt2(config, weights), assign=True)
        return net.eval().requires_grad_(False)
