"""Uses what was trained: reads ``models/`` and nothing of the training code."""

from inference.classifier import Classifier, Prediction
from inference.model import Model, load
from inference.pipeline import MNISTInferencePipeline

__all__ = ["Classifier", "MNISTInferencePipeline", "Model", "Prediction", "load"]
