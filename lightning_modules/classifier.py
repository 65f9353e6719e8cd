"""What every image classifier shares: loss, metrics and optimizer."""

from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from lightning_modules.clippable import clippable

Batch = tuple[Tensor, Tensor]


class ImageClassifier(pl.LightningModule):
    """Cross-entropy training of ``self.net``, which a subclass builds.

    ``forward`` returns logits (B, num_classes); ``predict_step`` returns probabilities. A subclass
    that takes None for ``num_classes`` or ``image_shape`` defines :meth:`build_net` and calls
    ``_build_for_data`` in ``configure_model``, which builds it for the ``class_names`` and the
    ``image_shape`` of the data module.

    Logs ``train/loss`` and ``train/acc`` of a batch every ``log_every_n_steps``; ``val/loss``,
    ``val/acc``, ``test/loss``, ``test/acc`` and ``test/acc_<class name>`` per epoch. After a test
    ``confusion`` holds counts with rows for the truth and columns for the prediction.

    Raises:
        ValueError: data of another shape or of more classes, or LBFGS with weights in
            channels_last memory.
    """

    reads = "images"

    net: nn.Module
    smoothed_labels: Tensor

    def __init__(
        self,
        num_classes: int | None,
        lr: float,
        label_smoothing: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        image_shape: tuple[int, int, int] | None = (1, 28, 28),
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.image_shape = image_shape
        self.lr = lr
        self.label_smoothing = label_smoothing
        self.betas = betas
        if image_shape is not None:
            self.example_input_array = torch.zeros(1, *image_shape)
        if num_classes is not None:
            self._build_metrics(num_classes)

    def _build_metrics(self, num_classes: int) -> None:
        self.val_acc = MulticlassAccuracy(num_classes, average="micro")
        self.test_acc = MulticlassAccuracy(num_classes, average="micro")
        self.test_class_acc = MulticlassAccuracy(num_classes, average=None)
        self.confusion = MulticlassConfusionMatrix(num_classes)
        # The probabilities that stand for each label: cross_entropy with label_smoothing launches
        # twice as many kernels for the same loss, 30 of the 400 us of MNISTFast's step.
        spread = torch.full((num_classes, num_classes), self.label_smoothing / num_classes)
        spread.diagonal().add_(1 - self.label_smoothing)
        self.register_buffer("smoothed_labels", spread, persistent=False)

    def build_net(self, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        """Sets ``self.net``, for images of that shape."""
        raise ValueError(f"{type(self).__name__} must be given num_classes and image_shape")

    def setup(self, stage: str) -> None:
        self._check_data()
        if stage == "fit":
            self._warn_of_spare_outputs()

    def _build_for_data(self) -> None:
        """For ``configure_model``: builds what waits for the data."""
        if self.num_classes is None or self.image_shape is None:
            names, shape = self._classes_and_shape()
            if names is None or shape is None:
                raise ValueError(
                    f"without a data module that has class_names and image_shape both must be "
                    f"given: {type(self).__name__}(num_classes=..., image_shape=...)"
                )
            if self.num_classes is None:
                self.num_classes = len(names)
                self._build_metrics(self.num_classes)
            if self.image_shape is None:
                self.image_shape = tuple(shape)
            example = torch.zeros(1, *self.image_shape)
            # The model summary runs it without a look at the precision.
            self.example_input_array = self.trainer.precision_plugin.convert_input(example)
            self.hparams.update(num_classes=self.num_classes, image_shape=self.image_shape)
            self.build_net(self.num_classes, self.image_shape)

    def _classes_and_shape(self) -> tuple[Any, Any]:
        """Of the data module; None without one, as after ``load_from_checkpoint``."""
        data = getattr(self._trainer, "datamodule", None)
        return getattr(data, "class_names", None), getattr(data, "image_shape", None)

    def _check_data(self) -> None:
        names, shape = self._classes_and_shape()
        data = type(getattr(self._trainer, "datamodule", None)).__name__
        if names is not None and self.num_classes is not None and len(names) > self.num_classes:
            raise ValueError(
                f"{data} has {len(names)} classes, {type(self).__name__} tells "
                f"{self.num_classes} apart; leave --model.init_args.num_classes out, or set it to "
                f"{len(names)}"
            )
        if None not in (shape, self.image_shape) and tuple(shape) != tuple(self.image_shape or ()):
            raise ValueError(
                f"{data} yields images of {_said(shape)}, {type(self).__name__} "
                f"takes {_said(self.image_shape or ())}; {self._remedy_of_shape(shape)}"
            )

    def _warn_of_spare_outputs(self) -> None:
        """More outputs than classes can be trained, for other data to come, but not exported."""
        names, _ = self._classes_and_shape()
        if names is not None and self.num_classes is not None and len(names) < self.num_classes:
            data = type(getattr(self._trainer, "datamodule", None)).__name__
            rank_zero_warn(
                f"{data} has {len(names)} classes, {type(self).__name__} tells {self.num_classes} "
                "apart, and export refuses outputs without a label; for a model to use set "
                f"--model.init_args.num_classes {len(names)}",
                category=UserWarning,
            )

    def _remedy_of_shape(self, shape: tuple[int, int, int]) -> str:
        if "image_shape" in self.hparams:
            return "leave --model.init_args.image_shape out, or start a run without a checkpoint"
        return "for these use --model ImageCNN or --model TransferLearner, which take any shape"

    def log(self, name: str, value: Any, *args: Any, **kwargs: Any) -> None:
        """As Lightning's, but of the training steps only those whose values a logger takes.

        What ``training_step`` logs is shown every ``log_every_n_steps`` steps and at the end of an
        epoch; to keep it at every step costs more than a small layer.
        """
        trains = self._current_fx_name == "training_step"
        if not trains or kwargs.get("on_epoch") or self._is_logged_step():
            super().log(name, value, *args, **kwargs)

    def _is_logged_step(self) -> bool:
        """Whether a logger takes the values of this training step; also without a trainer."""
        trainer = self._trainer
        if trainer is None:
            return True
        every = trainer.log_every_n_steps
        due = bool(every) and (trainer.global_step + 1) % every == 0
        return due or trainer.is_last_batch or bool(trainer.fast_dev_run)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def _step(self, batch: Batch, stage: str) -> tuple[Tensor, Tensor]:
        images, labels = batch
        logits = self(images)
        training = stage == "train"
        smooths = training and self.label_smoothing
        loss = F.cross_entropy(logits, self.smoothed_labels[labels] if smooths else labels)
        self.log(
            f"{stage}/loss",
            loss,
            on_step=training,
            on_epoch=not training,
            sync_dist=not training,
            prog_bar=True,
            batch_size=len(labels),
        )
        return loss, logits

    def on_fit_start(self) -> None:
        flattens = any(isinstance(o, torch.optim.LBFGS) for o in self.trainer.optimizers)
        if flattens and not all(p.is_contiguous() for p in self.parameters()):
            raise ValueError(
                f"torch's LBFGS flattens weights in place, and those of {type(self).__name__} are "
                "in channels_last memory; use Adam or SGD, or MNISTMLP with LBFGS"
            )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss, logits = self._step(batch, "train")
        # A strategy that captures the step, which is then the same every time, has put a log of its
        # own in the place of this class's.
        captured = "log" in vars(self)
        if captured or self._is_logged_step():
            right = logits.detach().argmax(dim=1) == batch[1]
            accuracy = right.mean(dtype=torch.float32)
            self.log("train/acc", accuracy, batch_size=len(right))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        _, logits = self._step(batch, "val")
        self.val_acc(logits, batch[1])
        self.log("val/acc", self.val_acc, prog_bar=True)

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Probabilities (B, num_classes), for callbacks that draw them."""
        _, logits = self._step(batch, "test")
        for metric in (self.test_acc, self.test_class_acc, self.confusion):
            metric.update(logits, batch[1])
        self.log("test/acc", self.test_acc)
        return logits.softmax(dim=1)

    def on_test_epoch_start(self) -> None:
        self.test_class_acc.reset()
        self.confusion.reset()

    def on_test_epoch_end(self) -> None:
        accuracies = self.test_class_acc.compute()
        data = getattr(self.trainer, "datamodule", None)
        names = [str(name) for name in getattr(data, "class_names", ())]
        names += [str(number) for number in range(len(names), len(accuracies))]
        self.log_dict(
            {f"test/acc_{name}": acc for name, acc in zip(names, accuracies, strict=False)}
        )

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Probabilities (B, num_classes)."""
        return self(batch[0]).softmax(dim=1)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        adam = torch.optim.Adam(self.parameters(), lr=self.lr, betas=self.betas, fused=True)
        return clippable(adam)


def _said(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
