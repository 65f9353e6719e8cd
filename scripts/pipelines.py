"""Step 17 of the course: training as one object, for use from Python."""

from collections.abc import Sequence
from pathlib import Path

import torch

from exporting import DEFAULT, export, read_source
from training.cli import TrainCLI
from training.quiet import quiet

CONFIGS = Path(__file__).parents[1] / "configs"


class MNISTTrainingPipeline:
    """Trains a digit classifier as ``gpu-learning fit`` does, and exports it.

    Args:
        config: name of an experiment in ``configs/``.
        epochs: epochs to train.
        options: more of what ``gpu-learning fit`` takes.

    Example::

        from inference import MNISTInferencePipeline
        from scripts.pipelines import MNISTTrainingPipeline

        folder = MNISTTrainingPipeline(epochs=3).train().save("models/mnist_cnn")
        MNISTInferencePipeline(folder).predict("seven.png").digit
    """

    def __init__(
        self, config: str = "mnist_cnn", epochs: int = 3, options: Sequence[str] = ()
    ) -> None:
        path = CONFIGS / f"{config}.yaml"
        if not path.is_file():
            there = ", ".join(sorted(found.stem for found in CONFIGS.glob("*.yaml")))
            raise ValueError(f"there is no experiment {config!r}; there are {there}")
        self.config = path
        self.epochs = epochs
        self.options = list(options)
        self.checkpoint: Path | None = None

    def train(self) -> "MNISTTrainingPipeline":
        """Fits; ``checkpoint`` is the best epoch's file afterwards."""
        quiet()
        cli = TrainCLI(
            ["fit", "-c", str(self.config), f"--trainer.max_epochs={self.epochs}", *self.options]
        )
        best = getattr(cli.trainer.checkpoint_callback, "best_model_path", "")
        if not best:
            raise ValueError("the fit kept no checkpoint; leave callbacks.BestAndLast in place")
        self.checkpoint = Path(best)
        return self

    def save(self, folder: str | Path, formats: Sequence[str] = DEFAULT) -> Path:
        """Exports the best epoch to ``folder``, checked against eager, and gives the folder.

        Raises:
            ValueError: nothing was trained yet, or a file does not do what the model does.
        """
        if self.checkpoint is None:
            raise ValueError("nothing to save yet: call train() first")
        device = "cuda" if torch.cuda.is_available() else "cpu"
        export(read_source(self.checkpoint), Path(folder), formats, device)
        return Path(folder)
