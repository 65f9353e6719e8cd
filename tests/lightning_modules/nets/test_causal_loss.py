"""The loss of answers, padded and packed, against a slow and obvious way."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from datamodules import InstructionDataModule
from datamodules.windows import IGNORED
from lightning_modules.gpt2_base import load_base
from lightning_modules.nets.causal_loss import CausalLoss


def obvious_loss(folder: Path, examples: list[tuple[list[int], list[int]]]) -> torch.Tensor:
    """One example at a time through transformers' own attention, one answer token at a time."""
    from transformers import GPT2LMHeadModel

    model = GPT2LMHeadModel.from_pretrained(folder, attn_implementation="eager").eval()
    losses = []
    for prompt, answer in examples:
        logits = model(torch.tensor([prompt + answer])).logits[0]
        for number, token in enumerate(answer):
            before = len(prompt) + number - 1
            losses.append(-logits[before].log_softmax(-1)[token])
    return torch.stack(losses).mean()


@pytest.mark.parametrize("pack", [False, True])
@torch.no_grad()
def test_the_loss_is_that_of_each_answer_alone(gpt2_base: Path, pack: bool) -> None:
    data = InstructionDataModule(tokenizer=str(gpt2_base), context=160, val_size=136, pack=pack)
    data.setup("fit")
    net = CausalLoss(load_base(str(gpt2_base), torch.float32)[0].train())
    batch = data._splits["train"]
    assert len(batch) == 2 + pack
    assert pack == (len(batch[0]) < 4)
    examples = []
    for row in range(len(batch[0])):
        numbers = batch[2][row] if pack else torch.ones(160)
        for number in range(1, int(numbers.max()) + 1):
            ids, targets = batch[0][row][numbers == number], batch[1][row][numbers == number]
            places = (targets != IGNORED).nonzero().flatten().tolist()
            prompt = ids[: places[0] + 1].tolist()
            examples.append((prompt, targets[places].tolist()))
    assert len(examples) == 4
    assert net(*batch).item() == pytest.approx(obvious_loss(gpt2_base, examples).item(), abs=1e-5)
    # The head's padding is no token.
    assert net.logits(batch[0][:1]).shape == (1, 160, net.vocab_size)
    assert len(net.head) % 64 == 0


@torch.no_grad()
def test_what_pads_a_row_or_stands_in_its_other_examples_changes_nothing(gpt2_base: Path) -> None:
    net = CausalLoss(load_base(str(gpt2_base), torch.float32)[0])
    ids = torch.randint(net.vocab_size, (1, 30))
    segments = torch.tensor([[1] * 10 + [2] * 12 + [0] * 8])
    before = net.logits(ids, segments)
    alone = torch.cat([net.logits(ids[:, :10]), net.logits(ids[:, 10:22])], dim=1)
    assert torch.allclose(before[:, :22], alone, atol=1e-5)
    changed = ids.clone()
    changed[:, :10] = 0
    changed[:, 22:] = 1
    assert torch.equal(net.logits(changed, segments)[:, 10:22], before[:, 10:22])


@torch.no_grad()
def test_the_loss_counts_no_ignored_target(gpt2_base: Path) -> None:
    net = CausalLoss(load_base(str(gpt2_base), torch.float32)[0])
    ids = torch.randint(net.vocab_size, (2, 12))
    targets = torch.full((2, 12), IGNORED)
    targets[0, 3], targets[1, 7] = 5, 6
    logits = net.logits(ids)
    expected = F.cross_entropy(torch.stack([logits[0, 3], logits[1, 7]]), torch.tensor([5, 6]))
    assert net(ids, targets).item() == pytest.approx(expected.item(), abs=1e-6)
