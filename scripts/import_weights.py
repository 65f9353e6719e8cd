"""``gpu-learning import``: a state dict becomes a run that the other commands take."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from scripts.parser import Parser

if TYPE_CHECKING:
    from torch import Tensor

    from training.cli import TrainCLI

# Those of MNISTDataModule, known before torch is imported.
NORMALIZATIONS = {"course": (0.0, 1.0), "mnist": (0.1307, 0.3081)}


def main(argv: Sequence[str]) -> int:
    """Imports, and prints which tensor became which."""
    given, rest = _parse(argv)
    mean, std = _normalization(given)

    from torch import nn

    from inference.runtimes.state_dict import read_state_dict
    from training.imported import check_values, match, write_run
    from training.run_config import SaveFitConfig

    weights = read_state_dict(given.file)
    cli = _build(given, rest, mean, std)
    net = getattr(cli.model, "net", None)
    if not isinstance(net, nn.Module):
        raise ValueError(f"{type(cli.model).__name__} builds its net from its data; train it here")
    pairs = match(weights, net)
    check_values(pairs, weights)
    net.load_state_dict({our: weights[their] for our, their in pairs.items()})
    run = Path(cli.trainer.log_dir or "")
    path = write_run(run, cli.model, cli.datamodule, given.file)
    for callback in cli.trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, SaveFitConfig):
            callback.setup(cli.trainer, cli.model, "fit")
    _print(pairs, weights)
    print(f"\nrun: {run}\nnext:")
    config, checkpoint, folder = (quote(str(one)) for one in (run / "config.yaml", path, run))
    print(f"  gpu-learning test -c {config} --ckpt_path {checkpoint}")
    print(f"  gpu-learning export {folder}")
    return 0


def _parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options, and those of the model and the data; a mistake is told before torch's import."""
    parser = Parser(
        "gpu-learning import",
        usage="gpu-learning import FILE --model CLASS --name NAME "
        "(--normalization course|mnist | --mean M --std S) [--data CLASS] [--model.ARGUMENT VALUE]",
        description="Makes logs/NAME/version_0/checkpoints/best.ckpt of the weights in FILE, which "
        "torch.save(model.state_dict(), FILE) or any Trainer wrote. test, export and, as a "
        "backbone, transfer take it.",
        epilog="--model and --data take classes and arguments as gpu-learning fit does, such as "
        "--model MNISTCNN --model.num_classes 5 --data.classes [0,1,2,3,4].",
        allow_abbrev=False,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="state dict, .pth")
    parser.add_argument("--model", required=True, metavar="CLASS", help="such as MNISTCNN")
    parser.add_argument("--data", default="MNISTDataModule", metavar="CLASS", help="for its test")
    parser.add_argument("--name", required=True, help="name under logs/")
    parser.add_argument(
        "--normalization",
        choices=NORMALIZATIONS,
        help="what the images were normalized with: course is ToTensor alone, pixels in [0, 1]; "
        "mnist subtracts {} and divides by {}".format(*NORMALIZATIONS["mnist"]),
    )
    parser.add_argument("--mean", type=float, help="the same as a number, with --std")
    parser.add_argument("--std", type=float, help="see --mean")
    given, rest = parser.parse_known_args(argv[1:])
    known = ("--model.", "--data.", "--trainer.")
    if wrong := [word for word in rest if word.startswith("--") and not word.startswith(known)]:
        parser.refuse_unknown(wrong)

    from exporting.commit import check_name

    check_name(given.name)
    if not given.file.is_file():
        raise ValueError(f"{given.file} does not exist, or is not a file")
    return given, rest


def _normalization(given: argparse.Namespace) -> tuple[float | None, float | None]:
    """Mean and standard deviation; None for those of the data module."""
    mean, std = NORMALIZATIONS.get(given.normalization, (given.mean, given.std))
    if given.normalization and (given.mean, given.std) != (None, None):
        raise ValueError("--normalization says what --mean and --std say; give one of the two")
    if (mean is None) != (std is None):
        raise ValueError("--mean and --std must be given together")
    return mean, std


def _build(
    given: argparse.Namespace, rest: list[str], mean: float | None, std: float | None
) -> "TrainCLI":
    """Model, data and loggers as ``gpu-learning fit`` would build them; nothing is run."""
    from datamodules import ImageDataModule
    from training.cli import TrainCLI
    from training.quiet import quiet

    quiet()
    options = [f"--model={given.model}", f"--data={given.data}", *rest]
    if mean is not None:
        options += [f"--data.mean={mean}", f"--data.std={std}"]
    options.append(f"--trainer.logger.init_args.name={given.name}")
    cli = TrainCLI(["fit", *options], run=False)
    if isinstance(cli.datamodule, ImageDataModule) and cli.datamodule.hparams["mean"] is None:
        raise ValueError(
            "the weights do not tell how their images were normalized: give --normalization course "
            "for ToTensor alone, --normalization mnist, or --mean and --std"
        )
    return cli


def _print(pairs: dict[str, str], weights: "dict[str, Tensor]") -> None:
    width = max(map(len, ["in the file", *pairs.values()]))
    ours = max(map(len, ["in the net", *pairs]))
    print(f"{'in the file':<{width}}  {'in the net':<{ours}}  shape")
    for our, their in pairs.items():
        print(f"{their:<{width}}  {our:<{ours}}  {tuple(weights[their].shape)}")
    sys.stdout.flush()
