"""The course's first digit classifier: linear layers only."""

from lightning_modules.classifier import ImageClassifier
from lightning_modules.nets import MLP


class MNISTMLP(ImageClassifier):
    """784-128-64-10 MLP, 109,386 parameters.

    Args:
        hidden: widths of the hidden layers.
        num_classes: number of classes.
        lr: learning rate of Adam.
    """

    def __init__(
        self, hidden: tuple[int, ...] = (128, 64), num_classes: int = 10, lr: float = 1e-3
    ) -> None:
        super().__init__(num_classes, lr)
        self.save_hyperparameters()
        self.net = MLP([28 * 28, *hidden, num_classes])
