import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules import DigitsDataModule
from lightning_modules.nets import CNN, MomentNormalization


@pytest.fixture(scope="module")
def digits() -> Tensor:
    images, _ = DigitsDataModule()._read(train=False)
    return images.reshape(-1, 1, 28, 28).float() / 255


def leaning(images: Tensor, slant: float, right: float, down: float) -> Tensor:
    """Images sheared, and moved by pixels."""
    maps = torch.tensor([[1, slant, -right / 14], [0, 1, -down / 14]]).expand(len(images), 2, 3)
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def moments(images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Means and central second moments of the mass of images (B, 1, 28, 28), in pixels."""
    places = torch.arange(28.0) - 13.5
    mass = images[:, 0] / images[:, 0].sum(dim=(1, 2), keepdim=True)
    right, down = mass.sum(dim=1) @ places, mass.sum(dim=2) @ places
    wide = mass.sum(dim=1) @ places**2 - right**2
    tall = mass.sum(dim=2) @ places**2 - down**2
    both = torch.einsum("bij,i,j->b", mass, places, places) - right * down
    return right, down, wide, tall, both


def test_a_digit_that_leans_elsewhere_is_put_as_before(digits: Tensor) -> None:
    normalize = MomentNormalization().eval()
    moved = leaning(digits, slant=0.25, right=1.5, down=-1.0)
    upright = normalize(digits)
    assert (normalize(moved) - upright).abs().mean() < 0.25 * (moved - upright).abs().mean()


def test_the_middle_and_the_slant(digits: Tensor) -> None:
    normalize = MomentNormalization(scale=1.0, widen=0.0).eval()
    right, down, _, tall, both = moments(normalize(leaning(digits, -0.3, right=2.0, down=1.0)))
    assert right.abs().max() < 0.1
    assert down.abs().max() < 0.1
    assert (both / tall).abs().max() < math.tan(math.radians(3))


def test_size_and_width(digits: Tensor) -> None:
    # Small digits, so that none is cut off.
    grid = F.affine_grid(
        torch.tensor([[2.0, 0, 0], [0, 2.0, 0]]).expand(len(digits), 2, 3),
        list(digits.shape),
        align_corners=False,
    )
    small = F.grid_sample(digits, grid, align_corners=False)
    _, _, wide, tall, _ = moments(MomentNormalization(scale=1.0, widen=0.0).eval()(small))
    _, _, _, larger, _ = moments(MomentNormalization(scale=1.5, widen=0.0).eval()(small))
    assert (larger / tall).sqrt().median() == pytest.approx(1.5, rel=0.02)
    _, _, half, same, _ = moments(MomentNormalization(scale=1.0, widen=0.5).eval()(small))
    _, _, whole, _, _ = moments(MomentNormalization(scale=1.0, widen=1.0).eval()(small))
    assert (same / tall).sqrt().median() == pytest.approx(1, rel=0.02)
    relative = [(w / tall / 0.55).log() for w in (wide, half, whole)]
    assert relative[2].abs().median() < 0.1  # all as wide as a round digit
    halfway = relative[1] / relative[0]
    assert halfway[relative[0].abs() > 0.5].median() == pytest.approx(0.5, abs=0.1)


def test_normalized_images_are_put_upright_alike(digits: Tensor) -> None:
    normalize = MomentNormalization().eval()
    standardized = normalize((digits - 0.13) / 0.31) * 0.31 + 0.13
    assert (standardized - normalize(digits)).abs().max() < 1e-5


def test_an_empty_image_stays_as_it_is() -> None:
    empty = torch.full((2, 1, 28, 28), -0.4)
    assert torch.equal(MomentNormalization().eval()(empty), empty)


@pytest.mark.parametrize("shape", ["across", "down", "dot"])
def test_a_line_stays_finite(shape: str) -> None:
    image = torch.zeros(1, 1, 28, 28)
    rows = {"across": (14, slice(4, 24)), "down": (slice(4, 24), 14), "dot": (3, 3)}[shape]
    image[0, 0][rows] = 1
    seen = MomentNormalization().eval()(image)
    assert seen.isfinite().all()
    assert seen.max() > 0.4


def test_in_training_every_image_moves_by_about_what_was_asked(digits: Tensor) -> None:
    torch.manual_seed(0)
    still = MomentNormalization(scale=1.0)
    assert torch.equal(still.train()(digits), still.eval()(digits))

    def right(images: Tensor) -> Tensor:
        return torch.eye(2, 3).repeat(len(images), 1, 1) - torch.tensor([[0, 0, 2 / 14], [0] * 3])

    moved = MomentNormalization(scale=1.0, jitter=right).train()(digits)
    assert (moments(moved)[0] - 2).abs().median() < 0.1  # pixels
    larger = MomentNormalization(scale=1.2, jitter=right).train()(digits)
    assert (moments(larger)[0] - 2.4).abs().median() < 0.1  # it is moved before it is enlarged
    warped = MomentNormalization(scale=1.0, warp=1.0).train()
    middles = moments(warped(digits))[0]
    assert 0.1 < middles.std() < 1
    assert not torch.equal(warped(digits), warped(digits))


def test_the_net_behind_it_has_the_same_weights(digits: Tensor) -> None:
    torch.manual_seed(0)
    plain = CNN().eval()
    net = CNN(normalize=MomentNormalization(warp=0.5)).eval()
    with pytest.raises(RuntimeError, match=r"Unexpected key.*normalize\.across"):
        plain.load_state_dict(net.state_dict())
    given = net.load_state_dict(plain.state_dict(), strict=False)
    assert given.missing_keys == ["normalize.across", "normalize.down"]
    assert not given.unexpected_keys
    expected = plain(MomentNormalization().eval()(digits[:5]))
    assert torch.allclose(net(digits[:5]), expected, atol=1e-6)
