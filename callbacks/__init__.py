"""Callbacks: one class, one file, one job."""

from callbacks.best_and_last import BestAndLast
from callbacks.confusion_matrix import ConfusionMatrixFigure
from callbacks.export import Export
from callbacks.filters import FirstLayerFilters
from callbacks.finite_loss import FiniteLoss
from callbacks.hparams import HParams
from callbacks.plain_progress import PlainProgress
from callbacks.predictions import PredictionFigures
from callbacks.rng_state import RNGState
from callbacks.throughput import Throughput

__all__ = [
    "BestAndLast",
    "ConfusionMatrixFigure",
    "Export",
    "FiniteLoss",
    "FirstLayerFilters",
    "HParams",
    "PlainProgress",
    "PredictionFigures",
    "RNGState",
    "Throughput",
]
