"""Exercise for step 6, a first network: two layers as a class.

An ``nn.Module`` makes its layers in ``__init__``, as attributes, and calls
them in ``forward``. All parameters of layers that are attributes are found by
``parameters()``: that is what an optimizer trains and what ``state_dict()``
saves. A layer ``nn.Linear(3, 8)`` has 3 * 8 weights and 8 biases.

Write the class and the function, then: gpu-learning lessons check 6
"""

from torch import Tensor, nn


class Net(nn.Module):
    """3 inputs, 8 hidden values, 1 output: (N, 3) -> (N, 1).

    The layers are called ``hidden`` and ``output``; there is nothing between
    them yet.
    """

    def __init__(self) -> None:
        super().__init__()
        # BEGIN SOLUTION
        self.hidden = nn.Linear(3, 8)
        self.output = nn.Linear(8, 1)
        # END SOLUTION

    def forward(self, x: Tensor) -> Tensor:
        # BEGIN SOLUTION
        return self.output(self.hidden(x))
        # END SOLUTION


def count_parameters(net: nn.Module) -> int:
    """How many numbers ``net`` learns, in all its parameters together."""
    # BEGIN SOLUTION
    return sum(parameter.numel() for parameter in net.parameters())
    # END SOLUTION


# BEGIN HIDDEN TESTS
import torch  # noqa: E402

from course.exercises.attempt import Attempt  # noqa: E402

HINTS = (
    "self.hidden = nn.Linear(inputs, outputs) makes a layer and names it hidden.",
    "forward calls the layers like functions, one on the result of the other, and returns the "
    "last result.",
    "net.parameters() yields tensors; tensor.numel() is how many numbers one has. Net has 41.",
)
ABOUT = ("Net", "Net", "count_parameters")

MISTAKES = {
    "count_parameters": {
        "that is the number of tensors; add up their sizes, numel()": lambda net: len(
            list(net.parameters())
        ),
        "that is without the biases": lambda net: sum(
            p.numel() for p in net.parameters() if p.ndim > 1
        ),
    },
}


def check(mine: Attempt) -> None:
    ours, theirs = Net(), mine.call("Net")
    mine.take_weights(theirs, ours, "Net()")
    for rows in (1, 4):
        x = torch.randn(rows, 3)
        shown = f"Net()(tensor ({rows}, 3))"
        relu = ours.output(ours.hidden(x).relu())
        mistakes = {"there is a ReLU between the layers, which only step 8 adds": relu}
        mine.equal(mine.call(theirs, x, shown=shown), ours(x), shown, mistakes)
    mine.same("count_parameters", Net())
    mine.same("count_parameters", nn.Sequential(nn.Linear(1, 8), nn.ReLU(), nn.Linear(8, 1)))


# END HIDDEN TESTS
