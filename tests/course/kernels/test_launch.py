"""The guard zones around what a learner's kernel reads and writes."""

import pytest
import torch

from course.kernels.launch import Out, _Guarded


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int32])
@pytest.mark.parametrize("beside", [-1, 5])
def test_whatever_is_written_beside_an_output_is_noticed(dtype: torch.dtype, beside: int) -> None:
    """NaN, too: so ends a kernel that reads its inputs without a bounds check."""
    guarded = _Guarded.around(Out(torch.zeros(5, dtype=dtype)))
    guarded.view.fill_(3)
    assert guarded.intact()
    start = guarded.view.storage_offset()
    guarded.whole[start + beside] = float("nan") if dtype.is_floating_point else 0
    assert not guarded.intact()


def test_an_output_begins_as_nothing_and_an_input_ends_in_nothing() -> None:
    output, given = (_Guarded.around(kind(torch.ones(3))) for kind in (Out, lambda x: x))
    assert output.view.isnan().all()
    start = given.view.storage_offset()
    assert given.whole[start + 3].isnan()
    assert given.view.tolist() == [1, 1, 1]
    assert given.intact()
