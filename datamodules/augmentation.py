"""Random changes of training images by the names that ``torchvision.transforms.v2`` has."""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor

Transform = Callable[[Tensor], Tensor]


def build_transforms(wanted: Sequence[str | Mapping[str, Mapping[str, Any]]]) -> list[Transform]:
    """The transforms of a list such as ``["RandomHorizontalFlip", {"RandomCrop": {"size": 32}}]``.

    Raises:
        ValueError: a name that torchvision does not have, or arguments that it refuses.
    """
    built = []
    for one in wanted:
        if isinstance(one, str):
            name, arguments = one, {}
        elif isinstance(one, Mapping) and len(one) == 1:
            ((name, arguments),) = one.items()
        else:
            raise ValueError(
                f"augment takes names and {{name: {{argument: value}}}}, one transform each; got "
                f"{one!r}"
            )
        built.append(_build(name, arguments or {}))
    return built


def _build(name: str, arguments: Mapping[str, Any]) -> Transform:
    from torchvision.transforms import v2  # a second to import, and seldom needed

    kinds = {
        key: kind
        for key, kind in vars(v2).items()
        if isinstance(kind, type) and issubclass(kind, v2.Transform) and kind is not v2.Transform
    }
    if name not in kinds:
        near = get_close_matches(name, kinds, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"torchvision.transforms.v2 has no transform {name!r}{hint}")
    try:
        return kinds[name](**arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"augment: {name} cannot be built with {dict(arguments)}: {error}") from (
            error
        )


def check_transforms(
    transforms: Sequence[Transform], wanted: Sequence[Any], shape: Sequence[int]
) -> None:
    """Runs each transform on one black uint8 image, and leaves torch's generator as it was.

    Raises:
        ValueError: one fails, or changes the shape or the type.
    """
    for transform, one in zip(transforms, wanted, strict=True):
        image = torch.zeros(tuple(shape), dtype=torch.uint8)
        with torch.random.fork_rng(devices=[]):
            try:
                changed = transform(image)
            except Exception as error:  # torchvision raises many kinds
                raise ValueError(
                    f"augment: {one} cannot be applied to a uint8 image of shape {tuple(shape)}: "
                    f"{error}"
                ) from error
        if (
            not isinstance(changed, Tensor)
            or changed.shape != image.shape
            or changed.dtype != image.dtype
        ):
            raise ValueError(
                f"augment: {one} makes {_said(changed)} of a uint8 image of shape {tuple(shape)}; "
                "it must keep both (RandomCrop and RandomResizedCrop take the size "
                f"{list(shape[1:])}; normalization is done by mean and std)"
            )


def _said(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a {str(value.dtype).removeprefix('torch.')} image of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"


def augmented(images: Tensor, transforms: Sequence[Transform]) -> Tensor:
    """Each image of a batch (B, C, H, W) through all transforms, with random numbers of its own.

    A transform that is given a whole batch draws once and treats all images alike.
    """
    changed = []
    for image in images:
        for transform in transforms:
            image = transform(image)
        changed.append(image)
    return torch.stack(changed)
