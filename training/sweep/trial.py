"""One trial: a fit with each seed, given up where its first one lags behind."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import lightning.pytorch as pl
import optuna
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna_integration import PyTorchLightningPruningCallback

from callbacks import HParams
from callbacks.export_best import ExportBest
from callbacks.finite_loss import NonFiniteLoss
from training.cli import TrainCLI
from training.sweep.space import Sweep, decoded

# What a trial may die of and others need not: its parameters are the cause.
FAILURES = (NonFiniteLoss, torch.OutOfMemoryError)
# No page per trial on the terminal; none of it changes what is trained.
_QUIET = ("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")


class MetricCheck(pl.Callback):
    """Refuses a run without validation data, and one that does not log the metric there.

    Raises:
        ValueError: names what is logged.
    """

    def __init__(self, metric: str) -> None:
        self.metric = metric

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not sum(trainer.num_val_batches):
            raise ValueError(
                f"there is no validation data to log {self.metric} on; a sweep needs some, such as "
                "data.init_args.val_size above 0"
            )

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.metric not in trainer.callback_metrics:
            logged = ", ".join(sorted(trainer.callback_metrics)) or "nothing"
            raise ValueError(
                f"the sweep's metric {self.metric!r} is not logged; the validation logs {logged}"
            )


class TrialCLI(TrainCLI):
    """A fit of a trial.

    It writes no artifact, and lists what varies on TensorBoard's HParams page.

    Args:
        args: options of the fit.
        metric: what the trial is judged by.
        values: what varies, by dotted names.
        pruning: Optuna's callback, or None for a fit that runs to its end.
    """

    def __init__(
        self,
        args: Sequence[str],
        metric: str,
        values: dict[str, Any],
        pruning: PyTorchLightningPruningCallback | None,
    ) -> None:
        self._metric = metric
        self._values = values
        self._pruning = pruning
        super().__init__(["fit", *args])

    def before_fit(self) -> None:
        listed: list[pl.Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        kept = [one for one in listed if not isinstance(one, ExportBest)]
        for callback in kept:
            if isinstance(callback, HParams):
                callback.values = self._values
        # Before the checkpoints, which would be the ones to miss an unknown metric.
        first = [MetricCheck(self._metric), *([self._pruning] if self._pruning else [])]
        self.trainer.callbacks = [*first, *kept]

    @property
    def score(self) -> float:
        """The metric at its best epoch, whose weights ``best.ckpt`` holds."""
        callback = self.trainer.checkpoint_callback
        best = callback.best_model_score if isinstance(callback, ModelCheckpoint) else None
        if best is None:
            raise ValueError(
                f"no checkpoint was scored by {self._metric}; a sweep needs the key checkpoint and "
                "whole epochs"
            )
        return float(best)


def run_name(number: int, seed: int) -> str:
    """Name of the folder of a trial's fit."""
    return f"trial_{number:03d}_seed_{seed}"


def run_trial(trial: optuna.Trial, sweep: Sweep, folder: str) -> float:
    """The mean over the seeds; each score is kept in the trial's ``scores``.

    Args:
        trial: a running one.
        sweep: what varies, and the experiment.
        folder: of the study's runs, ``logs/sweeps/NAME``.

    Raises:
        TrialPruned: the first seed lags behind.
    """
    values = decoded({name: _suggest(trial, name, one) for name, one in sweep.space.items()})
    root, _, name = folder.rpartition("/")
    scores: dict[str, float] = {}
    for seed in sweep.seeds:
        logger = {"save_dir": root, "name": name, "version": run_name(trial.number, seed)}
        prunes = sweep.pruning is not None and seed == sweep.seeds[0]
        cli = TrialCLI(
            [
                *sweep.arguments(values, seed),
                *(f"--trainer.logger.init_args.{key}={value}" for key, value in logger.items()),
                *_QUIET,
            ],
            sweep.metric,
            values,
            PyTorchLightningPruningCallback(trial, sweep.metric) if prunes else None,
        )
        scores[str(seed)] = cli.score
        trial.set_user_attr("scores", scores)
    return fmean(scores.values())


def _suggest(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(
            name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    assert isinstance(distribution, FloatDistribution)
    return trial.suggest_float(
        name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
    )
