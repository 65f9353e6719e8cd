"""What every image classifier shares: loss, metrics and optimiser."""

from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from lightning_modules.optimizers import clippable

Batch = tuple[Tensor, Tensor]


class ImageClassifier(pl.LightningModule):
    """Cross-entropy training of ``self.net``, which a subclass builds.

    ``forward`` gives logits (B, num_classes); ``predict_step`` gives probabilities.

    Logs ``train/loss`` every ``log_every_n_steps``; ``val/loss``, ``val/acc``, ``test/loss``,
    ``test/acc`` and ``test/acc_<class>`` an epoch. After a test ``confusion`` holds counts with
    rows for the truth and columns for the prediction.

    Raises:
        ValueError: LBFGS with weights in channels_last memory.
    """

    reads = "images"

    net: nn.Module

    def __init__(
        self,
        num_classes: int,
        lr: float,
        label_smoothing: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.lr = lr
        self.label_smoothing = label_smoothing
        self.betas = betas
        self.example_input_array = torch.zeros(1, 1, 28, 28)
        self.val_acc = MulticlassAccuracy(num_classes, average="micro")
        self.test_acc = MulticlassAccuracy(num_classes, average="micro")
        self.test_class_acc = MulticlassAccuracy(num_classes, average=None)
        self.confusion = MulticlassConfusionMatrix(num_classes)

    def log(self, name: str, value: Any, *args: Any, **kwargs: Any) -> None:
        """As Lightning's, but of the training steps only those whose values a logger takes.

        What ``training_step`` logs is shown every ``log_every_n_steps`` steps and at the end of an
        epoch; to keep it at every step costs more than a small layer.
        """
        trainer = self._trainer
        if trainer is not None and self._current_fx_name == "training_step":
            every = trainer.log_every_n_steps
            due = every and (trainer.global_step + 1) % every == 0
            if not (due or trainer.is_last_batch or trainer.fast_dev_run or kwargs.get("on_epoch")):
                return
        super().log(name, value, *args, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def _step(self, batch: Batch, stage: str) -> tuple[Tensor, Tensor]:
        images, labels = batch
        logits = self(images)
        training = stage == "train"
        smoothing = self.label_smoothing if training else 0.0
        loss = F.cross_entropy(logits, labels, label_smoothing=smoothing)
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
        return self._step(batch, "train")[0]

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
        self.log_dict({f"test/acc_{digit}": acc for digit, acc in enumerate(accuracies)})

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Probabilities (B, num_classes)."""
        return self(batch[0]).softmax(dim=1)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        adam = torch.optim.Adam(self.parameters(), lr=self.lr, betas=self.betas, fused=True)
        return clippable(adam)
