"""The choice of the next token, apart from any net."""

import pytest
import torch

from inference.sampling import top


@pytest.mark.parametrize("size", [65, 8191, 8192, 50_257])
def test_two_stages_find_the_largest(size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    rows = torch.rand(3, size, generator=generator)
    rows[1] -= torch.arange(size) * 1.0  # all of the largest in one chunk
    rows[2, : size - 64] = float("-inf")  # and all but those forbidden
    values, places = top(rows, 64)
    expected = rows.topk(64)
    assert torch.equal(values, expected.values)
    assert torch.equal(places, expected.indices)
