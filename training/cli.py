"""LightningCLI over the project's classes."""

import os
import sys
import traceback
from collections import deque
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any

import lightning.pytorch as pl
import torch
from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Checkpoint, ModelSummary, ProgressBar, RichProgressBar
from lightning.pytorch.cli import (
    LightningCLI,
    LRSchedulerTypeTuple,
    instantiate_class,
)

import training.strategies  # noqa: F401  registers cuda_graph
from callbacks import (
    CPUThreads,
    FiniteLoss,
    HParams,
    LayerSummary,
    LearningRateLog,
    PlainProgress,
    RNGState,
    Throughput,
)
from callbacks.idle_hooks import skip_idle_hooks
from lightning_modules import *  # noqa: F403  --model takes the names of imported classes
from training.checkpoint_cli import CheckpointCLI
from training.checks import check_parts, check_seed, check_settings, check_subcommand
from training.loggers import NewLogs, keep_history
from training.nulls import check_nulls
from training.parser import OneSentenceParser, explain, overridden, typed
from training.run_config import SaveFitConfig

BASE_CONFIG = Path(__file__).parents[1] / "configs" / "trainer.yaml"
# Callbacks of every run, each under a key of its own, so that an experiment or the command line
# changes one argument of one of them: --checkpoint.monitor val/loss, --throughput null.
KEYED_CALLBACKS: dict[str, type[pl.Callback]] = {
    "checkpoint": Checkpoint,
    "cpu_threads": CPUThreads,
    "finite_loss": FiniteLoss,
    "hparams": HParams,
    "lr_log": LearningRateLog,
    "rng_state": RNGState,
    "throughput": Throughput,
}


class CheckpointProgress(pl.Callback):
    """Scores a checkpoint under its own step and epoch, where Lightning logs at step 0."""

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if loops := checkpoint.get("loops"):  # a file of weights alone has none
            trainer.fit_loop.load_state_dict(loops["fit_loop"])


class TrainCLI(CheckpointCLI):
    """LightningCLI with ``configs/trainer.yaml`` underneath and callbacks under keys.

    Args:
        args: subcommand and options, as they would be typed.
        run: with false the objects are built and nothing is run; ``cli.trainer``, ``cli.model``
            and ``cli.datamodule`` are yours.

    Raises:
        ValueError: a checkpoint that is not there, cannot be read or is of another model; an
            ``lr_scheduler`` that nothing would use.
    """

    def __init__(self, args: Sequence[str], run: bool = True) -> None:
        self._name = args[0]
        self._run = run
        _hurry_on_a_cpu()
        super().__init__(
            pl.LightningModule,
            pl.LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            parser_class=OneSentenceParser,
            save_config_callback=SaveFitConfig,
            parser_kwargs={self._name: {"default_config_files": [str(BASE_CONFIG)]}},
            args=list(args),
            auto_configure_optimizers=False,  # see _build_optimizers
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Only the one asked for: building a parser takes a second."""
        return {self._name: LightningCLI.subcommands()[self._name]}

    def add_arguments_to_parser(self, parser: OneSentenceParser) -> None:  # type: ignore[override]
        for key, kind in KEYED_CALLBACKS.items():
            parser.add_argument(
                f"--{key}", type=kind | None, help=f"a {kind.__name__} callback; null for none"
            )

        parser.add_optimizer_args((torch.optim.Optimizer,))
        parser.add_lr_scheduler_args(LRSchedulerTypeTuple)

    def parse_arguments(self, parser: OneSentenceParser, args: list[str]) -> None:  # type: ignore[override]
        if said := overridden(args):
            parser.error(said)
        names = [argument.partition("=")[0] for argument in args]
        self._typed_rate = bool({"--model.lr", "--model.init_args.lr"} & set(names))
        token = typed.set(args[1:])
        try:
            self.config = parser.parse_args(args)
        finally:
            typed.reset(token)
        self._options = args[1:]
        check_seed(self.config[self._name].get("seed_everything"))

    def before_instantiate_classes(self) -> None:
        check_nulls(self.config[self._name], self._options)
        check_settings(self.config[self._name], KEYED_CALLBACKS, self._typed_rate)

    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
        except ValueError as error:
            # jsonargparse wraps what a constructor says in a report of many lines.
            raise ValueError(explain(str(error))) from error
        check_parts(self.model, self.datamodule, self.trainer.callbacks)
        check_subcommand(self._name, self.model, self.datamodule)
        if self.config[self._name].ckpt_path:
            keep_history(self.trainer)
        config = self.config[self._name]
        if asked := config.get("optimizer"):
            scheduler = (config.get("lr_scheduler") or Namespace()).as_dict()
            self.model.configure_optimizers = partial(
                _build_optimizers, self.model, asked.as_dict(), scheduler
            )
        example = self.model.example_input_array
        if example is not None:  # the model summary runs it without a look at the precision
            self.model.example_input_array = self.trainer.precision_plugin.convert_input(example)

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        config = self.config_init[self._name]
        trainer = config.trainer
        keyed = [config[key] for key in KEYED_CALLBACKS if config[key] is not None]
        listed = trainer.callbacks or []
        callbacks = [*keyed, *(listed if isinstance(listed, list) else [listed])]
        # What every run has and what an experiment names yields to the Trainer's own switches.
        if trainer.enable_checkpointing is False:
            callbacks = [callback for callback in callbacks if callback is not config.checkpoint]
        if trainer.enable_progress_bar is False:
            callbacks = [c for c in callbacks if not isinstance(c, PlainProgress)]
        elif not any(isinstance(callback, ProgressBar) for callback in callbacks):
            bar = RichProgressBar(refresh_rate=10) if sys.stdout.isatty() else PlainProgress()
            callbacks.append(bar)
        summarized = any(isinstance(callback, ModelSummary) for callback in callbacks)
        if trainer.enable_model_summary is not False and not summarized:
            callbacks.append(LayerSummary())
        if self._name != "fit":
            callbacks.append(CheckpointProgress())
        trainer.callbacks = callbacks
        try:
            built = super().instantiate_trainer(**kwargs)
        except (TypeError, ModuleNotFoundError, RuntimeError) as error:
            raise ValueError(f"the trainer cannot be built so: {error}") from error
        skip_idle_hooks(built.callbacks)  # type: ignore[attr-defined]
        return built

    def before_fit(self) -> None:
        """Says how large a batch is over all devices; ``batch_size`` is that of each."""
        size, count = getattr(self.datamodule, "batch_size", 0), self.trainer.world_size
        if not size or count == 1:
            return
        total = size * count
        said = f"batch_size {size} is per device: {count} devices train on batches of {total}"
        if size % count == 0:
            said += f"; --data.init_args.batch_size {size // count} keeps them at {size}"
        self._say(said)

    def after_predict(self) -> None:
        """Keeps what ``predict_step`` gave, batch by batch, beside the run's checkpoints."""
        folder = self.trainer.log_dir  # asked by every process: it is broadcast
        if folder is None or not self.trainer.is_global_zero:
            return
        path = Path(folder) / "predictions.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(self.trainer.predict_loop.predictions, path)
        print(f"predictions are in {path}; torch.load returns a list with one item per batch")

    def _run_subcommand(self, subcommand: str) -> None:
        if not self._run:
            return
        logged = NewLogs(self.trainer) if subcommand == "fit" else None
        try:
            self._run_or_explain(subcommand)
        except (ValueError, MisconfigurationException):
            # Refused: what has taken no step is none to look at.
            if logged and self.trainer.global_step in (0, self.resumed_step):
                logged.remove()
            raise

    def _run_or_explain(self, subcommand: str) -> None:
        try:
            super()._run_subcommand(subcommand)
        except SystemExit:
            # So ends Lightning a fit that Ctrl-C stopped.
            if self.trainer.interrupted:
                said = self._how_to_resume() if subcommand == "fit" else ""
                raise KeyboardInterrupt(said) from None
            raise
        except (IndexError, RuntimeError, ModuleNotFoundError) as error:
            said = " ".join(str(error).split())
            if "loading state_dict" in said:
                said = f"{self.config[subcommand].ckpt_path} does not fit this model: {said}"
            elif self.other_data:
                path = self.config[subcommand].ckpt_path
                said = f"{path} {self.other_data}, which does not fit it ({said}); use the "
                said += "configuration that it was trained with"
            elif not _raised_by_lightning(error):
                raise
            raise ValueError(said) from error

    def _how_to_resume(self) -> str:
        """What to type after Ctrl-C, with the run's own settings."""
        trainer = self.trainer
        begun = trainer.global_step not in (0, self.resumed_step)
        if trainer.world_size > 1:  # the folder is asked of all processes, and some may have ended
            said = "--ckpt_path last resumes it, if it had written a checkpoint"
            return said if begun else "nothing was trained yet; start it again"
        run = Path(trainer.log_dir or "")
        config, last = run / "config.yaml", run / "checkpoints" / "last.ckpt"
        if config.is_file() and last.is_file():
            paths = f"-c {quote(str(config))} --ckpt_path {quote(str(last))}"
            return f"to resume:\n  gpu-learning fit {paths}"
        if not begun:
            return "nothing was trained yet; start it again"
        return "no checkpoint was written, so there is nothing to resume"


def _build_optimizers(
    module: pl.LightningModule, optimizer: dict[str, Any], lr_scheduler: dict[str, Any]
) -> Any:
    """``configure_optimizers`` for ``--optimizer`` and ``--lr_scheduler``.

    LightningCLI builds the optimizer before ``configure_model``, which builds some nets.
    """
    built = instantiate_class([p for p in module.parameters() if p.requires_grad], optimizer)
    scheduler = instantiate_class(built, lr_scheduler) if lr_scheduler else None
    return LightningCLI.configure_optimizers(module, built, scheduler)


def _raised_by_lightning(error: Exception) -> bool:
    """Lightning answers settings with RuntimeErrors; a bug of ours or of torch ends elsewhere."""
    innermost = deque(traceback.walk_tb(error.__traceback__), maxlen=1)
    return all(
        frame.f_globals.get("__name__", "").startswith("lightning.") for frame, _ in innermost
    )


def _hurry_on_a_cpu() -> None:
    """Spares each step on a CPU two things that cost it a tenth and change no weight.

    The moments that Adam keeps of a unit that has died shrink to numbers so small that the CPU
    computes with them by microcode. And Lightning has torch ask the NVIDIA driver's library whether
    there is a GPU, for which every optimizer step would load that library again.
    """
    # Before torch starts its threads, which take the setting over.
    torch.set_flush_denormal(True)
    if not torch.cuda.is_available():
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
