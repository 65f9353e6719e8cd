"""LightningDataModules: what is read, how it is split, how batches reach the device."""

from datamodules.cifar10 import CIFAR10DataModule
from datamodules.curve import CurveDataModule
from datamodules.digits import DigitsDataModule
from datamodules.dropout_study import DropoutStudyDataModule
from datamodules.fashion_mnist import FashionMNISTDataModule
from datamodules.gaussians import GaussiansDataModule
from datamodules.image_base import BaseImageDataModule
from datamodules.image_folder import ImageFolderDataModule
from datamodules.images import ImageDataModule
from datamodules.instruction import InstructionDataModule
from datamodules.line import LineDataModule
from datamodules.mnist import MNISTDataModule
from datamodules.resident import ResidentLoader
from datamodules.small import SmallDataModule
from datamodules.text import CharTextDataModule
from datamodules.tokenizers import BPETokenizer, CharTokenizer
from datamodules.windows import WindowLoader
from datamodules.word_pairs import WordPairsDataModule

__all__ = [
    "BPETokenizer",
    "BaseImageDataModule",
    "CIFAR10DataModule",
    "CharTextDataModule",
    "CharTokenizer",
    "CurveDataModule",
    "DigitsDataModule",
    "DropoutStudyDataModule",
    "FashionMNISTDataModule",
    "GaussiansDataModule",
    "ImageDataModule",
    "ImageFolderDataModule",
    "InstructionDataModule",
    "LineDataModule",
    "MNISTDataModule",
    "ResidentLoader",
    "SmallDataModule",
    "WindowLoader",
    "WordPairsDataModule",
]
