"""The GPT over a cache computes what it computes without one."""

import itertools

import pytest
import torch
from torch import Tensor

from lightning_modules.nets.gpt import GPT, GPT2_SWITCHES, GPTConfig
from lightning_modules.nets.kv_cache import KVCache

SWITCHES = ("bias", *GPT2_SWITCHES)
CONTEXT, SLOTS = 16, 3


def _net(config: GPTConfig) -> GPT:
    torch.manual_seed(0)
    net = GPT(config).eval().requires_grad_(False)
    for parameter in net.parameters():
        parameter += 0.3 * torch.randn_like(parameter)
    return net


def _cache(config: GPTConfig, dtype: torch.dtype = torch.float32) -> KVCache:
    shape = (SLOTS, config.context, config.heads, config.width // config.heads)
    return KVCache(config.layers, shape, dtype=dtype)


def _ids(rows: int = SLOTS, length: int = CONTEXT) -> Tensor:
    return torch.randint(15, (rows, length), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize("on", list(itertools.product([False, True], repeat=len(SWITCHES))))
def test_prefill_and_decode_are_the_plain_forward(heads: int, on: tuple[bool, ...]) -> None:
    switches = dict(zip(SWITCHES, on, strict=True))
    config = GPTConfig(context=CONTEXT, width=16, heads=heads, **switches)
    net, cache, ids = _net(config).double(), _cache(config, torch.float64), _ids()
    addresses = [tensor.data_ptr() for layer in cache.layers for tensor in layer]
    expected = net(ids)
    # Two slots in an order of their own, padded with what a decode step overwrites; then the third.
    starts = torch.tensor([3, 1, 5])
    rows, padded = torch.tensor([2, 0]), ids[[2, 0], :5].clone()
    padded[1, 3:] = 14
    first = net(padded, cache=cache.prefill(5, rows))
    torch.testing.assert_close(first[0], expected[2, :5], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(first[1, :3], expected[0, :3], rtol=1e-9, atol=1e-9)
    net(ids[1:2, :1], cache=cache.prefill(1, torch.tensor([1])))
    for step in range(CONTEXT - 5):
        positions = (starts + step)[:, None]
        view = cache.decode(positions, 6 + step)
        hidden = net.hidden_states(ids.gather(1, positions), view)
        assert hidden.shape == (SLOTS, 1, 16)
        found = net.logits(hidden[:, -1])
        wanted = expected[torch.arange(SLOTS), positions[:, 0]]
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    assert addresses == [tensor.data_ptr() for layer in cache.layers for tensor in layer]


@pytest.mark.parametrize("switches", [{}, GPT2_SWITCHES], ids=["course", "gpt2"])
@pytest.mark.parametrize("start", [1, 7, CONTEXT - 1])
def test_extend_is_a_prefill_of_all(switches: dict[str, bool], start: int) -> None:
    config = GPTConfig(context=CONTEXT, heads=4, **switches)
    net, extended, whole, ids = _net(config), _cache(config), _cache(config), _ids(1)
    expected = net.hidden_states(ids, whole.prefill(CONTEXT, torch.tensor([1])))
    net.hidden_states(ids[:, :start], extended.prefill(start, torch.tensor([1])))
    found = net.hidden_states(ids[:, start:], extended.extend(CONTEXT - start, 1, start))
    torch.testing.assert_close(found, expected[:, start:], rtol=1e-5, atol=1e-5)
    for one, other in zip(extended.layers, whole.layers, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
        assert not one[0][[0, 2]].any()  # the other slots are as they were


def test_a_mask_has_the_type_of_the_cache() -> None:
    cache = _cache(GPTConfig(context=CONTEXT), torch.bfloat16)
    mask = cache.decode(torch.tensor([[0], [2], [3]]), 4).mask
    assert mask is not None
    assert mask.dtype == torch.bfloat16
    seen = [[1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    assert (mask[:, 0, 0] == 0).int().tolist() == seen
    assert (mask[:, 0, 0] == -torch.inf).int().tolist() == [[1 - n for n in row] for row in seen]


def test_a_sequence_longer_than_the_context_is_refused() -> None:
    config = GPTConfig(context=CONTEXT)
    net, cache = _net(config), _cache(config)
    says = "a sequence of 17 tokens is longer than the model's context of 16; shorten it"
    for asked in (
        lambda: net(_ids(1, 17)),
        lambda: cache.prefill(17, torch.tensor([0])),
        lambda: cache.extend(10, 0, 7),
        lambda: cache.decode(torch.full((SLOTS, 1), 16), 17),
    ):
        with pytest.raises(ValueError, match=says):
            asked()
    assert net(_ids(1, 16)).shape == (1, 16, 15)
