"""Uses what was trained: reads ``models/`` and nothing of the training code."""

from inference.images.classifier import Classifier, Prediction
from inference.load import load
from inference.model import Model

__all__ = ["Classifier", "Model", "Prediction", "load"]
