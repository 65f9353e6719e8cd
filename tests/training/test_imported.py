"""Which tensor of a state dict is which of a net."""

import pytest
from torch import Tensor, nn

from lightning_modules.nets import CNN, MLP
from training.imported import match

MLP_NAMES = [f"{layer}.{part}" for layer in (1, 3, 5) for part in ("weight", "bias")]


def renamed(net: nn.Module, names: list[str]) -> dict[str, Tensor]:
    return dict(zip(names, net.state_dict().values(), strict=True))


@pytest.mark.parametrize("prefix", ["", "net.", "module._orig_mod."])
def test_equal_names_decide_whatever_their_order(prefix: str) -> None:
    net = MLP([4, 4, 4, 4])
    weights = {f"{prefix}{name}": t for name, t in reversed(list(net.state_dict().items()))}
    assert match(weights, net) == {name: f"{prefix}{name}" for name in net.state_dict()}


def test_other_names_are_matched_by_shape_and_order() -> None:
    net = MLP([784, 128, 64, 10])
    names = [f"layer{n}.{part}" for n in (1, 2, 3) for part in ("weight", "bias")]
    weights = renamed(net, names)
    assert list(match(weights, net).items()) == list(zip(MLP_NAMES, names, strict=True))
    # The shapes alone are certain here.
    backwards = dict(reversed(list(weights.items())))
    assert match(backwards, net) == match(weights, net)


def test_layers_of_one_shape_need_names_that_count_up() -> None:
    net = MLP([4, 4, 4, 4])
    names = [f"layer{n}.{part}" for n in (9, 10, 11) for part in ("weight", "bias")]
    assert list(match(renamed(net, names), net).values()) == names
    names = [f"{n}.{part}" for n in ("first", "last", "hidden") for part in ("weight", "bias")]
    with pytest.raises(ValueError, match=r"first.weight, last.weight, hidden.weight .*not certain"):
        match(renamed(net, names), net)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (MLP([784, 128, 64, 10]), r"conv1.weight of shape \(8, 1, 3, 3\) and the file no weight"),
        (CNN(num_classes=5), r"fc2.weight of the file is \(5, 64\) and fc2.weight of the net \(10"),
        (nn.Sequential(CNN(), nn.Linear(3, 2)), r"no weight of shape \(2, 3\)"),
    ],
)
def test_other_shapes_are_refused(other: nn.Module, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        match(other.state_dict(), CNN())
