"""The two callbacks that change how fast a net is computed, and nothing else."""

import lightning.pytorch as pl
import pytest
import torch
from torch._dynamo.utils import counters

from callbacks import Compile, MatmulPrecision
from datamodules import CharTextDataModule, DigitsDataModule
from lightning_modules import MNISTMLP, MiniGPT
from tests.conftest import quiet_trainer
from tests.helpers.rehearsal import RehearsedStrategy


def fit(*callbacks: pl.Callback, strategy: str | RehearsedStrategy = "auto") -> MNISTMLP:
    torch.manual_seed(0)
    model = MNISTMLP(hidden=(16,))
    # With its summary, which runs the net in a way that torch.compile refuses.
    quiet_trainer(
        max_steps=35,
        enable_model_summary=True,
        callbacks=list(callbacks),
        strategy=strategy,
        val_check_interval=15,
    ).fit(model, datamodule=DigitsDataModule())
    return model


@pytest.mark.slow
@pytest.mark.parametrize("steps_per_turn", [0, 1, 10])
def test_the_compiled_net_learns_the_same(steps_per_turn: int, device: str) -> None:
    strategy = RehearsedStrategy(steps_per_turn=steps_per_turn) if steps_per_turn else "auto"
    torch.compiler.reset()
    counters.clear()
    compiled = fit(Compile(), strategy=strategy)
    # Validation, in larger batches, has no part in it.
    assert counters["stats"]["unique_graphs"] == 1
    assert "forward" not in vars(compiled.net)
    plain = fit()
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[name], value, atol=1e-4, rtol=1e-4)


def test_modes_that_are_none() -> None:
    with pytest.raises(ValueError, match="mode must be one of default"):
        Compile("fastest")
    with pytest.raises(ValueError, match="precision must be highest"):
        MatmulPrecision("low")


def test_options_are_those_of_torch_compile() -> None:
    assert Compile(options={"use_fast_math": True}).options
    with pytest.raises(ValueError, match="no option use_fastmath; did you mean use_fast_math"):
        Compile(options={"use_fastmath": True})
    with pytest.raises(ValueError, match="takes a mode or options"):
        Compile("max-autotune-no-cudagraphs", options={"use_fast_math": True})


def test_options_reach_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict] = []
    monkeypatch.setattr(torch, "compile", lambda forward, **k: seen.append(k) or forward)
    fit(Compile(options={"triton.multi_kernel": 0}))
    assert [(one["mode"], one["options"]) for one in seen] == [(None, {"triton.multi_kernel": 0})]


def test_a_module_without_a_net() -> None:
    class NoNet(MNISTMLP):
        def on_train_start(self) -> None:
            return

    model = NoNet(hidden=(16,))
    model.mlp, model.net = model.net, None  # type: ignore[assignment]
    model.forward = lambda x: model.mlp(x)  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="has no net to compile"):
        quiet_trainer(max_steps=1, callbacks=[Compile()]).fit(model, datamodule=DigitsDataModule())


@pytest.mark.parametrize("fails", [False, True])
def test_the_precision_is_set_back(fails: bool, device: str) -> None:
    seen = []

    class Look(pl.Callback):
        def on_train_batch_end(self, *args) -> None:
            seen.append(torch.get_float32_matmul_precision())
            if fails:
                raise OSError("stop here")

    before = torch.get_float32_matmul_precision()
    if fails:
        with pytest.raises(OSError, match="stop here"):
            fit(MatmulPrecision(), Look())
    else:
        fit(MatmulPrecision(), Look())
    assert seen[0] == "high" != before
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.slow
def test_windows_of_a_text_are_compiled_once(device: str) -> None:
    """They are views with strides of their own; other strides would be compiled in the capture."""
    torch.compiler.reset()
    counters.clear()
    run = quiet_trainer(
        max_steps=6, limit_val_batches=0, callbacks=[Compile()], strategy=RehearsedStrategy()
    )
    run.fit(MiniGPT(width=16), datamodule=CharTextDataModule())
    assert counters["stats"]["unique_graphs"] == 1
