"""A ``.pth`` of plain names: weights that take pixels in [0, 1], as ``ToTensor`` yields them."""

import copy
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from inference.runtimes.state_dict import CNN_LAYERS, PlainCNN, plain_net

CALIBRATION = 20_000  # training images that the border's correction is fitted to, at most
# Of the mean square of the features. It keeps the fit of few images close to the old weights.
_RIDGE = 1e-4


def write_pth(net: nn.Module, example: Tensor, path: Path, device: str) -> None:
    """The state dict of a net made by :func:`pixel_net`."""
    content = io.BytesIO()  # a full disk is then an error of the write alone
    torch.save(net.state_dict(), content)
    path.write_bytes(content.getvalue())


def pixel_net(
    net: nn.Module,
    mean: float | None,
    std: float | None,
    training_inputs: Callable[[int], np.ndarray] | None,
) -> nn.Module:
    """The net as a :class:`~inference.runtimes.state_dict.PlainCNN` or ``PlainMLP`` for pixels.

    The first layer takes the normalization over: its weights are divided by ``std``, and its bias
    takes up what the mean contributes. That is exact for an MLP, and for a CNN where ``mean`` is 0.
    A convolution pads with zeros, which stand for black in pixels and for ``mean`` in normalized
    images, so that its outermost outputs differ otherwise, and no weights of a convolution can make
    up for that. What fc1 computes from them is then corrected by least squares.

    Args:
        net: two convolutions and two linear layers, or linear layers alone, as ``CNN`` and ``MLP``.
        mean: of the normalization; None where the inputs are no images.
        std: likewise.
        training_inputs: returns at most so many normalized training inputs; for a CNN with a mean.

    Raises:
        ValueError: a net of another kind.
    """
    plain = _plain(net)
    if mean is None or std is None:
        return plain
    folded = copy.deepcopy(plain)
    first = next(m for m in folded.modules() if isinstance(m, nn.Conv2d | nn.Linear))
    weight = first.weight.double()
    assert first.bias is not None
    shift = weight.flatten(1).sum(1) * (mean / std)
    first.weight.copy_(weight / std)
    first.bias.copy_(first.bias.double() - shift)
    if isinstance(plain, PlainCNN) and isinstance(folded, PlainCNN) and mean:
        if training_inputs is None:
            raise ValueError("pth of a CNN needs training inputs to correct the images' border")
        _correct_border(plain, folded, training_inputs(CALIBRATION), mean, std)
    return folded


def _plain(net: nn.Module) -> nn.Module:
    layers = [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    linear = all(isinstance(layer, nn.Linear) for layer in layers)
    names = [f"layer{number}" for number in range(1, len(layers) + 1)] if linear else CNN_LAYERS
    try:
        weights = {
            f"{name}.{part}": tensor.contiguous()
            for name, layer in zip(names, layers, strict=True)
            for part, tensor in layer.state_dict().items()
        }
        if len(weights) != len(net.state_dict()):
            raise ValueError(f"{len(net.state_dict())} tensors")
        return plain_net(weights)
    except ValueError as error:
        raise ValueError(
            f"pth is for the course's CNN and MLP, and {type(net).__name__} has other layers; "
            "leave pth out, or take safetensors for its weights"
        ) from error


@torch.no_grad()
def _correct_border(
    plain: PlainCNN, folded: PlainCNN, inputs: np.ndarray, mean: float, std: float
) -> None:
    """Changes ``folded.fc1`` as little as makes its outputs those of ``plain.fc1``."""
    normalized = torch.from_numpy(inputs)
    parts = normalized.split(500)
    given = torch.cat([folded.features(part * std + mean) for part in parts]).double()
    wanted = torch.cat([plain.features(part) for part in parts]).double()
    error = (wanted - given) @ plain.fc1.weight.double().T  # (N, hidden)
    middle, offset = given.mean(0), error.mean(0)
    given -= middle
    square = given.T @ given / len(given)
    square += _RIDGE * square.diagonal().mean() * torch.eye(len(square), dtype=torch.double)
    change = torch.linalg.solve(square, given.T @ (error - offset) / len(given))  # (inputs, hidden)
    folded.fc1.weight.add_(change.T)
    folded.fc1.bias.add_(offset - middle @ change)
