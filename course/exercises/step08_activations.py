"""Exercise for step 8, activations: why two layers need one between them.

Two linear layers, one after the other, compute W2 (W1 x + b1) + b2, which is
(W2 W1) x + (W2 b1 + b2): one linear layer. An activation between them is what
makes two layers more than one. Its slope is what the backward pass multiplies
with: that of ReLU is 0 or 1, that of the sigmoid s is s (1 - s).

Write the three functions, then: gpu-learning lessons check 8
"""

import torch
from torch import Tensor, nn


def relu(x: Tensor) -> Tensor:
    """0 where x is negative, x elsewhere; any shape."""
    # BEGIN SOLUTION
    return x.clamp(min=0)
    # END SOLUTION


def sigmoid_slope(x: Tensor) -> Tensor:
    """The derivative of the sigmoid at x; any shape."""
    # BEGIN SOLUTION
    s = torch.sigmoid(x)
    return s * (1 - s)
    # END SOLUTION


def collapse(first: nn.Linear, second: nn.Linear) -> nn.Linear:
    """The one linear layer that computes ``second(first(x))``."""
    # BEGIN SOLUTION
    both = nn.Linear(first.in_features, second.out_features)
    with torch.no_grad():
        both.weight.copy_(second.weight @ first.weight)
        both.bias.copy_(second.weight @ first.bias + second.bias)
    return both
    # END SOLUTION


# BEGIN HIDDEN TESTS
from course.exercises.attempt import Attempt  # noqa: E402

HINTS = (
    "torch.where, clamp(min=0) or a product with (x > 0) make a ReLU.",
    "torch.sigmoid(x) is s, and its slope is s * (1 - s).",
    "nn.Linear holds its weight as (out, in): the weight of both layers is second.weight @ "
    "first.weight, in this order, the bias second.weight @ first.bias + second.bias. Copy both "
    "into a new nn.Linear, under torch.no_grad(): layer.weight.copy_(...).",
)
ABOUT = ("relu", "sigmoid_slope", "collapse")


def _layer(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight.detach(), "bias": bias.detach()})
    return layer


MISTAKES = {
    "relu": {
        "that is the absolute value; negative numbers become 0": torch.abs,
        "that is 0 and 1; where x is positive it stays as it is": lambda x: (x > 0).to(x.dtype),
    },
    "sigmoid_slope": {
        "that is the sigmoid itself; its slope is s * (1 - s)": torch.sigmoid,
        "that is the slope of tanh": lambda x: 1 - torch.tanh(x) ** 2,
        "that is x * (1 - x); put the sigmoid of x into it": lambda x: x * (1 - x),
    },
    "collapse": {
        "the bias of the first layer is lost": lambda first, second: _layer(
            second.weight @ first.weight, second.bias
        ),
        "the bias of the first layer has to go through the second": lambda first, second: (
            _layer(second.weight @ first.weight, first.bias + second.bias)
            if first.bias.shape == second.bias.shape
            else None
        ),
    },
}


def _slope(x: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    return torch.autograd.grad(torch.sigmoid(x).sum(), x)[0]


def check(mine: Attempt) -> None:
    for shape in ((6,), (3, 4)):
        x = 2 * torch.randn(*shape)
        mine.same("relu", x, expected=torch.relu)
        mine.same("sigmoid_slope", x, expected=_slope)
    for inputs, hidden, outputs in ((2, 2, 2), (1, 8, 1), (3, 5, 2)):
        mine.same("collapse", nn.Linear(inputs, hidden), nn.Linear(hidden, outputs))


# END HIDDEN TESTS
