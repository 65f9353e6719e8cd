"""Exercise for step 15, transfer learning: old layers frozen, a new one on top.

A parameter with ``requires_grad = False`` gets no gradient: it is frozen. A
new layer is not: its parameters are made with ``requires_grad = True``. The
course's CNN ends with the layer ``fc2``, of 64 inputs and 10 outputs; for five
new classes a layer of 64 * 5 + 5 = 325 parameters replaces it.

Write both functions, then: gpu-learning lessons check 15
"""

from typing import Any

from torch import nn


def transfer(net: Any, classes: int) -> Any:
    """Freezes all of ``net``, replaces its layer ``fc2`` by a new one with
    ``classes`` outputs.

    Returns ``net`` itself; the new layer is trained.
    """
    # BEGIN SOLUTION
    net.requires_grad_(False)
    net.fc2 = nn.Linear(net.fc2.in_features, classes)
    return net
    # END SOLUTION


def trained_parameters(net: nn.Module) -> list[nn.Parameter]:
    """The parameters that are not frozen, in their order."""
    # BEGIN SOLUTION
    return [p for p in net.parameters() if p.requires_grad]
    # END SOLUTION


# BEGIN HIDDEN TESTS
import torch  # noqa: E402

from course.exercises.attempt import Attempt  # noqa: E402
from course.exercises.compare import Wrong  # noqa: E402
from lightning_modules.nets import CNN  # noqa: E402

HINTS = (
    "net.requires_grad_(False) freezes all parameters at once, or set parameter.requires_grad = "
    "False in a loop over net.parameters().",
    "Freeze first, then set net.fc2 = nn.Linear(net.fc2.in_features, classes): a new layer is not "
    "frozen, and in_features is the width that the old one takes in.",
    "A list of the p in net.parameters() for which p.requires_grad is true.",
)
ABOUT = ("transfer", "transfer", "trained_parameters")


def check(mine: Attempt) -> None:
    for hidden, classes in ((64, 5), (32, 3)):
        net = CNN(hidden=hidden)
        before = {name: value.clone() for name, value in net.state_dict().items()}
        got = mine.call("transfer", net, classes)
        what = f"the net of transfer(CNN, {classes})"
        mine.equal(got, net, what)
        if got is not net:
            raise Wrong(f"{what} is another one; change the net that was given and return it")
        want = transfer(CNN(hidden=hidden), classes)
        for name, value in before.items():
            if not name.startswith("fc2"):
                mine.equal(got.state_dict().get(name), value, f"{name} of {what}")
        want.load_state_dict(
            {**before, **{f"fc2.{k}": v for k, v in want.fc2.state_dict().items()}}
        )
        mine.take_weights(got, want, what)
        mine.equal(
            mine.call("trained_parameters", want),
            list(want.fc2.parameters()),
            f"trained_parameters({what})",
            {"these are all parameters; leave out the frozen ones": list(want.parameters())},
        )
        images = torch.randn(2, 1, 28, 28)
        mine.equal(mine.call(got, images, shown=what), want(images), f"the logits of {what}")


# END HIDDEN TESTS
