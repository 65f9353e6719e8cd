"""GPT-2 of transformers, fine-tuned by peft's low-rank adapters."""

import copy
import hashlib
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torchmetrics import MeanMetric

from lightning_modules.nets.gpt import GPT, GPT2_SWITCHES, GPTConfig, from_gpt2
from lightning_modules.optimizers import clippable

# What a name for target modules stands for.
PRESETS = {
    "c_attn": ["c_attn"],
    "attention": ["c_attn", "attn.c_proj"],
    "all": ["c_attn", "attn.c_proj", "c_fc", "mlp.c_proj"],
}
_ATTENTION = "sdpa_without_mask"


class CausalLoss(nn.Module):
    """A causal language model of transformers, and the loss of its next tokens.

    Both are in one net so that torch.compile sees the logits, which are the largest tensor by far,
    and their loss together. The rows of the frozen output layer are padded to a multiple of 64,
    which matrix units want: GPT-2 has 50,257.

    Args:
        lm: a ``GPT2LMHeadModel``, adapted or not.
    """

    lm: Any  # transformers' own, or within peft's wrapper
    head: Tensor

    def __init__(self, lm: Any) -> None:
        super().__init__()
        self.lm = lm
        weight = lm.get_output_embeddings().weight.detach()
        self.vocab_size = len(weight)
        rows = -len(weight) % 64
        self.register_buffer("head", F.pad(weight, (0, 0, 0, rows)), persistent=False)

    def hidden(self, ids: Tensor, segments: Tensor | None = None) -> Tensor:
        """Vectors (B, T, C) of tokens (B, T); see :meth:`forward`."""
        positions = mask = None
        if segments is not None:
            places = torch.arange(ids.shape[1], device=ids.device)
            begins = F.pad(segments[:, 1:] != segments[:, :-1], (1, 0), value=True)
            starts = torch.where(begins, places, 0).cummax(dim=1).values  # (B, T)
            positions = places - starts
            same = segments[:, None, :, None] == segments[:, None, None, :]
            mask = same & (places[:, None] >= places)  # (B, 1, T, T)
        base = self.lm.get_base_model() if hasattr(self.lm, "get_base_model") else self.lm
        return base.transformer(
            input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False
        ).last_hidden_state

    def logits(self, ids: Tensor, segments: Tensor | None = None) -> Tensor:
        """Logits (B, T, vocab_size)."""
        return F.linear(self.hidden(ids, segments), self.head)[..., : self.vocab_size]

    def forward(self, ids: Tensor, targets: Tensor, segments: Tensor | None = None) -> Tensor:
        """Mean loss of the targets, a scalar.

        Args:
            ids: tokens (B, T). What pads a row at its right is seen by nothing before it.
            targets: the token after each, (B, T); -100 does not count.
            segments: number of the example that each token of a packed row belongs to, (B, T):
                none sees another, and the positions of each begin at 0. None for one a row.
        """
        logits = self.logits(ids, segments).flatten(0, 1).float()
        return F.cross_entropy(logits, targets.flatten())


class GPT2LoRA(pl.LightningModule):
    """Fine-tunes a pretrained GPT-2 by low-rank adapters; all else is frozen.

    A batch is ``(ids, targets)`` or ``(ids, targets, segments)``, int64 of shape (B, T), as
    :class:`~datamodules.InstructionDataModule` gives it. Logs ``train/loss``, and over the
    held-out answers ``val/loss`` (nats a token) and ``val/perplexity``. A checkpoint holds the
    adapters and what their training needs, not the base, which it names with its sha256.

    Source: E. Hu et al., LoRA: low-rank adaptation of large language models, 2021.

    Args:
        pretrained: a GPT-2 on the Hugging Face hub, or a folder that transformers saved.
        r: rank of the adapters.
        alpha: their output is scaled by ``alpha / r``.
        dropout: probability of dropping a value that enters an adapter.
        target: which linear layers get one: ``c_attn``, ``attention``, ``all``, or a list of
            module names.
        lr: learning rate of AdamW.
        weight_decay: decay of the adapters.
        gradient_checkpointing: compute a block anew in the backward pass instead of keeping it:
            less memory, more time.

    Raises:
        ValueError: no such model, another kind of model, target modules that match nothing, or a
            checkpoint that was trained on another base.
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
    ) -> None:
        super().__init__()
        if r < 1:
            raise ValueError(f"r must be at least 1, got {r}")
        if isinstance(target, str) and target not in PRESETS:
            raise ValueError(f"target must be a list or one of {', '.join(PRESETS)}, got {target}")
        self.save_hyperparameters()
        self.pretrained = pretrained
        self.lr = lr
        self.weight_decay = weight_decay
        self.val_loss = MeanMetric()
        self.base_sha256 = ""

    def configure_model(self) -> None:
        """Loads the base and puts the adapters in, once."""
        if hasattr(self, "net"):
            return
        given = self.hparams
        on_gpu = self._trainer is not None and str(self._trainer.precision).startswith("bf16")
        model, self.base_sha256 = load_base(
            self.pretrained, torch.bfloat16 if on_gpu else torch.float32
        )
        targets = PRESETS[given.target] if isinstance(given.target, str) else given.target
        adapted = adapt(model, targets, given.r, given.alpha, given.dropout)
        if given.gradient_checkpointing:
            adapted.gradient_checkpointing_enable({"use_reentrant": False})
        trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
        total = sum(p.numel() for p in adapted.parameters())
        modules = sum(name.endswith("lora_A") for name, _ in adapted.named_modules())
        rank_zero_info(
            f"LoRA on {modules} modules ({', '.join(targets)}): {trained:,} of {total:,} "
            f"parameters train ({trained / total:.2%})"
        )
        self.net = CausalLoss(adapted.train())  # dropout is off, but in the adapters
        self._check_data()

    def _check_data(self) -> None:
        data = getattr(self._trainer, "datamodule", None)
        tokenizer = getattr(data, "tokenizer", None)
        if tokenizer is not None and tokenizer.vocab_size > self.net.vocab_size:
            raise ValueError(
                f"the data's tokenizer has {tokenizer.vocab_size} tokens and {self.pretrained} "
                f"{self.net.vocab_size}: set --data.init_args.tokenizer {self.pretrained}"
            )
        context = self.net.lm.get_base_model().config.n_positions
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
        self.log("val/loss", loss)
        self.log("val/perplexity", loss.exp())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        trained = [p for p in self.parameters() if p.requires_grad]
        return clippable(
            torch.optim.AdamW(trained, lr=self.lr, weight_decay=self.weight_decay, fused=True)
        )

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """The adapters alone."""
        state = super().state_dict(*args, **kwargs)
        return {name: tensor for name, tensor in state.items() if "lora_" in name}

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        own = self.state_dict()
        if strict and state_dict.keys() != own.keys():
            raise RuntimeError(
                "Error(s) in loading state_dict: the checkpoint has other adapters than this "
                "model; use its r and target modules"
            )
        return super().load_state_dict(state_dict, strict=False, assign=assign)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
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

    def merged(self) -> GPT:
        """The adapted model as the project's own GPT, in float32 on the CPU."""
        model = copy.deepcopy(self.net.lm).float().cpu().merge_and_unload()
        shape = model.config
        config = GPTConfig(
            shape.vocab_size,
            shape.n_positions,
            shape.n_embd,
            hidden=shape.n_inner or 0,
            layers=shape.n_layer,
            heads=shape.n_head,
            **GPT2_SWITCHES,
        )
        net = GPT(config)
        net.load_state_dict(from_gpt2(config, model.state_dict()))
        return net.eval().requires_grad_(False)


def adapt(model: nn.Module, targets: list[str], r: int, alpha: int, dropout: float) -> Any:
    """Puts float32 adapters into a model and freezes everything else.

    Raises:
        ValueError: no module has such a name.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=r,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=targets,
        fan_in_fan_out=True,  # GPT-2's Conv1D holds (in, out)
        task_type="CAUSAL_LM",
    )
    names = [name for name, _ in model.named_modules()]
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in names):
            known = sorted({n.rsplit(".", 1)[-1] for n in names if ".h.0." in n})
            raise ValueError(
                f"target module {target!r} matches nothing in the model; a block of it has "
                f"{', '.join(known)}"
            )
    return get_peft_model(model, config)


def load_base(pretrained: str, dtype: torch.dtype) -> tuple[Any, str]:
    """A GPT-2 of transformers without dropout, and the sha256 of its weights' file.

    Args:
        pretrained: name on the Hugging Face hub, or folder.
        dtype: of the weights in memory.

    Raises:
        ValueError: it cannot be had, or is no GPT-2.
    """
    try:
        from transformers import AutoConfig, GPT2LMHeadModel
        from transformers.utils import logging
        from transformers.utils.hub import cached_file
    except ModuleNotFoundError as error:
        raise ValueError("GPT-2 needs transformers and peft: make setup EXTRAS=dev,llm") from error
    _register_attention()
    logging.disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(pretrained)
        weights = cached_file(pretrained, "model.safetensors")
    except (OSError, ValueError) as error:
        where = "the folder" if Path(pretrained).is_dir() else "the Hugging Face hub"
        raise ValueError(
            f"{pretrained} could not be read from {where}; without a network give a folder with "
            "config.json and model.safetensors, such as the hf folder of an exported model "
            "(--model.init_args.pretrained models/NAME/hf)"
        ) from error
    if config.model_type != "gpt2":
        raise ValueError(f"{pretrained} is a {config.model_type}, not a GPT-2")
    model = GPT2LMHeadModel.from_pretrained(
        pretrained,
        dtype=dtype,
        attn_implementation=_ATTENTION,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    return model, hashlib.sha256(Path(str(weights)).read_bytes()).hexdigest()


def _register_attention() -> None:
    """Attention for which transformers builds no mask.

    Its own ``sdpa`` looks at the positions to find out whether rows are packed, which waits for
    the GPU, and under torch.compile builds a mask in any case, which rules the fast kernels out.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(_ATTENTION, _attention)


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    x = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None)
    return x.transpose(1, 2).contiguous(), None  # (B, T, H, C / H)
