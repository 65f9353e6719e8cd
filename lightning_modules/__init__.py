"""One LightningModule per concept of the course."""

from lightning_modules.classifier import ImageClassifier
from lightning_modules.mini_gpt import MiniGPT
from lightning_modules.mnist_cnn import MNISTCNN
from lightning_modules.mnist_mlp import MNISTMLP

__all__ = ["MNISTCNN", "MNISTMLP", "ImageClassifier", "MiniGPT"]
