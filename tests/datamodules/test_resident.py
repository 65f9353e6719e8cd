import pytest
import torch

from datamodules import ResidentLoader


def rows(loader: ResidentLoader) -> list[int]:
    return [int(row) for batch in loader for row in batch[0]]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("n", [4, 7, 64, 65, 66, 97, 128, 129])
def test_every_row_once_in_equal_numbers_of_steps(n: int, world_size: int, shuffle: bool) -> None:
    loaders = [
        ResidentLoader([torch.arange(n)], 16, shuffle, 1, rank, world_size)
        for rank in range(world_size)
    ]
    seen = [list(loader) for loader in loaders]
    assert sorted(int(r) for batches in seen for (b,) in batches for r in b) == list(range(n))
    assert {len(batches) for batches in seen} == {len(loaders[0])}
    sizes = [len(b) for batches in seen for (b,) in batches]
    assert min(sizes) >= 1
    assert max(sizes) <= 16 + (world_size > 1)


def test_tensors_stay_aligned() -> None:
    values = torch.arange(50)
    for left, right in ResidentLoader([values, values * 2], 8, shuffle=True):
        assert torch.equal(left * 2, right)


def test_epochs_differ_and_the_seed_decides() -> None:
    loader = ResidentLoader([torch.arange(100)], 10, shuffle=True, seed=3)
    first, second = rows(loader), rows(loader)
    assert first != second
    again = ResidentLoader([torch.arange(100)], 10, shuffle=True, seed=3)
    assert [rows(again), rows(again)] == [first, second]
    assert rows(ResidentLoader([torch.arange(100)], 10, shuffle=True, seed=4)) != first


def test_a_trial_iter_spends_nothing() -> None:
    loader = ResidentLoader([torch.arange(20)], 5, shuffle=True)
    iter(loader)
    assert rows(loader) == rows(ResidentLoader([torch.arange(20)], 5, shuffle=True))


@pytest.mark.parametrize("taken", [1, 3, 4])
def test_resumes_at_any_batch(taken: int) -> None:
    whole = ResidentLoader([torch.arange(20)], 5, shuffle=True)
    expected = rows(whole) + rows(whole)
    stopped = ResidentLoader([torch.arange(20)], 5, shuffle=True)
    batches = iter(stopped)
    got = [int(r) for _ in range(taken) for r in next(batches)[0]]
    resumed = ResidentLoader([torch.arange(20)], 5, shuffle=True)
    resumed.load_state_dict(stopped.state_dict())
    while len(got) < len(expected):
        got += rows(resumed)
    assert got == expected


def test_refuses_another_seeds_state() -> None:
    state = ResidentLoader([torch.arange(4)], 2, seed=1).state_dict()
    with pytest.raises(ValueError, match=r"--data\.init_args\.seed 1"):
        ResidentLoader([torch.arange(4)], 2, seed=2).load_state_dict(state)


def test_a_broken_off_epoch_is_not_continued() -> None:
    loader = ResidentLoader([torch.arange(20)], 5, shuffle=True)
    next(iter(loader))
    assert sorted(rows(loader)) == list(range(20))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tensors": [torch.zeros(3), torch.zeros(4)], "batch_size": 1}, "one length"),
        ({"tensors": [torch.zeros(3)], "batch_size": 0}, "batch_size"),
        ({"tensors": [torch.zeros(3)], "batch_size": 1, "world_size": 4}, "fewer devices"),
        ({"tensors": [torch.zeros(0)], "batch_size": 1}, "fewer devices"),
    ],
)
def test_bad_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResidentLoader(**arguments)
