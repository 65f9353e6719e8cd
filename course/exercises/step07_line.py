"""Exercise for step 7, a line through five points: the training step.

A training step has five parts: the forward pass, the loss, the old gradients
set to zero, the backward pass, and the step of the optimizer. ``backward()``
adds to the gradients that are there: without setting them to zero, every step
would also follow all the steps before it.

Write both functions, then: gpu-learning lessons check 7
"""

import torch
from torch import Tensor, nn


def mse(prediction: Tensor, target: Tensor) -> Tensor:
    """The mean squared error: (N, 1) and (N, 1) -> ()."""
    # BEGIN SOLUTION
    return (prediction - target).square().mean()
    # END SOLUTION


def train_step(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
) -> float:
    """One training step with ``mse``.

    Returns:
        The loss before the step, as a Python float.
    """
    # BEGIN SOLUTION
    loss = mse(net(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()
    # END SOLUTION


# BEGIN HIDDEN TESTS
import copy  # noqa: E402

from course.exercises.attempt import Attempt  # noqa: E402

# The first optimizer imports more of torch, for which the learner's time is not meant.
torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)

HINTS = (
    "(prediction - target).square() has one number per sample; its .mean() is one number.",
    "The order: prediction = net(x), the loss, optimizer.zero_grad(), loss.backward(), "
    "optimizer.step(). zero_grad may stand anywhere before backward; step must come after it.",
    "loss.item() makes a Python float of the loss.",
)
ABOUT = ("mse", "train_step", "train_step")

MISTAKES = {
    "mse": {
        "that is the sum; take the mean": lambda p, t: (p - t).square().sum(),
        "that is the mean absolute error; square the differences": lambda p, t: (
            (p - t).abs().mean()
        ),
        "that is the root of it; leave the mean as it is": lambda p, t: (
            (p - t).square().mean().sqrt()
        ),
    },
}


def check(mine: Attempt) -> None:
    for rows in (5, 3):
        prediction = torch.randn(rows, 1, requires_grad=True)
        mine.same("mse", prediction, torch.randn(rows, 1))
    x = torch.arange(1.0, 6).unsqueeze(1)
    y = 2 * x + 1
    ours = nn.Sequential(nn.Linear(1, 8), nn.Linear(8, 1))
    theirs = copy.deepcopy(ours)
    adding = copy.deepcopy(ours)
    optimizers = [torch.optim.SGD(net.parameters(), lr=0.01) for net in (ours, theirs, adding)]
    for number in ("first", "second", "third"):
        before = copy.deepcopy(ours)
        want = train_step(ours, optimizers[0], x, y)
        nn.functional.mse_loss(adding(x), y).backward()
        optimizers[2].step()
        got = mine.call("train_step", theirs, optimizers[1], x, y, shown="train_step")
        after = nn.functional.mse_loss(ours(x), y).item()
        mistakes = {"that is the loss after the step; return the one before it": after}
        mine.equal(got, want, f"the {number} loss of train_step", mistakes)
        gone = all(parameter.grad is None for parameter in theirs.parameters())
        why = "backward has to come after zero_grad" if gone else "step has to come after backward"
        mistakes = {
            f"the net is as before: {why}": before,
            "the gradients of earlier steps are added; call zero_grad before backward": adding,
        }
        mine.equal(theirs, ours, f"the net after the {number} step", mistakes)


# END HIDDEN TESTS
