"""LightningCLI over the project's classes."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar
from lightning.pytorch.cli import LightningCLI, SaveConfigCallback

import strategies  # noqa: F401  registers cuda_graph
from callbacks import PlainProgress
from callbacks.idle_hooks import skip_idle_hooks
from training.checkpoints import check_checkpoint, experiment_folder, newest_checkpoint
from training.checks import check_parts
from training.parser import OneSentenceParser, explain

BASE_CONFIG = Path(__file__).parents[1] / "configs" / "trainer.yaml"


class SaveFitConfig(SaveConfigCallback):
    """Keeps ``config.yaml`` beside the checkpoints of a fit; a test of the run leaves it alone."""

    def __init__(self, parser: OneSentenceParser, config: Any, **kwargs: Any) -> None:
        super().__init__(parser, config, **kwargs)
        # Here and not in setup, which is part of the time that Trainer.fit takes.
        self._text = parser.dump(config, skip_none=False)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage != "fit" or not trainer.loggers:
            return
        folder = Path(trainer.log_dir or ".")  # asked by every process: it is broadcast
        if trainer.is_global_zero:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / self.config_filename).write_text(self._text)


class TrainCLI(LightningCLI):
    """LightningCLI with ``configs/trainer.yaml`` underneath and checkpoints that can be named.

    ``--ckpt_path last`` and ``--ckpt_path best`` mean the newest such file of the experiment; all
    but ``fit`` take ``best`` where none is given. With a checkpoint of the experiment's own log
    folder, the command goes on logging into that run.

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
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Only the one asked for: building a parser takes a second."""
        return {self._name: LightningCLI.subcommands()[self._name]}

    def parse_arguments(self, parser: OneSentenceParser, args: list[str]) -> None:  # type: ignore[override]
        self.config = parser.parse_args(args)

    def _parse_ckpt_path(self) -> None:
        config = self.config[self._name]
        # Scoring the random weights that a model starts with is never what was meant.
        path = config.ckpt_path or (None if self._name == "fit" else "best")
        if path is None:
            return
        if path in ("last", "best"):
            path = newest_checkpoint(experiment_folder(config), path)
            config["ckpt_path"] = str(path)
        check_checkpoint(Path(path), config.model.class_path, resumes=self._name == "fit")
        before = dict(config.model.get("init_args") or {})
        super()._parse_ckpt_path()
        after = self.config[self._name].model.get("init_args") or {}
        for name, value in before.items():
            if value is not None and name in after and after[name] != value:
                print(
                    f"gpu-learning: {name}={after[name]} comes from the checkpoint; "
                    f"the {value} asked for is not used",
                    file=sys.stderr,
                )
        self._log_into_run(Path(path))

    def _log_into_run(self, checkpoint: Path) -> None:
        config = self.config[self._name]
        run = checkpoint.resolve().parents[1]
        logger = config.trainer.logger
        if not hasattr(logger, "init_args") or run.parent != experiment_folder(config).resolve():
            return
        if logger.init_args.get("version") is None:
            logger.init_args["version"] = run.name

    def before_instantiate_classes(self) -> None:
        config = self.config[self._name]
        if config.get("lr_scheduler") and not config.get("optimizer"):
            raise ValueError(
                "--lr_scheduler has no effect without --optimizer; add for example "
                "--optimizer torch.optim.Adam"
            )
        trainer = config.trainer
        for name in ("log_every_n_steps", "accumulate_grad_batches"):
            if (trainer.get(name) or 1) < 1 or trainer.get(name) == 0:
                raise ValueError(f"--trainer.{name} must be at least 1, got {trainer.get(name)}")
        for part in (config.model, config.get("optimizer")):
            lr = ((part or {}).get("init_args") or {}).get("lr")
            if lr is not None and not 0 < float(lr) < float("inf"):
                raise ValueError(f"the learning rate must be a number above 0, got lr {lr}")
        callbacks = trainer.callbacks if isinstance(trainer.callbacks, list) else []
        paths = [callback.get("class_path") for callback in callbacks]
        if twice := {path for path in paths if path and paths.count(path) > 1}:
            raise ValueError(f"{', '.join(sorted(twice))} is in the callbacks twice; take one out")
        if trainer.accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
            raise ValueError(
                f"accelerator={trainer.accelerator} needs a CUDA GPU and torch sees none; "
                "gpu-learning doctor says why, --trainer.accelerator cpu trains without"
            )

    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
        except ValueError as error:
            # jsonargparse wraps what a constructor says in a report of many lines.
            raise ValueError(explain(str(error))) from error
        check_parts(self.model, self.datamodule, self.trainer.callbacks)
        example = self.model.example_input_array
        if example is not None:  # the model summary runs it without a look at the precision
            self.model.example_input_array = self.trainer.precision_plugin.convert_input(example)

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        trainer = self.config_init[self._name].trainer
        callbacks = trainer.callbacks or []
        has_bar = any(isinstance(callback, ProgressBar) for callback in callbacks)
        if trainer.enable_progress_bar is not False and not has_bar:
            bar = RichProgressBar(refresh_rate=10) if sys.stdout.isatty() else PlainProgress()
            trainer.callbacks = [*callbacks, bar]
        try:
            built = super().instantiate_trainer(**kwargs)
        except (TypeError, ModuleNotFoundError) as error:
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
        print(f"predictions are in {path}; torch.load gives a list with one item a batch")

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
        except RuntimeError as error:
            if "loading state_dict" not in str(error):
                raise
            raise ValueError(
                f"{self.config[subcommand].ckpt_path} does not fit this model: "
                f"{' '.join(str(error).split())}"
            ) from error


def _hurry_on_a_cpu() -> None:
    """Spares each step on a CPU two things that cost it a tenth and change no weight.

    The moments that Adam keeps of a unit that has died shrink to numbers so small that the CPU
    computes with them by microcode. And Lightning has torch ask the NVIDIA driver's library whether
    there is a GPU, for which every step of an optimiser loads that library anew.
    """
    # Before torch starts its threads, which take the setting over.
    torch.set_flush_denormal(True)
    if not torch.cuda.is_available():
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
