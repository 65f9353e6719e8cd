"""The course's convolutional digit classifier."""

import torch

from lightning_modules.classifier import ImageClassifier
from lightning_modules.nets import CNN


class MNISTCNN(ImageClassifier):
    """Two convolutions and two linear layers, 52,138 parameters.

    Args:
        channels: output channels of the two convolutions.
        hidden: width of the first linear layer.
        num_classes: number of classes.
        lr: learning rate of Adam.
        label_smoothing: share of each training label spread over all classes.
        betas: decay of Adam's two averages; short memories suit a run of few steps.
    """

    def __init__(
        self,
        channels: tuple[int, int] = (8, 16),
        hidden: int = 64,
        num_classes: int = 10,
        lr: float = 1e-3,
        label_smoothing: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        super().__init__(num_classes, lr, label_smoothing, betas)
        self.save_hyperparameters()
        # Channels last: the layout in which convolutions and pooling are fastest, on CPU and GPU.
        self.net = CNN(channels, hidden, num_classes).to(memory_format=torch.channels_last)
