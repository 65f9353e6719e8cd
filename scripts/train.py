"""``gpu-learning fit | validate | test | predict``: LightningCLI over the project's classes."""

import logging
import os
import sys
import warnings
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar
from lightning.pytorch.cli import LightningCLI, SaveConfigCallback

import strategies  # noqa: F401  registers cuda_graph
from callbacks import PlainProgress
from scripts.parser import OneSentenceParser, explain

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
            path = _newest_checkpoint(_run_folder(config), path)
            config["ckpt_path"] = str(path)
        _check_checkpoint(Path(path), config.model.class_path, resumes=self._name == "fit")
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
        if not hasattr(logger, "init_args") or run.parent != _run_folder(config).resolve():
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
        _check_that_they_fit(self.model, self.datamodule, self.trainer.callbacks)
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
            return super().instantiate_trainer(**kwargs)
        except (TypeError, ModuleNotFoundError) as error:
            raise ValueError(f"the trainer cannot be built so: {error}") from error

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


def _check_that_they_fit(model: Any, data: Any, callbacks: Iterable[Any]) -> None:
    """Compares what the parts say that an example is; one that says nothing fits all."""
    gives = getattr(data, "gives", None)
    for part in (model, *callbacks):
        reads = getattr(part, "reads", None)
        if reads and gives and reads != gives:
            other = "take that callback out" if part is not model else "take a model that does"
            raise ValueError(
                f"{type(part).__name__} is for {reads}, and {type(data).__name__} gives {gives}; "
                f"name a data module that gives {reads} with --data, or {other}"
            )
    classes, outputs = getattr(data, "classes", None), getattr(model, "num_classes", None)
    if classes and outputs and len(classes) > outputs:
        raise ValueError(
            f"{type(data).__name__} gives {len(classes)} classes, {type(model).__name__} tells "
            f"{outputs} apart; set --model.init_args.num_classes {len(classes)}, or choose some "
            "with --data.init_args.classes"
        )


def _run_folder(config: Any) -> Path:
    """Folder of the experiment's runs, ``logs/<name>``."""
    logger = config.trainer.logger
    if not hasattr(logger, "init_args"):
        raise ValueError(
            "--ckpt_path last and best are looked up in the logger's folder, and the logger is "
            "off; give the file's path instead"
        )
    return Path(logger.init_args.save_dir) / logger.init_args.name


def _newest_checkpoint(folder: Path, name: str) -> Path:
    found = sorted(folder.glob(f"*/checkpoints/{name}.ckpt"), key=lambda p: p.stat().st_mtime)
    if not found:
        raise ValueError(f"there is no {name}.ckpt under {folder}; train first: gpu-learning fit")
    return found[-1]


def _check_checkpoint(path: Path, class_path: str, resumes: bool) -> None:
    if path.is_dir() and (path / ".metadata").is_file():  # sharded, as FSDP writes them
        return
    if not path.is_file():
        raise ValueError(f"the checkpoint {path} does not exist, or is no file")
    try:
        # torch does not look at the checksums that a checkpoint's zip has.
        if (broken := zipfile.ZipFile(path).testzip()) is not None:
            raise ValueError(f"{broken} is not what was written")
        checkpoint = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
        made_by = str(checkpoint["hyper_parameters"].get("_class_path", class_path))
        for key in ("pytorch-lightning_version", "state_dict"):
            checkpoint[key]
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read as a checkpoint of this project "
            f"({type(error).__name__}); it is damaged or something else. "
            "Take another one, or train anew"
        ) from error
    parts = ("optimizer_states", "loops", "callbacks")
    if resumes and (missing := [part for part in parts if part not in checkpoint]):
        raise ValueError(
            f"{path} has no {' and no '.join(missing)}, without which a run cannot go on as it "
            "would have; take a checkpoint that a fit wrote, or start anew without --ckpt_path"
        )
    if made_by.rsplit(".", 1)[-1] != class_path.rsplit(".", 1)[-1]:
        raise ValueError(
            f"{path} is a checkpoint of {made_by}, this configuration builds {class_path}; use the "
            "configuration it was trained with"
        )


def main(argv: Sequence[str]) -> int:
    """Runs one of LightningCLI's subcommands; ``argv`` begins with its name."""
    quiet()
    TrainCLI(argv)
    return 0


def quiet() -> None:
    """Hides what Lightning and torch say to developers of theirs, not to users of this project."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
        lambda record: not record.getMessage().startswith(("💡 Tip", "TPU available"))
    )
    logging.getLogger("lightning.pytorch.trainer.connectors.checkpoint_connector").addFilter(
        lambda record: not record.getMessage().startswith("`weights_only` was not set")
    )
    for message in (
        # An epoch shorter than the log interval shows its figures all the same.
        r"The number of training batches .* is smaller than the logging interval",
        # TensorBoard's graph page is made by torch.jit.trace; there is no other way yet.
        r"`torch\.jit\.trace(_method)?` is deprecated",
        # val_size: 0 asks for no validation.
        r"Total length of `list` across ranks is zero",
        # --optimizer asks for just that.
        r"`.*configure_optimizers` will be overridden by",
        # The checkpoints of a resumed run go on in its folder.
        r"Checkpoint directory .* exists and is not empty",
        r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    ):
        warnings.filterwarnings("ignore", message=message)
