"""Lightning's contract: hooks, their order and arguments, and counters, as with strategy auto.

On a machine without a GPU the graph strategies are rehearsed (tests/helpers/rehearsal.py); where
there is one, the same tests run on it with real graphs.
"""

import inspect
from collections import Counter
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import yaml
from lightning.pytorch.callbacks import (
    EMAWeightAveraging,
    GradientAccumulationScheduler,
    StochasticWeightAveraging,
)
from lightning.pytorch.core.hooks import ModelHooks

from datamodules import DigitsDataModule
from lightning_modules import MNISTMLP
from tests.conftest import ROOT, quiet_trainer
from tests.helpers.rehearsal import RehearsedStrategy
from training.strategies import CUDAGraphStrategy
from training.strategies.chunks import BATCH_HOOKS, STEP_HOOKS

pytestmark = pytest.mark.filterwarnings(
    # Lightning on modules with an optimizer_step of their own.
    r"ignore:When using `Trainer\(accumulate_grad_batches != 1\)`"
)
CALLBACK_HOOKS = sorted(name for name in vars(pl.Callback) if name.startswith("on_"))
# What a module does between the hooks is Python that a graph runs only once.
MODULE_HOOKS = sorted(
    {name for name in vars(ModelHooks) if name.startswith("on_")}
    | {"optimizer_step", "configure_gradient_clipping"}
)
DATA_HOOKS = ["on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer"]
CHUNK_HOOKS = [name for name in CALLBACK_HOOKS if name not in (*BATCH_HOOKS, *STEP_HOOKS)]
Events = list[tuple[Any, ...]]


def recording(base: type, hooks: list[str], owner: str) -> type:
    """A subclass of ``base`` that notes each call of a hook and then does what ``base`` does."""

    def noted(name: str) -> Callable[..., Any]:
        def hook(self: Any, *args: Any, **kwargs: Any) -> Any:
            trainer = args[0] if args and isinstance(args[0], pl.Trainer) else self.trainer
            numbers = [a for a in (*args, *kwargs.values()) if isinstance(a, int | str)]
            counters = (trainer.global_step, trainer.current_epoch, trainer.fit_loop.batch_idx)
            self.events.append((owner, name, *numbers, *counters, trainer.sanity_checking))
            if name == "on_before_backward":
                self.losses.append(float(args[-1].detach()))
            if name in ("on_after_backward", "on_before_optimizer_step"):
                parameters = trainer.lightning_module.parameters()
                self.norms.append(float(sum(p.grad.abs().sum() for p in parameters)))
            return getattr(super(made, self), name)(*args, **kwargs)

        # Lightning asks for the signature of some hooks.
        hook.__signature__ = inspect.signature(getattr(base, name))  # type: ignore[attr-defined]
        return hook

    members: dict[str, Any] = {name: noted(name) for name in hooks}
    made = type(owner, (base,), members | {"events": [], "losses": [], "norms": []})
    return made


def fit(strategy: Any, hooks: list[str], *, module_hooks: bool, **options: Any) -> dict[str, Any]:
    torch.manual_seed(0)
    callbacks = [make() for make in options.pop("extra", ())]
    spy = recording(pl.Callback, hooks, "callback")()
    module = (recording(MNISTMLP, MODULE_HOOKS, "module") if module_hooks else MNISTMLP)(
        hidden=(8,)
    )
    data = recording(DigitsDataModule, DATA_HOOKS, "data") if module_hooks else DigitsDataModule
    # 1,257 images: eight batches of 150, and one of 57.
    data = data(batch_size=150, eval_batch_size=200)
    module.events = data.events = spy.events  # one list, so that the order between them counts
    settings = {"max_epochs": 3, "log_every_n_steps": 3} | options
    trainer = quiet_trainer(strategy=strategy, callbacks=[*callbacks, spy], **settings)
    trainer.fit(module, datamodule=data)
    return {
        "events": spy.events,
        "losses": [*spy.losses, *getattr(module, "losses", ())],
        "norms": [*spy.norms, *getattr(module, "norms", ())],
        "weights": [p.detach().cpu() for p in module.parameters()],
        "metrics": {k: float(v) for k, v in trainer.callback_metrics.items()},
        "batches": trainer.fit_loop.epoch_loop.batch_progress.total.completed,
        "stepped": trainer.fit_loop.epoch_loop._batches_that_stepped,
        "optimizer": trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.state_dict(),
    }


def same(expected: dict[str, Any], got: dict[str, Any]) -> None:
    assert got["events"] == expected["events"]
    for name in ("batches", "stepped", "optimizer"):
        assert got[name] == expected[name], name
    for name in ("losses", "norms"):
        assert got[name] == pytest.approx(expected[name], rel=2e-3, abs=2e-3), name
    assert got["metrics"] == pytest.approx(expected["metrics"], rel=2e-3, abs=2e-3)
    for left, right in zip(got["weights"], expected["weights"], strict=True):
        torch.testing.assert_close(left, right, atol=2e-3, rtol=2e-3)


VALIDATIONS = {
    "epoch": {},
    "fraction": {"val_check_interval": 0.5},
    "batches": {"val_check_interval": 4},
    "over epochs": {"val_check_interval": 7, "check_val_every_n_epoch": None},
}
EXTRAS: dict[str, dict[str, Any]] = {
    "clipping": {"gradient_clip_val": 0.1},
    "clipping by value": {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"},
    "EMA": {"extra": [lambda: EMAWeightAveraging(decay=0.5)]},
    "SWA": {"extra": [lambda: StochasticWeightAveraging(0.01, swa_epoch_start=1)]},
    "accumulation by epoch": {"extra": [lambda: GradientAccumulationScheduler({0: 4, 1: 1, 2: 3})]},
    "few steps": {"max_steps": 11, "max_epochs": -1},
    "fast_dev_run": {"fast_dev_run": 5},
}
QUICK = [(1, "over epochs"), (3, "epoch"), (4, "epoch"), (4, "fraction"), (7, "over epochs")]
SLOW = [(a, v) for a in (1, 3, 4, 7) for v in VALIDATIONS if (a, v) not in QUICK]
GRID = [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)]


@pytest.mark.parametrize(("accumulate", "validation"), GRID)
def test_every_hook_as_with_auto(device: str, accumulate: int, validation: str) -> None:
    options = VALIDATIONS[validation] | {"accumulate_grad_batches": accumulate}
    expected = fit("auto", CALLBACK_HOOKS, module_hooks=True, **options)
    calls = Counter(event[1] for event in expected["events"] if event[0] == "callback")
    assert calls["on_train_batch_end"] == calls["on_after_backward"] == 27
    assert calls["on_before_optimizer_step"] == 3 * -(-9 // accumulate)
    for strategy in (RehearsedStrategy(), CUDAGraphStrategy(without_gpu="auto")):
        same(expected, fit(strategy, CALLBACK_HOOKS, module_hooks=True, **options))


@pytest.mark.parametrize("extra", EXTRAS)
def test_callbacks_of_lightning_as_with_auto(device: str, extra: str) -> None:
    expected = fit("auto", CALLBACK_HOOKS, module_hooks=True, **EXTRAS[extra])
    same(expected, fit(RehearsedStrategy(), CALLBACK_HOOKS, module_hooks=True, **EXTRAS[extra]))


@pytest.mark.parametrize(("accumulate", "validation"), GRID)
def test_several_steps_per_turn_count_the_same(
    device: str, accumulate: int, validation: str
) -> None:
    options = VALIDATIONS[validation] | {"accumulate_grad_batches": accumulate}
    within = {"fraction": 4 % accumulate, "batches": 4 % accumulate, "over epochs": accumulate - 1}
    if within.get(validation):
        with pytest.raises(ValueError, match=r"a multiple of --trainer\.accumulate_grad_batches"):
            fit(RehearsedStrategy(steps_per_turn=5), CHUNK_HOOKS, module_hooks=False, **options)
        return
    expected = fit("auto", CHUNK_HOOKS, module_hooks=False, **options)
    for steps in (2, 100):
        got = fit(
            RehearsedStrategy(steps_per_turn=steps), CHUNK_HOOKS, module_hooks=False, **options
        )
        same(expected, got)


@pytest.mark.parametrize("extra", ["clipping", "accumulation by epoch", "few steps"])
def test_several_steps_per_turn_beside_callbacks_of_lightning(device: str, extra: str) -> None:
    expected = fit("auto", CHUNK_HOOKS, module_hooks=False, **EXTRAS[extra])
    strategy = RehearsedStrategy(steps_per_turn=5)
    same(expected, fit(strategy, CHUNK_HOOKS, module_hooks=False, **EXTRAS[extra]))


@pytest.mark.parametrize("hook", [*BATCH_HOOKS, *STEP_HOOKS])
def test_several_steps_per_turn_refuse_a_hook_of_each_batch(device: str, hook: str) -> None:
    with pytest.raises(ValueError, match=rf"callback overrides {hook}.*--trainer.strategy auto"):
        fit(RehearsedStrategy(steps_per_turn=5), [hook], module_hooks=False)


@pytest.mark.parametrize("extra", ["EMA", "SWA"])
def test_several_steps_per_turn_refuse_averages(device: str, extra: str) -> None:
    strategy = RehearsedStrategy(steps_per_turn=5)
    if extra == "EMA":
        with pytest.raises(ValueError, match="EMAWeightAveraging overrides on_train_batch_end"):
            fit(strategy, [], module_hooks=False, **EXTRAS[extra])
    else:  # acts between epochs only
        expected = fit("auto", [], module_hooks=False, **EXTRAS[extra])
        same(expected, fit(strategy, [], module_hooks=False, **EXTRAS[extra]))


@pytest.mark.parametrize("owner", ["optimizer_step", "on_after_backward", "lr_scheduler_step"])
def test_several_steps_per_turn_refuse_a_hook_of_the_module(device: str, owner: str) -> None:
    module = recording(MNISTMLP, [owner], "Mine")()
    trainer = quiet_trainer(strategy=RehearsedStrategy(steps_per_turn=5), max_epochs=1)
    with pytest.raises(ValueError, match=f"Mine overrides {owner}"):
        trainer.fit(module, datamodule=DigitsDataModule())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("gradient", None),
        ("unfreeze", None),
        ("betas", None),
        ("optimizer_zero_grad", "Changes overrides optimizer_zero_grad"),
        ("batch_idx", "it reads batch_idx"),
        ("current_epoch", "it reads current_epoch"),
    ],
)
def test_what_hooks_change_has_its_effect(device: str, change: str, message: str | None) -> None:
    class Changes(MNISTMLP):
        def __init__(self) -> None:
            super().__init__(hidden=(8,))
            if change == "unfreeze":
                next(self.parameters()).requires_grad_(False)

        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            if change == "batch_idx":
                loss = loss * (1 + batch_idx)
            return loss * (self.current_epoch + 1) if change == "current_epoch" else loss

        def on_after_backward(self) -> None:
            if change == "gradient" and self.global_step % 2:
                for index, parameter in enumerate(self.parameters()):
                    if index % 2:
                        parameter.grad.mul_(0.5)
                    else:
                        parameter.grad = parameter.grad * 0.5

        def on_train_epoch_start(self) -> None:
            if self.current_epoch == 1:
                next(self.parameters()).requires_grad_(True)

        def on_before_optimizer_step(self, optimizer) -> None:
            if change == "betas":
                optimizer.param_groups[0]["betas"] = (0.9 - self.global_step / 100, 0.99)

    if change == "optimizer_zero_grad":
        Changes.optimizer_zero_grad = lambda self, *args: None  # type: ignore[method-assign]

    def weights(strategy: Any) -> list[torch.Tensor]:
        torch.manual_seed(0)
        module = Changes()
        trainer = quiet_trainer(strategy=strategy, max_epochs=3)
        trainer.fit(module, datamodule=DigitsDataModule(batch_size=150))
        return [p.detach().cpu() for p in module.parameters()]

    if message:
        with pytest.raises(ValueError, match=message):
            weights(RehearsedStrategy())
        return
    for left, right in zip(weights(RehearsedStrategy()), weights("auto"), strict=True):
        torch.testing.assert_close(left, right, atol=2e-3, rtol=2e-3)


def test_only_configs_for_a_gpu_name_a_strategy() -> None:
    trainers = {
        path.stem: yaml.safe_load(path.read_text()).get("trainer", {})
        for path in (ROOT / "configs").glob("*.yaml")
    }
    named = {
        name: trainer["strategy"] for name, trainer in trainers.items() if "strategy" in trainer
    }
    assert set(named) == {"mnist_fast", "mnist_cnn_fast", "mnist_cnn_best", "mini_gpt_shakespeare"}
    for strategy in named.values():
        assert strategy["class_path"] == "training.strategies.CUDAGraphStrategy"
        assert CUDAGraphStrategy(**strategy["init_args"]).without_gpu == "auto"
