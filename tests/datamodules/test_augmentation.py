"""Transforms by name: what is built, what is refused, and that each image draws its own."""

import pytest
import torch

from datamodules.augmentation import augmented, build_transforms, check_transforms


def test_each_image_of_a_batch_draws_its_own_numbers() -> None:
    images = torch.arange(4, dtype=torch.uint8).view(1, 1, 2, 2).repeat(64, 1, 1, 1)
    changed = augmented(images, build_transforms(["RandomHorizontalFlip"]))
    flips = (changed != images).flatten(1).any(1)
    assert 10 < int(flips.sum()) < 54
    assert torch.equal(changed[flips], images[flips].flip(3))


def test_a_check_leaves_the_generator_alone() -> None:
    wanted = [{"RandomCrop": {"size": 8, "padding": 2}}, "TrivialAugmentWide"]
    state = torch.get_rng_state()
    check_transforms(build_transforms(wanted), wanted, (3, 8, 8))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (["RandomHorisontalFlip"], "no transform 'RandomHorisontalFlip'; did you mean RandomHor"),
        (["functional"], "no transform"),
        ([{"RandomCrop": {"sise": 8}}], "RandomCrop cannot be built with {'sise': 8}"),
        ([{"A": {}, "B": {}}], "one transform each"),
        ([3], "one transform each"),
    ],
)
def test_what_is_not_a_transform(wanted: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_transforms(wanted)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"ToDtype": {"dtype": torch.float32}}, "makes a float32 image"),
        ({"Resize": {"size": 4}}, r"makes a uint8 image of shape \(3, 4, 4\)"),
        ({"Normalize": {"mean": [0.5], "std": [0.5]}}, "cannot be applied to a uint8 image"),
    ],
)
def test_what_changes_shape_or_type(wanted: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_transforms(build_transforms([wanted]), [wanted], (3, 8, 8))
