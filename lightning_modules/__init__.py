"""One LightningModule per concept of the course."""

from lightning_modules.binary_classifier import BinaryClassifier
from lightning_modules.classifier import ImageClassifier
from lightning_modules.curve_regressor import CurveRegressor
from lightning_modules.gpt2_lora import GPT2LoRA
from lightning_modules.mini_gpt import MiniGPT
from lightning_modules.mnist_cnn import MNISTCNN
from lightning_modules.mnist_fast import MNISTFast
from lightning_modules.mnist_mlp import MNISTMLP
from lightning_modules.mnist_upright import MNISTUpright
from lightning_modules.regressor import LineRegressor, Regressor
from lightning_modules.transfer_learner import TransferLearner
from lightning_modules.word_similarity import WordSimilarity

__all__ = [
    "MNISTCNN",
    "MNISTMLP",
    "BinaryClassifier",
    "CurveRegressor",
    "GPT2LoRA",
    "ImageClassifier",
    "LineRegressor",
    "MNISTFast",
    "MNISTUpright",
    "MiniGPT",
    "Regressor",
    "TransferLearner",
    "WordSimilarity",
]
