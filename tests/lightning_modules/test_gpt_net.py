"""The GPT net: the course's size, causality, and equality with transformers' GPT-2."""

import pytest
import torch

from lightning_modules.nets.gpt import GPT, GPT2_SWITCHES, GPTConfig
from lightning_modules.nets.gpt2 import from_gpt2, to_gpt2
from lightning_modules.nets.rewrite import as_gpt2


def _randomise(net: torch.nn.Module, std: float = 0.05) -> None:
    """Weights that are nowhere zero or one, so that a missing bias or norm would show."""
    generator = torch.Generator().manual_seed(1)
    for parameter in net.parameters():
        parameter.data += std * torch.randn(parameter.shape, generator=generator)


def test_the_defaults_are_the_courses() -> None:
    assert sum(p.numel() for p in GPT(GPTConfig()).parameters()) == 25_103


def test_a_block_has_the_courses_size() -> None:
    net = GPT(GPTConfig(width=8))
    assert sum(p.numel() for p in net.blocks[0].parameters()) == 776


def test_nanogpts_shape_has_its_parameter_count() -> None:
    switches = GPT2_SWITCHES | {"qkv_bias": False, "bias": False}
    config = GPTConfig(vocab_size=65, context=256, width=384, layers=6, heads=6, **switches)
    net = GPT(config)
    assert sum(p.numel() for p in net.parameters()) - net.position.weight.numel() == 10_646_784


@pytest.mark.parametrize("switch", [{}, *({name: True} for name in GPT2_SWITCHES), GPT2_SWITCHES])
def test_no_position_sees_the_future(switch: dict[str, bool]) -> None:
    torch.manual_seed(0)
    net = GPT(GPTConfig(heads=4, **switch))
    ids = torch.randint(15, (1, 32))
    changed = ids.clone()
    changed[0, 20] = (ids[0, 20] + 1) % 15
    before, after = net(ids), net(changed)
    torch.testing.assert_close(before[:, :20], after[:, :20], rtol=0, atol=0)
    assert not torch.equal(before[:, 20:], after[:, 20:])


def test_drawn_attention_is_what_the_net_computes() -> None:
    torch.manual_seed(0)
    attention = GPT(GPTConfig(heads=4)).blocks[0].attn
    x = torch.randn(2, 32, 32)
    value = attention.split(x)[2]
    drawn = (attention.weights(x) @ value).transpose(1, 2).flatten(2)
    torch.testing.assert_close(drawn, attention(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "shape",
    [
        {"vocab_size": 65, "context": 48, "width": 64, "layers": 3, "heads": 4},
        pytest.param(
            {"vocab_size": 50257, "context": 1024, "width": 768, "layers": 12, "heads": 12},
            marks=pytest.mark.slow,
            id="gpt2",
        ),
    ],
)
def test_it_is_gpt2(shape: dict[str, int]) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = GPTConfig(**shape, **GPT2_SWITCHES)
    theirs = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=config.vocab_size,
            n_positions=config.context,
            n_embd=config.width,
            n_layer=config.layers,
            n_head=config.heads,
        )
    ).eval()
    _randomise(theirs)
    ours = GPT(config).eval()
    ours.load_state_dict(from_gpt2(config, theirs.state_dict()))
    assert sum(p.numel() for p in ours.parameters()) == theirs.num_parameters()
    ids = torch.randint(config.vocab_size, (2, 40))
    with torch.no_grad():
        expected = theirs(ids).logits
        torch.testing.assert_close(ours(ids), expected, rtol=0, atol=1e-4)
        back = to_gpt2(ours)
        for name, tensor in theirs.state_dict().items():
            torch.testing.assert_close(back[name], tensor, rtol=0, atol=0)


def test_in_training_it_drops_what_gpt2_drops() -> None:
    """The same random numbers in the same order: embeddings, attention, what blocks add."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = GPTConfig(65, 48, width=64, heads=4, dropout=0.3, **GPT2_SWITCHES)
    rates = dict.fromkeys(("embd_pdrop", "attn_pdrop", "resid_pdrop"), 0.3)
    theirs = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=65, n_positions=48, n_embd=64, n_layer=2, n_head=4, **rates
        )
    )
    ours = GPT(config)
    ours.load_state_dict(from_gpt2(config, theirs.state_dict()))
    ids = torch.randint(65, (2, 40))
    results = []
    for net in (ours, lambda ids: theirs(ids).logits):
        torch.manual_seed(1)
        results.append(net(ids))
    torch.testing.assert_close(*results, rtol=0, atol=1e-4)
    ours.eval()
    assert not torch.allclose(ours(ids), results[0], atol=1e-2)
    assert torch.equal(ours(ids), ours(ids))
    post = GPT(GPTConfig(dropout=0.3))
    ids = torch.randint(15, (2, 32))
    assert not torch.equal(post(ids), post(ids))
    post.eval()
    assert torch.equal(post(ids), post(ids))


def test_pre_norm_nets_start_as_gpt2_and_the_courses_as_torch() -> None:
    torch.manual_seed(0)
    net = GPT(GPTConfig(vocab_size=300, context=128, width=128, layers=8, heads=4, **GPT2_SWITCHES))
    for name, parameter in net.named_parameters():
        if parameter.dim() == 2:
            # What is added to the residual stream 16 times grows its variance no more than once.
            expected = 0.005 if name.endswith(("out.weight", "down.weight")) else 0.02
            assert parameter.std().item() == pytest.approx(expected, rel=0.03), name
            assert abs(parameter.mean()) < 0.03 * expected, name
        else:
            assert torch.equal(parameter, torch.full_like(parameter, float("bias" not in name))), (
                name
            )
    assert GPT(GPTConfig()).token.weight.std() > 0.9


def test_a_tied_embedding_learns_from_the_logits() -> None:
    net = GPT(GPTConfig(**GPT2_SWITCHES))
    net(torch.zeros(1, 4, dtype=torch.long)).logsumexp(dim=-1).sum().backward()
    assert net.token.weight.grad is not None
    # Tokens that are not in the input are among those that it chooses from.
    assert (net.token.weight.grad[1:].abs().sum(dim=1) > 0).all()


def test_absent_biases_become_zeros_in_gpt2() -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    switches = GPT2_SWITCHES | {"qkv_bias": False, "bias": False}
    config = GPTConfig(vocab_size=65, context=48, width=64, layers=2, heads=4, **switches)
    ours = GPT(config).eval()
    _randomise(ours)
    theirs = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=65, n_positions=48, n_embd=64, n_layer=2, n_head=4)
    ).eval()
    theirs.load_state_dict(to_gpt2(ours))
    ids = torch.randint(65, (2, 48))
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, ours(ids), rtol=0, atol=1e-4)


def test_a_net_of_another_kind_names_what_to_change() -> None:
    with pytest.raises(ValueError, match=r"pre_norm=true .*gelu=true .*output_projection=true"):
        to_gpt2(GPT(GPTConfig()))


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"heads": 4, "gelu": True, "output_projection": True, "qkv_bias": True},
        {"layers": 3, "tied": True, "bias": False},
        {"layers": 1},
    ],
)
def test_the_courses_kind_of_net_can_be_written_as_gpt2(shape: dict) -> None:
    torch.manual_seed(0)
    net = GPT(GPTConfig(**shape)).eval()
    _randomise(net, 0.1)
    rewritten = as_gpt2(net)
    ids = torch.randint(15, (16, 32))
    with torch.no_grad():
        expected, found = net(ids), rewritten(ids)
    assert float((found - expected).abs().max() / expected.abs().max()) < 2e-3
    assert (found.argmax(-1) == expected.argmax(-1)).float().mean() > 0.995


@pytest.mark.parametrize("shape", [{"pre_norm": True}, {"layers": 6}])
def test_what_cannot_be_written_as_gpt2_says_what_to_train(shape: dict) -> None:
    with pytest.raises(ValueError, match="only a post-norm net of at most four layers"):
        as_gpt2(GPT(GPTConfig(**shape)))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"width": 30, "heads": 4}, "cannot be divided among heads"),
        ({"layers": 0}, "layers must be at least 1"),
        ({"dropout": 1.0}, "dropout must be"),
    ],
)
def test_impossible_shapes_are_refused(bad: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GPTConfig(**bad)
