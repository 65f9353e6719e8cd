"""Callbacks: one class, one file, one job."""

from callbacks.answers import Answers
from callbacks.attention_maps import AttentionMaps
from callbacks.baseline import Baseline
from callbacks.best_and_last import BestAndLast
from callbacks.compile import Compile
from callbacks.confusion_matrix import ConfusionMatrixFigure
from callbacks.cosine_annealing import CosineAnnealing
from callbacks.cpu_threads import CPUThreads
from callbacks.decision_boundary import DecisionBoundary
from callbacks.drift import Drift
from callbacks.embedding_projector import EmbeddingProjector
from callbacks.export import Export
from callbacks.export_text import ExportText
from callbacks.filters import FirstLayerFilters
from callbacks.finite_loss import FiniteLoss
from callbacks.fit_figure import FitFigure
from callbacks.hparams import HParams
from callbacks.learning_rate_log import LearningRateLog
from callbacks.lr_scheduler import LRSchedulerCallback
from callbacks.matmul_precision import MatmulPrecision
from callbacks.model_summary import LayerSummary
from callbacks.one_cycle import OneCycle
from callbacks.plain_progress import PlainProgress
from callbacks.predictions import PredictionFigures
from callbacks.reduce_lr_on_plateau import ReduceLROnPlateau
from callbacks.rng_state import RNGState
from callbacks.step_lr import StepLR
from callbacks.text_samples import TextSamples
from callbacks.throughput import Throughput
from callbacks.use_kernels import UseKernels
from callbacks.warmup_cosine import WarmupCosine

__all__ = [
    "Answers",
    "AttentionMaps",
    "Baseline",
    "BestAndLast",
    "CPUThreads",
    "Compile",
    "ConfusionMatrixFigure",
    "CosineAnnealing",
    "DecisionBoundary",
    "Drift",
    "EmbeddingProjector",
    "Export",
    "ExportText",
    "FiniteLoss",
    "FirstLayerFilters",
    "FitFigure",
    "HParams",
    "LRSchedulerCallback",
    "LayerSummary",
    "LearningRateLog",
    "MatmulPrecision",
    "OneCycle",
    "PlainProgress",
    "PredictionFigures",
    "RNGState",
    "ReduceLROnPlateau",
    "StepLR",
    "TextSamples",
    "Throughput",
    "UseKernels",
    "WarmupCosine",
]
