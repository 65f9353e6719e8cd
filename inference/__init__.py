"""Uses what was trained: reads ``models/`` and nothing of the training code."""

from inference.classifier import Classifier, Prediction
from inference.model import Model, load

__all__ = ["Classifier", "Model", "Prediction", "load"]
