import torch
from torch import nn

from lightning_modules.nets import CNN


def test_training_pools_first_and_computes_the_same() -> None:
    """Bit for bit, forward and back; the background's many equal values included."""
    torch.manual_seed(0)
    net = CNN().to(memory_format=torch.channels_last)
    images = torch.randn(8, 1, 28, 28).relu()
    results = []
    for training in (True, False):
        net.train(training).zero_grad()
        logits = net(images)
        logits.logsumexp(dim=1).sum().backward()
        results.append([logits, *(p.grad for p in net.parameters() if p.grad is not None)])
    assert len(results[0]) == 9
    for left, right in zip(*results, strict=True):
        assert torch.equal(left, right)


@torch.no_grad()
def test_it_is_what_its_layers_say() -> None:
    torch.manual_seed(0)
    net = CNN().eval()
    plain = nn.Sequential(
        *(net.conv1, nn.ReLU(), nn.MaxPool2d(2), net.conv2, nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), net.fc1, nn.ReLU(), net.fc2),
    )
    images = torch.randn(5, 1, 28, 28)
    torch.testing.assert_close(net(images), plain(images))
