"""A GPT for inference has the weights of earlier versions, and computes what the net computes."""

import pytest
import torch
from torch import Tensor

from inference.text.cached_gpt import CachedGPT
from lightning_modules.nets.gpt import GPT, GPT2_SWITCHES, GPTConfig

COURSE = vars(GPTConfig(vocab_size=5, context=4, width=4, layers=1))
GPT2 = COURSE | {"heads": 2} | GPT2_SWITCHES
# What artifacts and checkpoints of version 0.1 hold, in their order, and the logits that version
# computed after the tokens 1, 0, 4 with sin(1 * n), sin(2 * n), ... in the first, second, ... one.
COURSE_WEIGHTS = {
    "token.weight": (5, 4),
    "position.weight": (4, 4),
    "blocks.0.norm1.weight": (4,),
    "blocks.0.norm1.bias": (4,),
    "blocks.0.attn.qkv.weight": (12, 4),
    "blocks.0.norm2.weight": (4,),
    "blocks.0.norm2.bias": (4,),
    "blocks.0.up.weight": (16, 4),
    "blocks.0.up.bias": (16,),
    "blocks.0.down.weight": (4, 16),
    "blocks.0.down.bias": (4,),
    "head.weight": (5, 4),
    "head.bias": (5,),
}
GPT2_WEIGHTS = {
    "token.weight": (5, 4),
    "position.weight": (4, 4),
    "blocks.0.norm1.weight": (4,),
    "blocks.0.norm1.bias": (4,),
    "blocks.0.attn.qkv.weight": (12, 4),
    "blocks.0.attn.qkv.bias": (12,),
    "blocks.0.attn.out.weight": (4, 4),
    "blocks.0.attn.out.bias": (4,),
    "blocks.0.norm2.weight": (4,),
    "blocks.0.norm2.bias": (4,),
    "blocks.0.up.weight": (16, 4),
    "blocks.0.up.bias": (16,),
    "blocks.0.down.weight": (4, 16),
    "blocks.0.down.bias": (4,),
    "norm.weight": (4,),
    "norm.bias": (4,),
}
COURSE_LOGITS = [
    [-1.4574544, 1.2543163, 2.2118249, -1.1029685, 2.2540851],
    [-1.3218224, 0.9041094, 2.5245588, -1.1531510, 2.0055995],
    [-1.3553138, 0.8879300, 2.5787642, -1.2063706, 2.0195303],
]
GPT2_LOGITS = [
    [1.4650402, -1.0378571, -0.1082630, 1.1793879, -1.4335356],
    [0.7218716, -0.5980507, 0.0599524, 0.5196757, -0.7393178],
    [0.9479270, -1.0827469, 0.4675342, 0.4715453, -1.0839794],
]


def _waves(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    return {
        name: torch.sin(torch.arange(1.0, torch.Size(shape).numel() + 1) * index).view(shape)
        for index, (name, shape) in enumerate(shapes.items(), 1)
    }


@pytest.mark.parametrize(
    ("config", "shapes", "logits"),
    [(COURSE, COURSE_WEIGHTS, COURSE_LOGITS), (GPT2, GPT2_WEIGHTS, GPT2_LOGITS)],
    ids=["course", "gpt2"],
)
def test_weights_of_earlier_versions_have_the_logits_that_they_had(
    config: dict, shapes: dict, logits: list[list[float]]
) -> None:
    weights, expected = _waves(shapes), torch.tensor(logits)
    torch.testing.assert_close(
        CachedGPT(config, weights).all_logits([1, 0, 4]), expected, rtol=0, atol=2e-6
    )
    net = GPT(GPTConfig(**config)).eval()
    net.load_state_dict(weights)
    assert list(net.state_dict()) == list(shapes)
    torch.testing.assert_close(net(torch.tensor([[1, 0, 4]]))[0], expected, rtol=0, atol=2e-6)


def test_weights_are_shared_and_not_copied() -> None:
    weights = _waves(COURSE_WEIGHTS)
    model = CachedGPT(COURSE, weights)
    before = model.all_logits([1, 0, 4])
    for tensor in weights.values():
        tensor.mul_(0.5)
    assert not torch.allclose(model.all_logits([1, 0, 4]), before)


def test_dropout_is_off() -> None:
    weights = _waves(GPT2_WEIGHTS)
    found = CachedGPT(GPT2 | {"dropout": 0.5}, weights).all_logits([1, 0, 4])
    assert torch.equal(found, CachedGPT(GPT2, weights).all_logits([1, 0, 4]))


def test_more_tokens_than_the_context_are_refused() -> None:
    model = CachedGPT(COURSE, _waves(COURSE_WEIGHTS))
    ids = torch.zeros(1, 5, dtype=torch.long)
    with torch.inference_mode():
        model.prefill(ids[:, :3], torch.tensor([0]))
        for asked in (
            lambda: model.prefill(ids),
            lambda: model.prefill(ids, torch.tensor([0])),
            lambda: model.extend(ids[:, :2], 0, 3),
        ):
            with pytest.raises(ValueError, match="5 tokens is longer than the model's context of"):
                asked()


@pytest.mark.parametrize("change", [{"head.bias": None}, {"head.weight": (6, 4)}, {"more": (1,)}])
def test_weights_of_another_net_are_refused(change: dict) -> None:
    shapes = {name: shape for name, shape in (COURSE_WEIGHTS | change).items() if shape}
    with pytest.raises(ValueError, match=rf"{next(iter(change))} should be .* and is .*; export"):
        CachedGPT(COURSE, _waves(shapes))
