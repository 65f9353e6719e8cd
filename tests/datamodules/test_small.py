import pytest
import torch

from datamodules import (
    CurveDataModule,
    DropoutStudyDataModule,
    GaussiansDataModule,
    LineDataModule,
    SmallDataModule,
    WordPairsDataModule,
)


@pytest.mark.parametrize(
    ("data", "train", "test"),
    [
        (LineDataModule(), 5, 3),
        (CurveDataModule("sine"), 65, 64),
        (GaussiansDataModule(), 100, 4),
        (DropoutStudyDataModule("random"), 20, 1000),
        (DropoutStudyDataModule("noisy"), 200, 1000),
        (WordPairsDataModule(), 6, 6),
    ],
)
def test_an_epoch_is_one_batch_of_all(data: SmallDataModule, train: int, test: int) -> None:
    data.setup("fit")
    (batch,) = data.train_dataloader()
    assert [len(tensor) for tensor in batch] == [train, train]
    (asked,) = data.predict_dataloader()
    assert len(asked[0]) == test


def test_values() -> None:
    line = LineDataModule().make()["train"]
    assert torch.equal(line[1], 2 * line[0] + 1)
    points, labels = GaussiansDataModule(samples=1000).make()["train"]
    assert points[labels == 1].mean(dim=0) == pytest.approx([2, 2], abs=0.1)
    assert points[labels == 0].mean(dim=0) == pytest.approx([-2, -2], abs=0.1)


def test_noise_is_in_the_training_labels_alone() -> None:
    noisy = DropoutStudyDataModule("noisy", seed=3).make()
    rule = DropoutStudyDataModule("rule", seed=3).make()
    assert torch.equal(noisy["train"][0], rule["train"][0])
    assert 20 <= (noisy["train"][1] != rule["train"][1]).sum() <= 60
    assert torch.equal(noisy["test"][1], rule["test"][1])


def test_batches_of_a_size_are_shuffled_by_the_seed() -> None:
    class Batched(LineDataModule):
        def __init__(self) -> None:
            super().__init__()
            self.batch_size = 2

    data = Batched()
    data.setup("fit")
    loader = data.train_dataloader()
    assert [len(batch[0]) for batch in loader] == [2, 2, 1]
    assert not torch.equal(torch.cat([batch[0] for batch in loader]), data.splits["train"][0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CurveDataModule("cosine"), "curve must be one of abs, sine, got 'cosine'"),
        (lambda: CurveDataModule(points=1), "points must be at least 2"),
        (lambda: GaussiansDataModule(samples=7), "samples must be an even number"),
        (lambda: DropoutStudyDataModule("hard"), "task must be one of random, rule, noisy"),
    ],
)
def test_bad_arguments(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
