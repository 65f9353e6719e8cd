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
        (DropoutStudyDataModule("noisy", samples=30), 30, 1000),
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
    assert line[0].flatten().tolist() == [1, 2, 3, 4, 5]
    assert line[1].flatten().tolist() == [3, 5, 7, 9, 11]
    points, labels = GaussiansDataModule(samples=1000).make()["train"]
    assert points[labels == 0].mean(dim=0) == pytest.approx([2, 2], abs=0.1)
    assert points[labels == 1].mean(dim=0) == pytest.approx([6, 6], abs=0.1)


def test_the_clouds_are_the_courses() -> None:
    torch.manual_seed(42)
    expected = torch.cat([torch.randn(50, 2) + 2, torch.randn(50, 2) + 6])
    points, labels = GaussiansDataModule().make()["train"]
    assert torch.equal(points, expected)
    assert labels.tolist() == [0.0] * 50 + [1.0] * 50


def test_the_centers_are_arguments() -> None:
    data = GaussiansDataModule(center0=(-3, 4), center1=(0, -1), std=0.0).make()
    points, labels = data["train"]
    assert points[labels == 0].unique(dim=0).tolist() == [[-3, 4]]
    assert points[labels == 1].unique(dim=0).tolist() == [[0, -1]]
    assert data["test"][0][:2].tolist() == [[-3, 4], [0, -1]]


def test_noise_is_in_the_training_labels_alone() -> None:
    noisy = DropoutStudyDataModule("noisy", seed=3).make()
    rule = DropoutStudyDataModule("rule", seed=3).make()
    assert torch.equal(noisy["train"][0], rule["train"][0])
    assert 20 <= (noisy["train"][1] != rule["train"][1]).sum() <= 60
    assert torch.equal(noisy["test"][1], rule["test"][1])


def test_words_have_the_courses_numbers() -> None:
    data = WordPairsDataModule()
    assert data.encode("the cat sat on the mat").tolist() == [2, 3, 5, 6, 2, 7]
    assert data.encode("the fox ran", length=5).tolist() == [2, 1, 8, 0, 0]
    pairs, related = data.make()["train"]
    assert pairs.tolist() == [[3, 4], [3, 7], [4, 9], [5, 8], [2, 6], [3, 8]]
    assert related.tolist() == [1, 0, 0, 1, 1, 0]


def test_pairs_of_ones_own() -> None:
    data = WordPairsDataModule([("tea", "coffee", 1), ("tea", "cup", 0)])
    assert data.words == ("<pad>", "<unk>", "tea", "coffee", "cup")
    assert data.make()["train"][0].tolist() == [[2, 3], [2, 4]]


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
        (lambda: DropoutStudyDataModule(samples=-1), "samples must be 0"),
        (lambda: WordPairsDataModule([]), "pairs must be a list of"),
        (lambda: WordPairsDataModule([("a", "b", 2)]), "with a label of 0 or 1"),
        (lambda: DropoutStudyDataModule("hard"), "task must be one of random, rule, noisy"),
    ],
)
def test_bad_arguments(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
