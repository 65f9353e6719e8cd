"""``gpu-learning bench lora``: tokens per second of LoRA training of GPT-2, through the Trainer."""

import argparse
import json
import logging
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from callbacks import Compile, UseKernels
from datamodules.resident import ResidentLoader
from lightning_modules import GPT2LoRA
from lightning_modules.nets.gpt2 import to_gpt2_config
from lightning_modules.nets.kernels import CROSS_ENTROPY
from scripts.bench.generate import SHAPES
from scripts.bench.timing import device_name, summary, table, waiter
from scripts.parser import Parser
from training import strategies  # noqa: F401  --strategy takes their names
from training.quiet import quiet


class RandomTokens(pl.LightningDataModule):
    """Rows of random tokens, each the target of the one before: nothing is padded."""

    def __init__(self, vocab_size: int, context: int, batch_size: int, batches: int) -> None:
        super().__init__()
        self.context = context
        self.shape = (batch_size * batches, context + 1)
        self.vocab_size = vocab_size
        self.batch_size = batch_size

    def train_dataloader(self) -> ResidentLoader:
        assert self.trainer is not None
        tokens = torch.randint(self.vocab_size, self.shape).to(self.trainer.strategy.root_device)
        return ResidentLoader((tokens[:, :-1], tokens[:, 1:]), self.batch_size)

    def val_dataloader(self) -> list:
        return []


class Clock(pl.Callback):
    """Seconds between two logs, with the device's work done."""

    def __init__(self) -> None:
        self.marks: list[tuple[int, float]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            waiter(trainer.strategy.root_device)()
            self.marks.append((trainer.global_step, time.perf_counter()))

    def rates(self, tokens: int) -> list[float]:
        """Tokens per second of each interval but the first, which compiles and captures."""
        pairs = zip(self.marks[1:-1], self.marks[2:], strict=True)
        return [tokens * (b[0] - a[0]) / (b[1] - a[1]) for a, b in pairs]


def random_base(shape: str, folder: Path) -> Path:
    """A GPT-2 of this shape with random weights, as transformers saves it."""
    from transformers import GPT2Config, GPT2LMHeadModel
    from transformers.utils import logging as their_logging

    their_logging.disable_progress_bar()
    config = GPT2Config(**to_gpt2_config(SHAPES[shape]), bos_token_id=0, eos_token_id=0)
    torch.manual_seed(0)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def main(argv: Sequence[str]) -> int:
    """Measures and prints; ``argv`` begins with the benchmark's name."""
    parser = Parser(
        "gpu-learning bench lora",
        description="Tokens per second of training adapters of GPT-2, and the memory it takes. "
        "Weights and tokens are random: they change no speed.",
    )
    parser.add_argument("--shape", choices=("gpt2", "shakespeare", "course"), default="gpt2")
    parser.add_argument("--batches", default="32x128,16x1024", help="rows x tokens, by comma")
    parser.add_argument("--r", type=int, default=8, help="rank of the adapters (%(default)s)")
    parser.add_argument("--quantize", choices=("4bit",), help="keep the frozen layers in 4 bits")
    parser.add_argument("--precision", default="bf16-mixed", help="(%(default)s)")
    parser.add_argument("--accelerator", default="auto", help="(%(default)s)")
    parser.add_argument(
        "--strategy",
        default="cuda_graph" if torch.cuda.is_available() else "auto",
        help="(cuda_graph with a GPU, auto without)",
    )
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument(
        "--compile-mode",
        default="default",
        help="of callbacks.Compile, such as max-autotune-no-cudagraphs (%(default)s)",
    )
    parser.add_argument(
        "--no-kernels",
        action="store_true",
        help="torch's cross-entropy, with all logits, instead of that of course.kernels.ops (GPU)",
    )
    parser.add_argument("--steps", type=int, default=50, help="of each round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args(argv[1:])
    quiet()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.ERROR)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        base = random_base(arguments.shape, Path(folder))
        for batch in arguments.batches.split(","):
            rows.append({"batch": batch, **_measure(arguments, base, batch)})
    device = "cuda" if torch.cuda.is_available() and arguments.accelerator != "cpu" else "cpu"
    if arguments.json:
        print(json.dumps({"where": device_name(device), "shape": arguments.shape, "rows": rows}))
        return 0
    where = f"{device_name(device)}, torch {torch.__version__}"
    print(f"LoRA r={arguments.r} on {arguments.shape}, {where}")
    for row in rows:
        print(
            table({row["batch"]: row["tokens_per_second"]}, "tokens/s"),
            f"  {row['peak_gib']:.2f} GiB  checkpoint {row['checkpoint_bytes']:,} bytes",
        )
    return 0


def _faster(arguments: argparse.Namespace) -> list[pl.Callback]:
    callbacks: list[pl.Callback] = []
    if not arguments.no_kernels:
        only = [CROSS_ENTROPY]
        callbacks.append(UseKernels("course.kernels.ops", only, without_gpu="skip"))
    return callbacks if arguments.no_compile else [*callbacks, Compile(arguments.compile_mode)]


def _measure(arguments: argparse.Namespace, base: Path, batch: str) -> dict[str, Any]:
    size, context = map(int, batch.split("x"))
    model = GPT2LoRA(str(base), r=arguments.r, quantize=arguments.quantize)
    steps = arguments.steps * (arguments.rounds + 2)
    data = RandomTokens(SHAPES[arguments.shape].vocab_size, context, size, 64)
    clock = Clock()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    trainer = pl.Trainer(
        accelerator=arguments.accelerator,
        devices=1,
        precision=arguments.precision,
        strategy=arguments.strategy,
        max_steps=steps,
        max_epochs=-1,
        log_every_n_steps=arguments.steps,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[clock, *_faster(arguments)],
    )
    trainer.fit(model, datamodule=data)
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "last.ckpt"
        trainer.save_checkpoint(path)
        size_of_checkpoint = path.stat().st_size
    return {
        "tokens_per_second": summary(clock.rates(size * context)),
        "peak_gib": peak / 2**30,
        "checkpoint_bytes": size_of_checkpoint,
    }
