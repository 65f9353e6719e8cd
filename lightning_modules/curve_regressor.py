"""The net that shows what an activation is for."""

from typing import Literal

from lightning_modules.nets import MLP
from lightning_modules.regressor import Regressor


class CurveRegressor(Regressor):
    """1-8-1 MLP, 25 parameters, with an activation or without.

    Without one its two layers are one straight line, whatever their weights.

    Args:
        activation: ``relu``, ``sigmoid``, ``tanh`` or ``none``.
        hidden: width of the hidden layer.
        lr: learning rate of Adam.
    """

    def __init__(
        self,
        activation: Literal["relu", "sigmoid", "tanh", "none"] = "relu",
        hidden: int = 8,
        lr: float = 0.01,
    ) -> None:
        super().__init__(lr)
        self.save_hyperparameters()
        self.net = MLP([1, hidden, 1], activation)
