import torch
from torch import nn

from lightning_modules.nets import FastCNN


@torch.no_grad()
def test_it_is_what_its_layers_say() -> None:
    torch.manual_seed(0)
    net = FastCNN().eval()
    assert sum(p.numel() for p in net.parameters()) == 215_194
    # The order of ReLU and pooling does not matter.
    plain = nn.Sequential(
        *(net.conv1, nn.ReLU(), nn.MaxPool2d(2), net.conv2, nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), net.fc1, nn.ReLU(), net.fc2),
    )
    images = torch.randn(5, 1, 28, 28)
    torch.testing.assert_close(net(images), plain(images))
