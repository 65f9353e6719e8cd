"""Classifiers of torchvision without their last layer, and their weights."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


class GrayToColor(nn.Module):
    """Repeats one channel three times, for nets that were made for color."""

    def forward(self, x: Tensor) -> Tensor:
        return x.expand(-1, 3, -1, -1)


def is_torchvision(name: str) -> bool:
    """Whether a backbone is one of torchvision's names, and not a file.

    Raises:
        ValueError: it looks like a name, and torchvision has no such classifier.
    """
    if not name.isidentifier() or Path(name).exists():
        return False
    from torchvision import models  # a second to import, and only here needed

    known = models.list_models(module=models)
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else "such as resnet18, or name a checkpoint"
        raise ValueError(f"torchvision has no classifier {name!r} for a backbone; {hint}")
    return True


def build_backbone(name: str, image_shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
    """A net with random weights whose last linear layer is gone, and its number of features.

    Raises:
        ValueError: it has no linear layer at its end, or cannot take images of that shape.
    """
    from torchvision import models

    net = models.get_model(name, weights=None)
    linear = [key for key, layer in net.named_modules() if isinstance(layer, nn.Linear)]
    if not linear or getattr(net, "aux_logits", False):
        raise ValueError(
            f"{name} has no single linear layer at its end that could be replaced; take another "
            "backbone, such as resnet18"
        )
    features = net.get_submodule(linear[-1]).in_features
    assert isinstance(features, int)
    net.set_submodule(linear[-1], nn.Identity())
    height, width = image_shape[1:]
    try:
        with torch.no_grad():
            found = net.eval()(torch.zeros(1, 3, height, width))
        fits = isinstance(found, Tensor) and found.shape == (1, features)
        said = "it returns more than the features of an image"
    except (RuntimeError, AssertionError, ValueError) as error:
        fits, said = False, " ".join(str(error).split())[:200]
    if not fits:
        raise ValueError(
            f"{name} cannot take images of {height} x {width} ({said}); set "
            "--data.init_args.size 224, which all of torchvision's weights were trained with or "
            "near, or take another backbone"
        )
    return net.train(), features


def load_pretrained(net: nn.Module, name: str, weights: str) -> None:
    """Loads the weights of a whole classifier into its layers but the last.

    Args:
        net: made by :func:`build_backbone`.
        name: of the classifier.
        weights: a file of its state dict (``.pth``, ``.safetensors``), or a name of torchvision's
            weights, such as ``DEFAULT``, which are downloaded once and checked.

    Raises:
        ValueError: no such weights, no network, or a file of another net.
    """
    if weights.lower().endswith((".pth", ".pt", ".safetensors")) or Path(weights).is_file():
        state = _read(Path(weights))
    else:
        state = _download(name, weights)
    wanted = net.state_dict()
    missing = [key for key in wanted if key not in state]
    wrong = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    if missing or wrong:
        said = f"it lacks {missing[0]}" if missing else f"{wrong[0]} has another shape"
        raise ValueError(
            f"{weights} does not hold the weights of torchvision's {name} ({said}); name the file "
            "of that net with --model.init_args.weights, or its class with "
            "--model.init_args.backbone"
        )
    net.load_state_dict({key: state[key] for key in wanted})


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ValueError(
            f"there is no file of weights {path}; name one with --model.init_args.weights, or "
            "DEFAULT to download torchvision's"
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {key: value for key, value in dict(state).items() if isinstance(value, Tensor)}
    except Exception as error:  # a file of another kind makes the loaders raise many kinds
        raise ValueError(
            f"{path} cannot be read as a state dict: it is cut off, damaged or something else"
        ) from error


def pretrained_weights(name: str, weights: str) -> Any:
    """torchvision's entry of some weights: its address, and the preprocessing it was trained with.

    Raises:
        ValueError: there are none of that name.
    """
    from torchvision import models

    known = models.get_model_weights(name)
    if weights not in known.__members__:
        there = ", ".join(known.__members__)
        raise ValueError(
            f"torchvision has no weights {weights!r} for {name}; it has {there}. Or name a file, "
            "or none for random weights"
        )
    return known[weights]


def _download(name: str, weights: str) -> dict[str, Tensor]:
    entry = pretrained_weights(name, weights)
    try:
        return entry.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"the weights {weights} of {name} could not be downloaded ({error}); fetch {entry.url} "
            "elsewhere and name the file with --model.init_args.weights, or train from random "
            "weights with --model.init_args.weights none"
        ) from error
