import pytest
import torch

from lightning_modules.nets import Transformer


@pytest.mark.parametrize(("blocks", "count"), [(1, 776), (2, 1552), (4, 3104), (12, 9312)])
def test_parameters_as_in_the_course(blocks: int, count: int) -> None:
    assert sum(p.numel() for p in Transformer(blocks).parameters()) == count


def test_positions_are_normalised_and_gradients_reach_all() -> None:
    net = Transformer(2)
    out = net(torch.randn(2, 6, 8))
    torch.testing.assert_close(out.mean(dim=-1), torch.zeros(2, 6), atol=1e-5, rtol=0)
    (out * torch.randn_like(out)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_no_block_is_refused() -> None:
    with pytest.raises(ValueError, match="blocks must be at least 1"):
        Transformer(0)
