"""Exercise for step 16, smaller files: four bytes of a weight in one.

int8 holds the whole numbers from -128 to 127. To keep a tensor in them, its
range is divided into 255 steps of size ``scale``, and ``zero_point`` is the
number that stands for 0.0, so that zeros stay exact: q = round(x / scale) +
zero_point, and back x = (q - zero_point) * scale. The range is from
min(x.min(), 0) to max(x.max(), 0), so that it contains 0, and zero_point =
-128 - low / scale, rounded, so that the lowest value becomes -128.

Write both functions, then: gpu-learning lessons check 16
"""

import torch
from torch import Tensor


def quantize(x: Tensor) -> tuple[Tensor, float, int]:
    """int8 numbers (of the shape of x), scale and zero point."""
    # BEGIN SOLUTION
    low, high = min(x.min().item(), 0.0), max(x.max().item(), 0.0)
    scale = (high - low) / 255
    zero_point = round(-128 - low / scale)
    q = (torch.round(x / scale) + zero_point).clamp(-128, 127)
    return q.to(torch.int8), scale, zero_point
    # END SOLUTION


def dequantize(q: Tensor, scale: float, zero_point: int) -> Tensor:
    """The float32 numbers that int8 numbers stand for."""
    # BEGIN SOLUTION
    return (q.float() - zero_point) * scale
    # END SOLUTION


# BEGIN HIDDEN TESTS
from course.exercises.attempt import Attempt  # noqa: E402

HINTS = (
    "low = min(x.min().item(), 0.0), high likewise; scale = (high - low) / 255.",
    "torch.round rounds; .to(torch.int8) alone cuts off what is behind the point, and a number "
    "above 127 comes out negative: clamp(-128, 127) before it.",
    "Going back, make float of q before you subtract: int8 - int8 overflows.",
)
ABOUT = ("quantize", "quantize", "dequantize")


def _with(x: Tensor, round_it: bool = True, steps: int = 255, whole: bool = True) -> tuple:
    low, high = x.min().item(), x.max().item()
    if whole:
        low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / steps
    zero_point = round(-128 - low / scale)
    q = x / scale + zero_point
    q = torch.round(x / scale) + zero_point if round_it else q
    return q.clamp(-128, 127).to(torch.int8), scale, zero_point


def _symmetric(x: Tensor) -> tuple:
    scale = x.abs().max() / 127
    return (x / scale).round().to(torch.int8), scale, 0


_PAGES_RULE = (
    "that is the page's rule, from -max to max and without a zero point; here the range is from "
    "min(x.min(), 0) to max(x.max(), 0)"
)

MISTAKES = {
    "quantize": {
        _PAGES_RULE: lambda x: (_symmetric(x)[0], _symmetric(x)[1].item(), 0),
        f"{_PAGES_RULE}, and the scale is a number": _symmetric,
        "the numbers are cut off and not rounded; use torch.round": lambda x: _with(
            x, round_it=False
        ),
        "there are 255 steps between 256 numbers": lambda x: _with(x, steps=256),
        "the range has to contain 0": lambda x: _with(x, whole=False),
    },
    "dequantize": {
        "the zero point is not subtracted": lambda q, scale, zero_point: q.float() * scale,
        "the zero point is added; subtract it": lambda q, scale, zero_point: (
            (q.float() + zero_point) * scale
        ),
        "int8 overflowed; make float of q before you subtract": lambda q, scale, zero_point: (
            (q - zero_point) * scale
        ),
        "the zero point is subtracted after the scale; subtract it before": (
            lambda q, scale, zero_point: q.float() * scale - zero_point
        ),
    },
}


def check(mine: Attempt) -> None:
    for shape, shift in (((4, 5), 0.0), ((16,), 3.0), ((3, 7), -2.0)):
        x = torch.randn(shape) + shift
        mine.same("quantize", x)
        mine.same("dequantize", *quantize(x))


# END HIDDEN TESTS
