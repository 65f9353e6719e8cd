"""LightningDataModules: what is read, how it is split, how batches reach the device."""

from datamodules.digits import DigitsDataModule
from datamodules.images import ImageDataModule
from datamodules.mnist import MNISTDataModule
from datamodules.resident import ResidentLoader
from datamodules.text import CharTextDataModule
from datamodules.tokenizers import BPETokenizer, CharTokenizer
from datamodules.windows import WindowLoader

__all__ = [
    "BPETokenizer",
    "CharTextDataModule",
    "CharTokenizer",
    "DigitsDataModule",
    "ImageDataModule",
    "MNISTDataModule",
    "ResidentLoader",
    "WindowLoader",
]
