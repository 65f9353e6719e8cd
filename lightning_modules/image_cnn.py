"""A classifier for images of any size, shaped by its data."""

import torch

from lightning_modules.classifier import ImageClassifier
from lightning_modules.nets import ConvNet

_WORKING_SIZE = 64  # longest side in pixels, about, that the stages see


class ImageCNN(ImageClassifier):
    """A :class:`~lightning_modules.nets.ConvNet`, trained from scratch.

    Images longer than 64 pixels go through a strided convolution first, so that a CPU trains on
    photographs, too.

    Args:
        num_classes: number of classes, None for as many as the data has.
        image_shape: channels, height and width, None for those of the data.
        widths: channels of the stages, each at half the resolution of the one before.
        lr: learning rate of Adam.
        label_smoothing: share of each training label spread over all classes.
        betas: decay of Adam's two averages.

    Raises:
        ValueError: images smaller than the stages halve them, or data of another shape.
    """

    def __init__(
        self,
        num_classes: int | None = None,
        image_shape: tuple[int, int, int] | None = None,
        widths: tuple[int, ...] = (16, 32, 64),
        lr: float = 2e-3,
        label_smoothing: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        super().__init__(num_classes, lr, label_smoothing, betas, image_shape)
        self.save_hyperparameters()
        self.widths = widths
        if num_classes is not None and image_shape is not None:
            self.build_net(num_classes, image_shape)

    def configure_model(self) -> None:
        self._build_for_data()

    def build_net(self, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        channels, height, width = image_shape
        stride = max(1, round(max(height, width) / _WORKING_SIZE))
        smallest = 2 ** len(self.widths) * stride
        if min(height, width) < smallest:
            raise ValueError(
                f"{len(self.widths)} stages need images of at least {smallest} x {smallest}, and "
                f"these are {height} x {width}; give fewer --model.init_args.widths, or a larger "
                "--data.init_args.size"
            )
        net = ConvNet(channels, self.widths, num_classes, stride)
        self.net = net.to(memory_format=torch.channels_last)
