import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules import DigitsDataModule
from lightning_modules.nets import CNN
from lightning_modules.nets.deskew import Deskew


@pytest.fixture(scope="module")
def digits() -> Tensor:
    images, _ = DigitsDataModule()._read(train=False)
    return images.reshape(-1, 1, 28, 28).float() / 255


def leaning(images: Tensor, slant: float, right: float, down: float) -> Tensor:
    """Images sheared, and moved by pixels."""
    maps = torch.tensor([[1, slant, -right / 14], [0, 1, -down / 14]]).expand(len(images), 2, 3)
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def test_a_digit_that_leans_elsewhere_is_put_as_before(digits: Tensor) -> None:
    deskew = Deskew()
    moved = leaning(digits, slant=0.25, right=1.5, down=-1.0)
    upright = deskew(digits)
    assert (deskew(moved) - upright).abs().mean() < 0.25 * (moved - upright).abs().mean()


def test_the_middle_and_the_slant(digits: Tensor) -> None:
    places = torch.arange(28.0) - 13.5
    upright = Deskew()(leaning(digits, slant=-0.3, right=2.0, down=1.0))[:, 0]
    mass = upright / upright.sum(dim=(1, 2), keepdim=True)
    assert (mass.sum(dim=1) @ places).abs().max() < 0.1  # pixels
    assert (mass.sum(dim=2) @ places).abs().max() < 0.1
    along = torch.einsum("bij,i,j->b", mass, places, places)
    height = torch.einsum("bij,i,i->b", mass, places, places)
    assert (along / height).abs().max() < math.tan(math.radians(3))


def test_normalised_images_are_put_upright_alike(digits: Tensor) -> None:
    deskew = Deskew()
    normalised = (deskew((digits - 0.13) / 0.31)) * 0.31 + 0.13
    assert (normalised - deskew(digits)).abs().max() < 1e-5


def test_an_empty_image_stays_as_it_is() -> None:
    empty = torch.full((2, 1, 28, 28), -0.4)
    assert torch.equal(Deskew()(empty), empty)


def test_it_has_no_weights_and_can_be_exported(digits: Tensor) -> None:
    torch.manual_seed(0)
    net = CNN(deskew=True).eval()
    plain = CNN()
    assert net.state_dict().keys() == plain.state_dict().keys()
    batch = torch.export.Dim("batch", max=4096)
    program = torch.export.export(net, (digits[:2],), dynamic_shapes=({0: batch},))
    with torch.inference_mode():
        assert torch.allclose(program.module()(digits[:5]), net(digits[:5]), atol=1e-6)
        assert not torch.allclose(plain.eval()(digits[:5]), net(digits[:5]), atol=1e-2)
