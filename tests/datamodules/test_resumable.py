"""A resumed run sees the data that it would have seen, or is refused."""

import re
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from callbacks import RNGState
from datamodules import CharTextDataModule, DigitsDataModule, InstructionDataModule, LineDataModule
from datamodules.corpus import cats_and_dogs
from datamodules.resumable import ResumableDataModule, sha256
from lightning_modules import MNISTMLP, MiniGPT
from tests.conftest import quiet_trainer

BATCHES = 3  # per epoch


def digits(**options: Any) -> DigitsDataModule:
    return DigitsDataModule(**{"batch_size": 64, "val_size": 1250, "rotate": 10.0} | options)


def fit(data: ResumableDataModule, model: pl.LightningModule | None = None, **options: Any):
    """Trains three epochs and keeps a checkpoint of every step; returns the weights."""
    pl.seed_everything(0, verbose=False)
    model = model or MNISTMLP(hidden=(8,))
    keep = pl.callbacks.ModelCheckpoint("kept", "{step}", every_n_train_steps=1, save_top_k=-1)
    checkpoint = options.pop("ckpt_path", None)
    settings = {"max_epochs": 3, "limit_val_batches": 0, "callbacks": [keep, RNGState()]}
    run = quiet_trainer(**settings | options)
    run.fit(model, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    return {name: value.cpu() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_data_in_host_memory_resumes_exactly(workplace: Path, workers: int, device: str) -> None:
    whole = fit(digits(resident=False, num_workers=workers))
    for step in (2, BATCHES, BATCHES + 2):
        resumed = fit(
            digits(resident=False, num_workers=workers), ckpt_path=f"kept/step={step}.ckpt"
        )
        for name, value in whole.items():
            assert torch.equal(value, resumed[name]), (step, name)


@pytest.mark.slow
def test_host_and_resident_data_come_in_one_order(workplace: Path) -> None:
    whole = fit(digits())
    host = fit(digits(resident=False))
    resumed = fit(digits(resident=False), ckpt_path="kept/step=2.ckpt")
    for name, value in whole.items():
        assert torch.equal(value, host[name]), name
        assert torch.equal(value, resumed[name]), name


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:DigitsDataModule has 9 classes")  # of 10 outputs
@pytest.mark.parametrize("step", [2, BATCHES])  # within an epoch, and between two
@pytest.mark.parametrize("resident", [True, False])
def test_what_the_order_depends_on_is_compared(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, step: int, resident: bool
) -> None:
    fit(digits(resident=resident), max_epochs=1)

    def refused(message: str, options: dict[str, Any], **settings: Any) -> None:
        with pytest.raises(ValueError, match=message):
            fit(
                digits(resident=resident, **options), ckpt_path=f"kept/step={step}.ckpt", **settings
            )

    for name, saved, other in (
        ("batch_size", 64, 32),
        ("val_size", 1250, 1200),
        ("seed", 0, 1),
        ("classes", "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]", [*range(9)]),
    ):
        told = f"{name} {saved}, this run has {other}; resume with --data.init_args.{name} {saved}"
        refused(re.escape(told), {name: other})
    refused("overfit_batches 0.* resume with --trainer.overfit_batches 0", {}, overfit_batches=2)
    read = DigitsDataModule._read

    def other_pixel(self: DigitsDataModule, train: bool):
        images, labels = read(self, train)
        images[0, 0, 0] += 1
        return images, labels

    monkeypatch.setattr(DigitsDataModule, "_read", other_pixel)
    refused("was trained on other data than this run reads; resume with the data", {})


@pytest.mark.slow
def test_another_number_of_processes_is_refused(workplace: Path) -> None:
    fit(digits(), max_epochs=1)
    state = torch.load("kept/step=2.ckpt", weights_only=True)
    state["DigitsDataModule"]["order"]["processes"] = 2
    torch.save(state, "two.ckpt")
    with pytest.raises(ValueError, match=r"processes 2, this run has 1; .* --trainer\.devices 2"):
        fit(digits(), ckpt_path="two.ckpt")


@pytest.mark.slow
def test_a_checkpoint_without_the_order_is_refused(workplace: Path) -> None:
    fit(digits(), max_epochs=1)
    state = torch.load("kept/step=2.ckpt", weights_only=True)
    order = state["DigitsDataModule"].pop("order")
    torch.save(state, "old.ckpt")
    with pytest.raises(ValueError, match=r"does not hold the seed of its data .*earlier version"):
        fit(digits(), ckpt_path="old.ckpt")
    del state["DigitsDataModule"]
    torch.save(state | {"MNISTDataModule": {"order": order}}, "other.ckpt")
    with pytest.raises(ValueError, match=r"holds no state of DigitsDataModule: .*another data"):
        fit(digits(), ckpt_path="other.ckpt")


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_a_checkpoint_is_validated_with_any_options(workplace: Path) -> None:
    fit(digits(), max_epochs=1)
    found = quiet_trainer().validate(
        MNISTMLP(hidden=(8,)),
        datamodule=digits(batch_size=7, val_size=50),
        ckpt_path="kept/step=2.ckpt",
        weights_only=True,
        verbose=False,
    )
    assert found[0]["val/loss"] > 0


@pytest.mark.parametrize("step", [2, 6])
def test_windows_of_a_text_are_compared(workplace: Path, step: int) -> None:
    fit(CharTextDataModule(batches=6), MiniGPT(width=16), max_epochs=1)

    def refused(message: str, **options: Any) -> None:
        data = CharTextDataModule(**{"batches": 6} | options)
        with pytest.raises(ValueError, match=message):
            fit(data, MiniGPT(width=16), ckpt_path=f"kept/step={step}.ckpt")

    for name, other in (
        ("seed", 1), ("batch_size", 16), ("batches", 5), ("context", 16), ("val_fraction", 0.2)
    ):  # fmt: skip
        refused(
            rf"{name} \S+, this run has {other}; resume with --data\.init_args\.{name} ",
            **{name: other},
        )
    Path("own.txt").write_text(cats_and_dogs()[::-1])
    refused("was trained on other data", source="own.txt")


def test_questions_are_compared(gpt2_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"tokenizer": str(gpt2_base), "context": 160}
    saved = InstructionDataModule(**options)
    saved.setup("fit")
    for name, other in (("batch_size", 4), ("pack", True), ("val_size", 4), ("context", 200)):
        data = InstructionDataModule(**options | {name: other})
        data.setup("fit")
        monkeypatch.setattr(InstructionDataModule, "_fitting", True)
        with pytest.raises(ValueError, match=rf"resume with --data\.init_args\.{name} "):
            data.load_state_dict(saved.state_dict())


def test_points_are_compared() -> None:
    saved, other = LineDataModule(), LineDataModule(slope=3.0)
    for data in (saved, other):
        data.setup("fit")
    assert saved.state_dict() != other.state_dict()


def test_the_hash_is_of_every_value() -> None:
    values = torch.arange(6)
    assert sha256([values]) == sha256([values.clone()])
    for other in (values.flip(0), values.view(2, 3), values.int(), values[:5]):
        assert sha256([other]) != sha256([values])


@pytest.mark.parametrize("kind", ["digits", "host", "text", "questions"])
def test_overfit_batches_holds_the_batches(
    workplace: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    if kind == "text":
        data, model = CharTextDataModule(batch_size=4, batches=6), MiniGPT(width=16)
    elif kind == "questions":
        from lightning_modules import GPT2LoRA

        base = str(request.getfixturevalue("gpt2_base"))
        data, model = InstructionDataModule(context=160, batch_size=2), GPT2LoRA(base, r=1)
    else:
        data, model = digits(rotate=0.0, resident=kind == "digits"), MNISTMLP(hidden=(8,))
    seen: list[torch.Tensor] = []

    class Watch(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
            seen.append(batch[0].clone().cpu())

    quiet_trainer(max_epochs=3, overfit_batches=2, limit_val_batches=0, callbacks=[Watch()]).fit(
        model, datamodule=data
    )
    assert len(seen) == 6
    assert not torch.equal(seen[0], seen[1])
    for batch, first in zip(seen[2:], [*seen[:2], *seen[:2]], strict=True):
        assert torch.equal(batch, first)


@pytest.mark.parametrize(
    ("data", "model", "option"),
    [
        (lambda: digits(val_size=0), lambda: MNISTMLP(hidden=(8,)), "val_size"),
        (lambda: CharTextDataModule(val_fraction=0.0), lambda: MiniGPT(width=16), "val_fraction"),
    ],
)
def test_a_validation_without_data_is_refused(data, model, option: str) -> None:
    with pytest.raises(ValueError, match=f"nothing to validate on, because {option} is 0"):
        quiet_trainer().validate(model(), datamodule=data())
