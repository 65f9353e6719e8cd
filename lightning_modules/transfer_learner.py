"""A trained net put to a new task."""

import hashlib
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import BackboneFinetuning
from lightning.pytorch.trainer.states import TrainerFn
from torch import nn

from lightning_modules.backbones import (
    GrayToColor,
    build_backbone,
    is_torchvision,
    load_pretrained,
    pretrained_weights,
)
from lightning_modules.classifier import ImageClassifier
from lightning_modules.clippable import clippable
from lightning_modules.nets import CNN


class TransferLearner(ImageClassifier):
    """The layers of a trained net up to its last one, frozen, and a new last layer.

    The trained net is one of torchvision's classifiers, or the checkpoint of a :class:`MNISTCNN`:
    with five classes 325 parameters are then trained, 64 x 5 weights and 5 biases. It is read when
    a training starts; afterwards its weights are part of this module's own checkpoints, which name
    it by path and sha256 under ``backbone``. While it is frozen it is in eval mode, so that the
    statistics of its batch norms stay, too.

    Args:
        backbone: checkpoint of an MNISTCNN, or a name that torchvision has, such as ``resnet18``,
            ``mobilenet_v3_small`` or ``vit_b_16``.
        num_classes: classes of the new task, None for as many as the data has.
        unfreeze_after: epochs after which the backbone learns too, at a tenth of the learning rate
            (Lightning's :class:`BackboneFinetuning`); never if None.
        channels: as the backbone was trained with; of an MNISTCNN.
        hidden: as the backbone was trained with; of an MNISTCNN.
        lr: learning rate of Adam.
        weights: of one of torchvision's nets: ``DEFAULT`` or another name for those that are
            downloaded, a file of its state dict, or ``none`` (null in YAML) for random ones, which
            makes sense unfrozen only.
        image_shape: channels, height and width of a torchvision net's images, None for the data's.

    Raises:
        ValueError: the backbone is missing, cannot be downloaded, is another net than the arguments
            say, or was trained on images with a mean and a std that the data of this training does
            not have.
    """

    def __init__(
        self,
        backbone: str = "logs/mnist_cnn_backbone/version_0/checkpoints/best.ckpt",
        num_classes: int | None = 5,
        unfreeze_after: int | None = None,
        channels: tuple[int, int] = (8, 16),
        hidden: int = 64,
        lr: float = 1e-2,
        weights: str | None = "DEFAULT",
        image_shape: tuple[int, int, int] | None = None,
    ) -> None:
        self._torchvision = is_torchvision(backbone)
        shape = image_shape if self._torchvision else (1, 28, 28)
        super().__init__(num_classes, lr, image_shape=shape)
        self.save_hyperparameters()
        self.backbone_path = backbone
        self.backbone_sha256 = ""
        self.unfreeze_after = unfreeze_after
        self.widths = (channels, hidden)
        self.weights = weights or "none"
        if num_classes is not None and shape is not None:
            self.build_net(num_classes, shape)

    def build_net(self, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        self.net = nn.Sequential()
        if self._torchvision:
            if image_shape[0] == 1:
                self.net.add_module("color", GrayToColor())
            net, features = build_backbone(self.backbone_path, image_shape)
        else:
            channels, features = self.widths
            net = CNN(channels, features)
            net.fc2 = nn.Identity()  # type: ignore[assignment]
        net.requires_grad_(False)
        self.net.add_module("backbone", net.to(memory_format=torch.channels_last))
        self.net.add_module("head", nn.Linear(features, num_classes))

    @property
    def backbone(self) -> nn.Module:
        """Under the name that Lightning's BackboneFinetuning looks for."""
        return self.net.get_submodule("backbone")

    def configure_model(self) -> None:
        self._build_for_data()
        path, fitting = Path(self.backbone_path), TrainerFn.FITTING
        if self._trainer is not None and self._trainer.state.fn == fitting and path.is_file():
            self._load_backbone(path)

    def _load_torchvision(self) -> None:
        self.backbone_sha256 = self.weights
        if self.weights.lower() == "none":
            return
        load_pretrained(self.backbone, self.backbone_path, self.weights)
        if Path(self.weights).is_file():
            self.backbone_sha256 = hashlib.sha256(Path(self.weights).read_bytes()).hexdigest()
        elif self.image_shape is not None and self.image_shape[0] == 3:
            entry = pretrained_weights(self.backbone_path, self.weights).transforms()
            self._refuse_other_normalization({"mean": entry.mean, "std": entry.std})

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
                f"{path} is not a checkpoint of an MNISTCNN with channels "
                f"{tuple(self.hparams['channels'])} and hidden {self.hparams['hidden']} "
                f"({' '.join(str(error).split())[:200] or type(error).__name__}); train one with "
                "gpu-learning fit -c configs/mnist_cnn_backbone.yaml, bring a state dict in with "
                "gpu-learning import, or give its widths"
            ) from error
        self._refuse_other_normalization(checkpoint.get("datamodule_hyper_parameters") or {})

    def _refuse_other_normalization(self, trained_on: dict[str, Any]) -> None:
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        wanted = {
            key: trained_on[key] for key in ("mean", "std") if trained_on.get(key) is not None
        }
        given = {key: getattr(data, key, None) for key in wanted}
        if given != wanted:
            options = " ".join(
                f"--data.init_args.{key} {str(value).replace(' ', '')}"
                for key, value in wanted.items()
            )
            raise ValueError(
                f"{self.backbone_path} was trained on images normalized with {wanted}, not "
                f"{given}; give {options}"
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["backbone"] = {"path": self.backbone_path, "sha256": self.backbone_sha256}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.backbone_sha256 = checkpoint["backbone"]["sha256"]

    def on_fit_start(self) -> None:
        super().on_fit_start()
        # A resumed run has everything in its own checkpoint, which is read after the net is built.
        if not self.backbone_sha256 and self._torchvision:
            self._load_torchvision()
        if not self.backbone_sha256:
            raise ValueError(
                f"there is no backbone {self.backbone_path}; train one with gpu-learning fit -c "
                "configs/mnist_cnn_backbone.yaml and name its checkpoint with "
                "--model.init_args.backbone"
            )
        # After a resume BackboneFinetuning has restored the optimizer's groups: what the optimizer
        # has learns.
        for group in self.trainer.optimizers[0].param_groups:
            for parameter in group["params"]:
                parameter.requires_grad_(True)

    def on_train_start(self) -> None:
        self.backbone.train(any(one.requires_grad for one in self.backbone.parameters()))

    def configure_callbacks(self) -> list[pl.Callback]:
        if self.unfreeze_after is None:
            return []
        return [Unfreezing(unfreeze_backbone_at_epoch=self.unfreeze_after)]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        learned = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return clippable(torch.optim.Adam(learned, lr=self.lr, fused=True))


class Unfreezing(BackboneFinetuning):
    """Lightning's, for a backbone that its module has frozen whole, batch norms and all."""

    @property
    def state_key(self) -> str:
        return BackboneFinetuning.__qualname__  # as in checkpoints that were written without it

    def freeze_before_training(self, pl_module: pl.LightningModule) -> None:
        """Nothing: it may not be built yet, and is frozen when it is."""

    def finetune_function(
        self, pl_module: pl.LightningModule, epoch: int, optimizer: torch.optim.Optimizer
    ) -> None:
        super().finetune_function(pl_module, epoch, optimizer)
        if epoch == self.unfreeze_backbone_at_epoch:
            pl_module.backbone.train()
