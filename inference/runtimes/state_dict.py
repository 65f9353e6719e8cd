"""State dicts: a ``.pth`` file, and the plain net that its names and shapes stand for."""

import io
import itertools
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CNN_LAYERS = ("conv1", "conv2", "fc1", "fc2")
_HOW = "write one with torch.save(model.state_dict(), path)"


class PlainCNN(nn.Module):
    """Two 3 x 3 convolutions with ReLU and max pooling, then two linear layers.

    Args:
        channels: output channels of the two convolutions.
        hidden: width of the first linear layer.
        num_classes: number of logits.
    """

    def __init__(self, channels: tuple[int, int], hidden: int, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels[0], kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(channels[0], channels[1], kernel_size=3, padding=1)
        self.fc1 = nn.Linear(channels[1] * 7 * 7, hidden)
        self.fc2 = nn.Linear(hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, num_classes) of images (B, 1, 28, 28)."""
        return self.fc2(F.relu(self.fc1(self.features(x))))

    def features(self, x: Tensor) -> Tensor:
        """What the linear layers take, (B, channels[1] * 7 * 7)."""
        for conv in (self.conv1, self.conv2):
            x = F.max_pool2d(F.relu(conv(x)), 2)
        return x.flatten(1)


class PlainMLP(nn.Sequential):
    """Linear layers ``layer1``, ``layer2`` and so on with ReLU between them; inputs are flattened.

    Args:
        sizes: widths from input to output.
    """

    def __init__(self, sizes: list[int]) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
        for number, (inputs, outputs) in enumerate(itertools.pairwise(sizes), 1):
            layers[f"layer{number}"] = nn.Linear(inputs, outputs)
            if number < len(sizes) - 1:
                layers[f"relu{number}"] = nn.ReLU()
        super().__init__(layers)


def read_state_dict(source: Path | bytes) -> dict[str, Tensor]:
    """The tensors of a ``.pth`` file, or of its content, on the CPU, in the order of the file.

    A checkpoint of any Trainer holds a state dict under ``state_dict``, which is then the one.

    Raises:
        ValueError: the file is missing or damaged, needs code to be read, or holds something else.
    """
    name = "the file" if isinstance(source, bytes) else str(source)
    if isinstance(source, Path) and not source.is_file():
        raise ValueError(f"{source} does not exist, or is not a file")
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a file of another kind makes torch.load raise many kinds
        raise ValueError(
            f"{name} cannot be read as a state dict: it is cut off, damaged or something else, or "
            f"holds objects whose code would run; {_HOW}"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise ValueError(f"{name} holds a {type(content).__name__} and no state dict; {_HOW}")
    for key, value in content.items():
        if isinstance(value, Mapping):
            raise ValueError(
                f"{name} holds {key!r}, which is a dictionary itself; write the state dict alone: "
                f"torch.save(content[{key!r}], path)"
            )
        if not isinstance(value, Tensor) or value.is_quantized or not isinstance(key, str):
            raise ValueError(
                f"{name} holds {key!r}, which is not a float tensor with a name, as a quantized "
                "model does; take the state dict of the float model"
            )
    return dict(content)


def plain_net(weights: Mapping[str, Tensor]) -> nn.Module:
    """A net in eval mode with these weights: :class:`PlainCNN` or :class:`PlainMLP`.

    Raises:
        ValueError: other names, or shapes that do not follow each other.
    """
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in weights))
    linear = [f"layer{number}" for number in range(1, len(layers) + 1)]
    try:
        if set(layers) == set(CNN_LAYERS):
            first, second, hidden, classes = (len(weights[f"{n}.weight"]) for n in CNN_LAYERS)
            net: nn.Module = PlainCNN((first, second), hidden, classes)
        elif set(layers) == set(linear):
            shapes = [weights[f"{name}.weight"].shape for name in linear]
            net = PlainMLP([shapes[0][1], *(shape[0] for shape in shapes)])
        else:
            raise ValueError(f"the layers are {', '.join(layers)}")
        net.load_state_dict(dict(weights))
    except (KeyError, IndexError, RuntimeError, ValueError) as error:
        said = " ".join(str(error).split())[:300]
        raise ValueError(
            "a state dict must have the layers conv1, conv2, fc1 and fc2 for 28 x 28 images, or "
            f"layer1, layer2 and so on, with weights and biases that fit together ({said}); bring "
            "one of other names in with gpu-learning import"
        ) from error
    return net.eval().requires_grad_(False)
