"""Functions of a net, replaced by those of another module."""

import copy
import sys
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.nets.gpt import GPT, GPT2_SWITCHES, GPTConfig
from lightning_modules.nets.kernels import Kernels


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is called of the module ``own_ops``, which computes by torch's functions."""
    seen: list[str] = []

    def layer_norm(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
        seen.append("layer_norm")
        return F.layer_norm(x, x.shape[-1:], weight, bias, eps)

    def bias_gelu(x: Tensor, bias: Tensor) -> Tensor:
        seen.append("bias_gelu")
        return F.gelu(x + bias, approximate="tanh")

    def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        seen.append("causal_attention")
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    def cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        seen.append("cross_entropy")
        return F.cross_entropy((hidden @ weight.T).flatten(0, 1), targets.flatten())

    def residual_norm(
        x: Tensor,
        branch: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        eps: float,
        dropout: float,
        seed: Tensor,
        subsequence: int,
    ) -> tuple[Tensor, Tensor]:
        seen.append(f"residual_norm {subsequence} {dropout}")
        x = x + F.dropout(branch, dropout)
        return x, F.layer_norm(x, x.shape[-1:], weight, bias, eps)

    module = ModuleType("own_ops")
    for function in (layer_norm, bias_gelu, causal_attention, cross_entropy, residual_norm):
        setattr(module, function.__name__, function)
    monkeypatch.setitem(sys.modules, "own_ops", module)
    return seen


def ids_and_targets() -> tuple[Tensor, Tensor]:
    ids = torch.randint(0, 15, (2, 9))
    targets = ids[:, 1:].clone()
    targets[0, :3] = -100
    return ids[:, :-1], targets


@pytest.mark.parametrize(
    ("switches", "replaced"),
    [
        (GPT2_SWITCHES, {"layer_norm": 5, "bias_gelu": 2, "causal_attention": 2}),
        ({}, {"layer_norm": 4, "bias_gelu": 0, "causal_attention": 2}),  # ReLU; the head has a bias
        (
            {"pre_norm": True, "gelu": True, "bias": False},
            {"layer_norm": 5, "bias_gelu": 0, "causal_attention": 2},
        ),
    ],
)
def test_a_net_computes_the_same(calls: list[str], switches: dict, replaced: dict) -> None:
    torch.manual_seed(0)
    net = GPT(GPTConfig(**switches))
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2)
    ids, targets = ids_and_targets()
    names, logits, loss = list(net.state_dict()), net(ids), net(ids, targets)
    with_loss = switches.get("tied", False) or not switches.get("bias", True)
    everything = replaced | {"cross_entropy": int(with_loss)}
    everything |= {"residual_norm": int(switches.get("pre_norm", False))}
    assert Kernels(net, "own_ops").replaced == everything
    only = [name for name, count in replaced.items() if count] + ["cross_entropy"] * with_loss
    kernels = Kernels(net, "own_ops", only)
    assert kernels.replaced == {name: (replaced | {"cross_entropy": 1})[name] for name in only}
    assert not calls
    kernels.switch(on=True)
    torch.testing.assert_close(net(ids), logits)
    torch.testing.assert_close(net(ids, targets), loss)
    used = {name: calls.count(name) // 2 for name in replaced}
    assert used == replaced
    assert calls.count("cross_entropy") == with_loss
    assert list(net.state_dict()) == names
    # A copy computes with weights of its own.
    other = copy.deepcopy(net)
    nn.init.zeros_(other.blocks[0].norm1.weight)
    torch.testing.assert_close(net(ids), logits)
    assert not torch.allclose(other(ids), logits)
    kernels.switch(on=False)
    calls.clear()
    assert torch.equal(net(ids), logits)
    assert not calls


@pytest.mark.parametrize("training", [False, True])
def test_sums_are_computed_together_with_their_norms(calls: list[str], training: bool) -> None:
    torch.manual_seed(0)
    net = GPT(GPTConfig(**GPT2_SWITCHES, dropout=0.2)).train(training)
    ids, _ = ids_and_targets()
    kernels = Kernels(net, "own_ops", ["residual_norm"])
    assert kernels.replaced == {"residual_norm": 1}
    kernels.switch(on=True)
    ours = net(ids)
    # Every place has a number of its own, from which its dropout draws.
    dropout = 0.2 if training else 0.0
    assert calls == [f"residual_norm {place} {dropout}" for place in range(4)]
    kernels.switch(on=False)
    if not training:
        torch.testing.assert_close(ours, net(ids))
    with pytest.raises(ValueError, match="nothing in GPT was replaced: own_ops has residual_norm"):
        Kernels(GPT(GPTConfig()), "own_ops", ["residual_norm"])


def test_what_cannot_be_replaced_is_refused(calls: list[str]) -> None:
    with pytest.raises(ValueError, match=r"nothing in Linear was replaced: own_ops has layer_norm"):
        Kernels(nn.Linear(2, 2), "own_ops")
    with pytest.raises(ValueError, match=r"nothing in LayerNorm was replaced"):
        Kernels(nn.LayerNorm((2, 3)), "own_ops")  # over two dimensions
    with pytest.raises(ValueError, match=r"set --model\.init_args\.dropout 0"):
        Kernels(GPT(GPTConfig(dropout=0.1)), "own_ops")
    with pytest.raises(ValueError, match=r"no_ops\.kernels cannot be imported: No module named"):
        Kernels(nn.LayerNorm(2), "no_ops.kernels")
    with pytest.raises(ValueError, match="math defines none of layer_norm, bias_gelu"):
        Kernels(nn.LayerNorm(2), "math")
