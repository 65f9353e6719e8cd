"""Step 17 of the course: training as one object, for use from Python."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from exporting.images import DEFAULT, export, read_source
from training.cli import TrainCLI
from training.quiet import quiet

CONFIGS = Path(__file__).parents[1] / "configs"


class MNISTTrainingPipeline:
    """Trains a digit classifier as ``gpu-learning fit`` does, and saves it.

    As in the course the images are pixels in [0, 1] without further normalization, so that a saved
    ``.pth`` has the very weights that were trained.

    Args:
        num_classes: number of classes; fewer than 10 need ``--data.init_args.classes`` in
            ``options``.
        lr: learning rate of Adam.
        config: name of an experiment in ``configs/``.
        options: more of what ``gpu-learning fit`` takes.

    Example::

        from course.inference_pipeline import MNISTInferencePipeline
        from course.training_pipeline import MNISTTrainingPipeline

        pipeline = MNISTTrainingPipeline(lr=0.001)
        pipeline.train(epochs=3)
        pipeline.save("models/mnist_cnn.pth")
        MNISTInferencePipeline("models/mnist_cnn.pth").predict("seven.png")["digit"]
    """

    def __init__(
        self,
        num_classes: int = 10,
        lr: float = 0.001,
        config: str = "mnist_cnn",
        options: Sequence[str] = (),
    ) -> None:
        path = CONFIGS / f"{config}.yaml"
        if not path.is_file():
            there = ", ".join(sorted(found.stem for found in CONFIGS.glob("*.yaml")))
            raise ValueError(f"there is no experiment {config!r}; there are {there}")
        self._arguments = ["fit", "-c", str(path), "--data.init_args.mean=0"]
        self._arguments += ["--data.init_args.std=1", f"--model.init_args.lr={lr}"]
        self._arguments += [f"--model.init_args.num_classes={num_classes}", *options]
        self.checkpoint: Path | None = None

    def train(self, epochs: int = 5) -> "MNISTTrainingPipeline":
        """Fits; ``checkpoint`` is the best epoch's file afterwards."""
        quiet()
        cli = TrainCLI([*self._arguments, f"--trainer.max_epochs={epochs}"])
        best = getattr(cli.trainer.checkpoint_callback, "best_model_path", "")
        if not best:
            raise ValueError("the fit kept no checkpoint; leave callbacks.BestAndLast in place")
        self.checkpoint = Path(best)
        return self

    def save(self, path: str | Path, formats: Sequence[str] = DEFAULT) -> Path:
        """Exports the best epoch, checked against eager by a fresh process, and returns the path.

        Args:
            path: a file ``NAME.pth``, which gets the state dict, or a folder, which becomes an
                artifact. What is there is replaced.
            formats: of the artifact.

        Raises:
            ValueError: nothing was trained yet, or a file does not do what the model does.
        """
        if self.checkpoint is None:
            raise ValueError("nothing to save yet: call train() first")
        path = Path(path)
        source = read_source(self.checkpoint)
        if path.suffix != ".pth":
            device = "cuda" if torch.cuda.is_available() else "cpu"
            export(source, path, formats, device)
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
            manifest = export(source, Path(folder) / "model", ["pth"], "cpu")
            written = Path(folder) / "model" / manifest["files"]["pth"]["file"]
            os.replace(written, path)
        return path
