import pytest
import torch
from torch import nn

from lightning_modules.nets import Transformer, TransformerBlock


@pytest.mark.parametrize(("blocks", "count"), [(1, 776), (2, 1552), (4, 3104), (12, 9312)])
def test_parameters_as_in_the_course(blocks: int, count: int) -> None:
    assert sum(p.numel() for p in Transformer(blocks).parameters()) == count


def test_positions_are_normalized_and_gradients_reach_all() -> None:
    net = Transformer(2)
    out = net(torch.randn(2, 6, 8))
    torch.testing.assert_close(out.mean(dim=-1), torch.zeros(2, 6), atol=1e-5, rtol=0)
    (out * torch.randn_like(out)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


@torch.no_grad()
def test_a_block_is_torchs_own_layer() -> None:
    """torch's has a projection behind attention and biases in it: here they change nothing."""
    torch.manual_seed(0)
    ours, theirs = TransformerBlock(8, 32), nn.TransformerEncoderLayer(8, 1, 32, batch_first=True)
    attention = ours.attention
    qkv = [layer.weight for layer in (attention.query, attention.key, attention.value)]
    theirs.self_attn.in_proj_weight.copy_(torch.cat(qkv))
    theirs.self_attn.in_proj_bias.zero_()
    theirs.self_attn.out_proj.weight.copy_(torch.eye(8))
    theirs.self_attn.out_proj.bias.zero_()
    for norm, other in ((ours.norm1, theirs.norm1), (ours.norm2, theirs.norm2)):
        norm.weight.normal_(), norm.bias.normal_()  # as they begin, a norm may be left out
        other.load_state_dict(norm.state_dict())
    theirs.linear1.load_state_dict(ours.ff[0].state_dict())
    theirs.linear2.load_state_dict(ours.ff[2].state_dict())
    x = torch.randn(3, 6, 8)
    torch.testing.assert_close(ours(x), theirs.eval()(x))


def test_no_block_is_refused() -> None:
    with pytest.raises(ValueError, match="blocks must be at least 1"):
        Transformer(0)
