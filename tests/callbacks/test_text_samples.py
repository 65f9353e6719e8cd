"""TextSamples and AttentionMaps show any text, and stop no run."""

from pathlib import Path

import lightning.pytorch as pl
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from callbacks import AttentionMaps, TextSamples
from datamodules import CharTextDataModule
from lightning_modules import MiniGPT
from tests.conftest import quiet_trainer


def fit(text: str, *callbacks: pl.Callback, context: int = 16) -> EventAccumulator:
    Path("own.txt").write_text(text)
    logger = pl.loggers.TensorBoardLogger("logs", "own")
    quiet_trainer(max_epochs=1, logger=logger, callbacks=list(callbacks), log_every_n_steps=1).fit(
        MiniGPT(width=16, context=context),
        datamodule=CharTextDataModule("own.txt", context=context, batch_size=4, batches=4),
    )
    logger.finalize("success")
    assert (Path(logger.log_dir) / "attention.png").stat().st_size > 5_000
    return EventAccumulator(logger.log_dir).Reload()


def samples(events: EventAccumulator) -> dict[str, str]:
    found = {}
    for tag in events.Tags()["tensors"]:
        if tag.startswith("samples/"):
            before, after = events.Tensors(tag)
            assert (before.step, after.step) == (0, 4)
            found[tag.split("/")[1]] = after.tensor_proto.string_val[0].decode()
    return found


@pytest.mark.parametrize(
    ("text", "begins"),
    [
        ("это текст для модели.\n" * 40, "это текст для"),
        ("天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往\n" * 40, "天地玄黄宇宙洪荒"),
        ("ab" * 300, "abababab"),
        ("cost $5 and $$\n" * 40, "cost $5"),
        (" \n" * 300, ""),
    ],
)
def test_samples_begin_as_the_validation_text(workplace: Path, text: str, begins: str) -> None:
    events = fit(text, TextSamples(every_n_steps=4, max_new_tokens=3), AttentionMaps())
    ((_, written),) = samples(events).items()
    assert written.startswith(f"    {begins}"[:12])
    assert events.Images("images/attention")


def test_a_text_outside_the_vocabulary_is_a_warning(workplace: Path) -> None:
    own = TextSamples(("ROMEO:", "the"), every_n_steps=4, max_new_tokens=3)
    with pytest.warns(UserWarning, match="vocabulary") as warned:
        events = fit("the cat sat on the mat\n" * 30, own, AttentionMaps("Zebra"))
    told = [str(one.message) for one in warned if "vocabulary" in str(one.message)]
    assert len(told) == 2
    assert told[0].startswith("TextSamples: ")
    assert "for prompts 'ROMEO:', so these are left out; set prompts of callbacks.T" in told[0]
    assert "AttentionMaps: " in told[1]
    assert "'the cat sat on t' of the data is shown instead" in told[1]
    assert list(samples(events)) == ["the"]
    with pytest.warns(UserWarning, match="no tokens for prompts 'ROMEO:', so 'the cat"):
        fit("the cat sat on the mat\n" * 30, TextSamples(("ROMEO:",)), AttentionMaps())


def test_a_prompt_longer_than_the_context_is_a_warning(workplace: Path) -> None:
    own = TextSamples(("ab" * 20,), every_n_steps=1, max_new_tokens=3)
    with pytest.warns(UserWarning, match="TextSamples writes no samples: ") as warned:
        fit("ab" * 300, own, AttentionMaps())
    assert sum("writes no samples" in str(one.message) for one in warned) == 1
