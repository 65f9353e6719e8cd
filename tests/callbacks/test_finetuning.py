"""What TensorBoard shows of a fine-tuning: the baseline, the answers, what is forgotten."""

from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from callbacks import Answers, Baseline, Drift
from callbacks.answers import score
from callbacks.drift import PASSAGE, windows
from datamodules import CharTextDataModule, InstructionDataModule
from datamodules.windows import IGNORED
from inference.text.tokenizer import Tokenizer
from lightning_modules import GPT2LoRA, MiniGPT
from tests.conftest import quiet_trainer

SCALARS = ("val/loss", "val/perplexity", "val/exact_match", "val/token_f1", "drift/perplexity")


def fit(
    base: Path, callbacks: list[pl.Callback], **kwargs
) -> tuple[GPT2LoRA, EventAccumulator, pl.Trainer]:
    torch.set_num_threads(1)
    pl.seed_everything(0, verbose=False)
    model = GPT2LoRA(str(base), dropout=0.1, lr=0.01)
    logger = pl.loggers.TensorBoardLogger("logs", "run")
    settings = {"max_epochs": 2, "num_sanity_val_steps": -1, "log_every_n_steps": 1} | kwargs
    run = quiet_trainer(logger=logger, callbacks=callbacks, **settings)
    data = InstructionDataModule(context=160, val_size=4, batch_size=40, eval_batch_size=3)
    run.fit(model, datamodule=data)
    logger.finalize("success")
    return model, EventAccumulator(logger.log_dir).Reload(), run


def test_curves_begin_with_the_base_and_the_training_does_not_notice(
    gpt2_base: Path, workplace: Path
) -> None:
    plain, _, _ = fit(gpt2_base, [], num_sanity_val_steps=0)
    asked = Answers(("What is a GPU?",), max_new_tokens=4)
    model, events, run = fit(gpt2_base, [asked, Drift(), Baseline()])
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name
    steps = run.global_step
    for name in SCALARS:
        assert [event.step for event in events.Scalars(name)] == [0, steps // 2 - 1, steps - 1]
    texts = events.Tensors("answers/What is a GPU?/text_summary")
    assert [event.step for event in texts] == [0, steps // 2, steps]

    # The first values are those of the base alone, by transformers.
    from transformers import GPT2LMHeadModel

    base = GPT2LMHeadModel.from_pretrained(gpt2_base).eval()
    losses = []
    ids, targets = (tensor.cpu() for tensor in run.datamodule._splits["val"])
    with torch.no_grad():
        for row, wanted in zip(ids, targets, strict=True):
            logits = base(row[None]).logits[0].log_softmax(-1)
            losses += [-logits[p, t].item() for p, t in enumerate(wanted) if t != IGNORED]
    first, *_, last = (event.value for event in events.Scalars("val/loss"))
    assert first == pytest.approx(sum(losses) / len(losses), abs=1e-4)
    assert last < first
    passage = torch.tensor(Tokenizer.of_pretrained(gpt2_base).encode(PASSAGE))
    with torch.no_grad():
        seen = [base(part[None]).logits[0] for part in passage[:-1].split(160)]
    loss = torch.nn.functional.cross_entropy(torch.cat(seen), passage[1:])
    assert events.Scalars("drift/perplexity")[0].value == pytest.approx(loss.exp().item(), rel=1e-4)


def test_answers_are_scored_as_squad_scores_them() -> None:
    assert score(["The cat!", "a b c"], ["cat", "b d"]) == pytest.approx(
        # The article goes: b and c against b and d share one of two words.
        {"exact_match": 0.5, "token_f1": (1 + 0.5) / 2}
    )
    assert score(["yes"], ["no"]) == {"exact_match": 0.0, "token_f1": 0.0}


def test_a_text_in_windows_counts_each_target_once() -> None:
    tokens = torch.arange(100, 111)
    ids, targets = windows(tokens, 4)
    assert ids.shape == targets.shape == (3, 4)
    counted = targets != IGNORED
    assert targets[counted].tolist() == list(range(101, 111))
    assert torch.equal(ids[counted] + 1, targets[counted])


def test_they_say_what_they_need(gpt2_base: Path, workplace: Path) -> None:
    with pytest.raises(ValueError, match=r"set --trainer\.num_sanity_val_steps -1"):
        fit(gpt2_base, [Baseline()], num_sanity_val_steps=2)
    for callback, message in ((Answers(), "Answers needs a GPT2LoRA"), (Drift(), "Drift needs")):
        with pytest.raises(ValueError, match=message):
            quiet_trainer(max_steps=1, callbacks=[callback]).fit(
                MiniGPT(), datamodule=CharTextDataModule()
            )
    with pytest.raises(ValueError, match="every_n_epochs must be at least 1"):
        Answers(every_n_epochs=0)
