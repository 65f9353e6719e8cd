"""What a manifest says about the images that a model takes."""

import math
from typing import Any

# How an image becomes what a model takes, see inference/images/framing.py.
DIGITS = ("mnist-digit", "centered-digit")
PREPROCESSINGS = (*DIGITS, "resize-crop")
DIGITS_ONLY = (1, 2)  # schemas of manifests without the field


def preprocessing_of(document: dict[str, Any], shape: tuple[int, ...]) -> str:
    """The preprocessing of a manifest; raises ValueError where it is unknown or cannot be."""
    digits_only = document["schema"] in DIGITS_ONLY
    name = "mnist-digit" if digits_only else document["preprocessing"]
    if name not in PREPROCESSINGS:
        raise ValueError(
            f"its preprocessing {name!r} is unknown here, this version knows "
            f"{' and '.join(PREPROCESSINGS)}"
        )
    if name in DIGITS and (shape[0] != 1 or shape[1] != shape[2]):
        raise ValueError(
            f"{name} is for 1 x side x side pixels, and its input is {list(shape)}"
            + (" (schema 1 and 2 knew digits alone)" if digits_only else "")
        )
    return name


def per_channel(given: Any, channels: int) -> tuple[float, ...]:
    """Mean or standard deviation, one number or one per channel."""
    values = tuple(float(one) for one in (given if isinstance(given, list) else [given]))
    if len(values) not in (1, channels) or not all(map(math.isfinite, values)):
        raise ValueError(f"mean and std must be one number or {channels}, not {given}")
    return values
