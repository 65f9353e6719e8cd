"""The LightningModule: builds the net from plain arguments; loss and metrics are inherited."""

from lightning_modules import ImageClassifier
from my_project.net import Net


class Classifier(ImageClassifier):
    """Trains a :class:`Net` with cross-entropy and Adam.

    Args:
        width: output channels of the first convolution.
        num_classes: number of classes.
        lr: learning rate of Adam.
    """

    def __init__(self, width: int = 16, num_classes: int = 10, lr: float = 3e-3) -> None:
        super().__init__(num_classes, lr)
        self.save_hyperparameters()
        self.net = Net(width, num_classes)
