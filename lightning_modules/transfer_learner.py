"""A trained net put to a new task."""

import hashlib
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import BackboneFinetuning
from torch import nn

from lightning_modules.classifier import ImageClassifier
from lightning_modules.nets import CNN
from lightning_modules.optimizers import clippable


class TransferLearner(ImageClassifier):
    """The layers of a trained :class:`MNISTCNN` up to its last one, frozen, and a new last layer.

    With five classes 325 parameters are trained: 64 x 5 weights and 5 biases. The backbone is read
    when a training starts; afterwards its weights are part of this module's own checkpoints, which
    name it by path and sha256 under ``backbone``.

    Args:
        backbone: checkpoint of an MNISTCNN.
        num_classes: classes of the new task.
        unfreeze_after: epochs after which the backbone learns too, at a tenth of the learning rate
            (Lightning's :class:`BackboneFinetuning`); never if None.
        channels: as the backbone was trained with.
        hidden: as the backbone was trained with.
        lr: learning rate of Adam.

    Raises:
        ValueError: the backbone's file is missing, is no checkpoint of an MNISTCNN, or is one of
            other widths.
    """

    def __init__(
        self,
        backbone: str = "logs/mnist_cnn_backbone/version_0/checkpoints/best.ckpt",
        num_classes: int = 5,
        unfreeze_after: int | None = None,
        channels: tuple[int, int] = (8, 16),
        hidden: int = 64,
        lr: float = 1e-2,
    ) -> None:
        super().__init__(num_classes, lr)
        self.save_hyperparameters()
        self.backbone_path = backbone
        self.backbone_sha256 = ""
        self.unfreeze_after = unfreeze_after
        cnn = CNN(channels, hidden).to(memory_format=torch.channels_last)
        cnn.fc2 = nn.Identity()  # type: ignore[assignment]
        cnn.requires_grad_(False)
        self.net = nn.Sequential()
        self.net.add_module("backbone", cnn)
        self.net.add_module("head", nn.Linear(hidden, num_classes))

    @property
    def backbone(self) -> nn.Module:
        """Under the name that Lightning's BackboneFinetuning looks for."""
        return self.net.get_submodule("backbone")

    def setup(self, stage: str) -> None:
        path = Path(self.backbone_path)
        if stage == "fit" and path.is_file():
            self._load_backbone(path)

    def _load_backbone(self, path: Path) -> None:
        self.backbone_sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        try:
            checkpoint = torch.load(path, weights_only=True, map_location="cpu")
            weights = {
                name.removeprefix("net."): value
                for name, value in checkpoint["state_dict"].items()
                if name.startswith("net.") and not name.startswith("net.fc2.")
            }
            self.backbone.load_state_dict(weights)
        except Exception as error:
            raise ValueError(
                f"{path} is no checkpoint of an MNISTCNN with channels "
                f"{tuple(self.hparams['channels'])} and hidden {self.hparams['hidden']} "
                f"({' '.join(str(error).split())[:200] or type(error).__name__}); train one with "
                "gpu-learning fit -c configs/mnist_cnn_backbone.yaml, or give its widths"
            ) from error

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["backbone"] = {"path": self.backbone_path, "sha256": self.backbone_sha256}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.backbone_sha256 = checkpoint["backbone"]["sha256"]

    def on_fit_start(self) -> None:
        super().on_fit_start()
        # A resumed run has everything in its own checkpoint, which is read after setup.
        if not self.backbone_sha256:
            raise ValueError(
                f"there is no backbone {self.backbone_path}; train one with gpu-learning fit -c "
                "configs/mnist_cnn_backbone.yaml and name its checkpoint with "
                "--model.init_args.backbone"
            )
        # After a resume BackboneFinetuning has restored the optimizer's groups and frozen the
        # backbone again: what the optimizer has learns.
        for group in self.trainer.optimizers[0].param_groups:
            for parameter in group["params"]:
                parameter.requires_grad_(True)

    def configure_callbacks(self) -> list[pl.Callback]:
        if self.unfreeze_after is None:
            return []
        return [BackboneFinetuning(unfreeze_backbone_at_epoch=self.unfreeze_after)]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        learned = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return clippable(torch.optim.Adam(learned, lr=self.lr, fused=True))
