import pytest
import torch

from lightning_modules.nets import MLP


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("relu", [0.0, 0.0, 0.0, 1.0, 2.0]),
        ("sigmoid", [0.1192, 0.2689, 0.5, 0.7311, 0.8808]),
        ("tanh", [-0.9640, -0.7616, 0.0, 0.7616, 0.9640]),
        ("none", [-2.0, -1.0, 0.0, 1.0, 2.0]),
    ],
)
def test_activation_stands_between_the_layers(activation: str, expected: list[float]) -> None:
    net = MLP([1, 1, 1], activation)
    for parameter in net.parameters():
        torch.nn.init.constant_(parameter, float(parameter.ndim == 2))
    out = net(torch.tensor([[-2.0], [-1.0], [0.0], [1.0], [2.0]]))
    torch.testing.assert_close(out.flatten(), torch.tensor(expected), atol=1e-4, rtol=0)


def test_dropout_only_in_training() -> None:
    net = MLP([4, 64, 1], dropout=0.5)
    x = torch.randn(2, 4)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="one of relu, sigmoid, tanh, none, got 'rellu'"):
        MLP([1, 1], "rellu")
    with pytest.raises(ValueError, match="the width of a layer must be at least 1, got -4"):
        MLP([4, 128, -4, 2])
    with pytest.raises(ValueError, match="dropout must be at least 0 and below 1"):
        MLP([1, 1], dropout=1.0)
