"""``gpu-learning fit | validate | test | predict``."""

from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from training.checkpoint_names import check_ckpt_path
from training.config_files import check_config_files

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from training.cli import TrainCLI


def main(argv: Sequence[str]) -> int:
    """Runs one of LightningCLI's subcommands; ``argv`` begins with its name."""
    check_config_files(argv)
    check_ckpt_path(argv)

    from training.cli import TrainCLI
    from training.quiet import quiet

    quiet()
    cli = TrainCLI(argv)
    if argv[0] == "fit":
        try:
            _report(cli)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("the run had come to its end") from None
    return 0


def _report(cli: "TrainCLI") -> None:
    """Prints what a fit left, its score, and commands to type next."""
    from callbacks.tensorboard import tensorboards
    from training.checks import can_run
    from training.outcome import learned_nothing
    from training.runs import read_checkpoint

    trainer = cli.trainer
    folder = trainer.log_dir  # asked by every process: it is broadcast
    if not trainer.is_global_zero:
        return
    if not trainer.fast_dev_run and (said := learned_nothing(trainer, cli.model)):
        print(f"\n{said}")
    if folder is None:
        return
    run = Path(folder)
    kept = [run / "checkpoints" / f"{name}.ckpt" for name in ("best", "last")]
    kept = [path for path in kept if path.is_file()]
    print(f"\nrun: {run}")
    if trainer.global_step == cli.resumed_step:
        print("no step was left to train: this run had come to its end")
    limits = ("max_epochs", "max_steps", "limit_train_batches")
    if none := [name for name in limits if getattr(trainer, name) == 0]:
        print(f"nothing was trained: --trainer.{none[0]} is 0")
    if not kept:
        return
    print(f"{kept[0].stem}: {read_checkpoint(kept[0])}")
    score = "test" if can_run("test", cli.model, cli.datamodule) else "validate"
    if not (run / "config.yaml").is_file() or not can_run(score, cli.model, cli.datamodule):
        return
    print("next:")
    config, checkpoint, folder = (quote(str(one)) for one in (run / "config.yaml", kept[0], run))
    print(f"  gpu-learning {score} -c {config} --ckpt_path {checkpoint}")
    for command in _uses(trainer) or [f"export {folder}"]:
        print(f"  gpu-learning {command}")
    for logger in tensorboards(trainer)[:1]:  # the experiment's folder: its runs can be compared
        print(f"  tensorboard --logdir {quote(str(logger.root_dir))}")


def _uses(trainer: "Trainer") -> list[str]:
    """Commands that use what an export callback wrote at the end of the fit; none without one."""
    from callbacks import TextSamples
    from callbacks.export_best import ExportBest

    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    exports = [one for one in callbacks if isinstance(one, ExportBest) and one.written]
    prompts = [text for one in callbacks if isinstance(one, TextSamples) for text in one.shown]
    commands = []
    for export in exports:
        model = quote(str(export.folder))
        prompt = quote(prompts[0]) if prompts else "PROMPT"
        text = export.reads == "tokens"
        commands.append(f"generate {model} {prompt}" if text else f"classify {model} FILE")
    return [*commands, *{f"serve {quote(str(one.folder.parent))}/" for one in exports}]
