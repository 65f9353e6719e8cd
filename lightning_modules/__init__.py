"""One LightningModule per concept of the course.

A name is imported when it is asked for (PEP 562), so that ``lightning_modules.nets``, which needs
torch alone, can be used where Lightning is not installed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_modules.binary_classifier import BinaryClassifier
    from lightning_modules.classifier import ImageClassifier
    from lightning_modules.curve_regressor import CurveRegressor
    from lightning_modules.gpt2_lora import GPT2LoRA
    from lightning_modules.image_cnn import ImageCNN
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
    "ImageCNN",
    "ImageClassifier",
    "LineRegressor",
    "MNISTFast",
    "MNISTUpright",
    "MiniGPT",
    "Regressor",
    "TransferLearner",
    "WordSimilarity",
]
_MODULES = {
    "MNISTCNN": "mnist_cnn",
    "MNISTMLP": "mnist_mlp",
    "BinaryClassifier": "binary_classifier",
    "CurveRegressor": "curve_regressor",
    "GPT2LoRA": "gpt2_lora",
    "ImageCNN": "image_cnn",
    "ImageClassifier": "classifier",
    "LineRegressor": "regressor",
    "MNISTFast": "mnist_fast",
    "MNISTUpright": "mnist_upright",
    "MiniGPT": "mini_gpt",
    "Regressor": "regressor",
    "TransferLearner": "transfer_learner",
    "WordSimilarity": "word_similarity",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
