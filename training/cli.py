"""LightningCLI over the project's classes."""

import io
import os
import sys
import traceback
from collections import deque
from collections.abc import Sequence
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import yaml
from jsonargparse import Namespace
from jsonargparse.util import import_object
from lightning.pytorch.callbacks import Checkpoint, ModelSummary, ProgressBar, RichProgressBar
from lightning.pytorch.cli import (
    LightningCLI,
    LRSchedulerTypeTuple,
    instantiate_class,
)
from lightning.pytorch.utilities import rank_zero_only

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
from training.checkpoints import (
    check_checkpoint,
    check_same_run,
    differences,
    hyperparameters,
)
from training.checks import check_parts, check_settings, check_subcommand
from training.loggers import keep_history, log_into_run, refuse_taken_folder
from training.parser import OneSentenceParser, explain, overridden
from training.run_config import SaveFitConfig
from training.runs import (
    best_checkpoint,
    experiment_folder,
    last_checkpoint,
    requeued_checkpoint,
    requeued_job,
)

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


class TrainCLI(LightningCLI):
    """LightningCLI with ``configs/trainer.yaml`` underneath and checkpoints that can be named.

    ``--ckpt_path last`` is the newest run's last checkpoint, ``--ckpt_path best`` the best of all
    runs of the experiment by their monitor; all but ``fit`` take ``best`` where none is given. With
    a checkpoint of the experiment's own log folder, the command logs into that run.

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
        self.config = parser.parse_args(args)

    def _parse_ckpt_path(self) -> None:
        config = self.config[self._name]
        # Scoring the random weights that a model starts with is never what was meant.
        path = config.ckpt_path or (None if self._name == "fit" else "best")
        if self._name == "fit" and (job := requeued_job()) is not None:
            path = self._requeued(job) or path
        if path in ("last", "best"):
            folder = experiment_folder(config.trainer)
            data = (config.get("data") or {}).get("class_path")
            path, said = (
                last_checkpoint(folder)
                if path == "last"
                else best_checkpoint(folder, config.model.class_path, data)
            )
            config["ckpt_path"] = str(path)
            self._say(f"takes {said}")
        if path is not None:
            self._use_checkpoint(Path(path))
        if self._name == "fit":
            refuse_taken_folder(config.trainer, path)

    def _requeued(self, job: str) -> str | None:
        """What a SLURM job that was requeued wrote before; it comes before the ``ckpt_path``."""
        config = self.config[self._name]
        if config.trainer.logger is False:
            raise ValueError(
                f"job {job} was requeued, and its checkpoint is looked up in the logger's folder; "
                "leave the logger on, or submit the job with --no-requeue"
            )
        path = requeued_checkpoint(experiment_folder(config.trainer), job)
        if path is None:
            begins = "begins as it did before" if config.ckpt_path else "begins again"
            self._say(f"job {job} was requeued before it had written a checkpoint, and {begins}")
            return None
        config["ckpt_path"] = str(path)
        self._say(f"job {job} was requeued and resumes from {path}")
        return str(path)

    def _use_checkpoint(self, path: Path) -> None:
        config = self.config[self._name]
        check_checkpoint(path, config.model.class_path, resumes=self._name == "fit")
        run = path.resolve().parents[1]
        if self._name == "fit":
            now = yaml.safe_load(self.parser.dump(self.config, skip_none=False))[self._name]
            changed = differences(run, now)
            check_same_run(path, changed)
            for key, (then, value) in changed.items():
                lists = isinstance(then, list) or isinstance(value, list)
                said = "differs from" if lists else f"is {value}, it was {then} in"
                self._say(f"{key} {said} {run.name}")
        model, data = hyperparameters(path)
        self._take("model", model)
        if self._name != "fit":  # a fit resumes with the data of its run, which was compared above
            kind = import_object(config.data.class_path) if config.get("data") else None
            fixed = getattr(kind, "fixed_by_training", ("mean", "std"))
            self._take("data", {key: data[key] for key in fixed if data.get(key) is not None})
        config = self.config[self._name]
        if config.trainer.logger is not False:
            folder = experiment_folder(config.trainer)
            if run.parent == folder.resolve() and log_into_run(config.trainer, run):
                self.save_config_kwargs = {"resumed": True}

    def _take(self, part: str, values: dict[str, Any]) -> None:
        """Sets arguments of the model or the data to those of the checkpoint, and says so.

        LightningCLI's own way does not take checkpoints that a Trainer without it wrote.
        """
        if not values:
            return
        config = self.config[self._name][part]
        before = dict(config.get("init_args") or {})
        given = {"class_path": config.class_path, "dict_kwargs": values}
        said = io.StringIO()
        try:
            with redirect_stderr(said):
                self.config = self.parser.parse_object({self._name: {part: given}}, self.config)
        except SystemExit as error:
            reason = said.getvalue().strip().removeprefix("gpu-learning: error: ")
            raise ValueError(
                f"the checkpoint was made with {', '.join(values)}, and {config.class_path} takes "
                f"other arguments ({reason}); use the configuration it was trained with, or name "
                f"its class with --{part}"
            ) from error
        after = self.config[self._name][part].get("init_args") or {}
        for name, value in before.items():
            told = value is not None or name in ("mean", "std")
            if name in after and after[name] != value and told:
                asked = "" if value is None else f"; the {value} asked for is not used"
                self._say(f"{name}={after[name]} comes from the checkpoint{asked}")

    def _say(self, sentence: str) -> None:
        if not rank_zero_only.rank:
            print(f"gpu-learning: {sentence}", file=sys.stderr)

    def before_instantiate_classes(self) -> None:
        check_settings(self.config[self._name], KEYED_CALLBACKS)

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
        try:
            super()._run_subcommand(subcommand)
        except SystemExit:
            # So ends Lightning a fit that Ctrl-C stopped.
            if self.trainer.interrupted:
                raise KeyboardInterrupt from None
            raise
        except (RuntimeError, ModuleNotFoundError) as error:
            said = " ".join(str(error).split())
            if "loading state_dict" in said:
                said = f"{self.config[subcommand].ckpt_path} does not fit this model: {said}"
            elif not _raised_by_lightning(error):
                raise
            raise ValueError(said) from error


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
