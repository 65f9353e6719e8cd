"""A trained module's outputs outside of a Trainer, wherever the Trainer left module and data."""

import torch
from torch import Tensor, nn


@torch.no_grad()
def evaluate(module: nn.Module, inputs: Tensor) -> Tensor:
    """Computes ``module(inputs)`` in eval mode on the module's device.

    After ``Trainer.fit`` the module may lie on another device than a data module's tensors:
    Lightning moves it back to the CPU, while resident data stays on the GPU.

    Args:
        module: a net or a LightningModule with parameters; its training mode is restored.
        inputs: a batch (B, ...), on any device.

    Returns:
        The outputs, on the CPU.
    """
    training = module.training
    device = next(module.parameters()).device
    try:
        return module.eval()(inputs.to(device)).cpu()
    finally:
        module.train(training)
