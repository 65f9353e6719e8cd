import torch
import torch.nn.functional as F

from lightning_modules.nets import SelfAttention


def test_rows_sum_to_one_and_equal_torch() -> None:
    net = SelfAttention(8)
    x = torch.randn(3, 5, 8)
    weights = net.weights(x)
    assert weights.shape == (3, 5, 5)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(3, 5))
    fast = F.scaled_dot_product_attention(net.query(x), net.key(x), net.value(x))
    assert (net(x) - fast).abs().max() <= 1e-6
