"""LightningDataModules: what is read, how it is split, how batches reach the device."""

from datamodules.curve import CurveDataModule
from datamodules.digits import DigitsDataModule
from datamodules.dropout_study import DropoutStudyDataModule
from datamodules.gaussians import GaussiansDataModule
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
    "CharTextDataModule",
    "CharTokenizer",
    "CurveDataModule",
    "DigitsDataModule",
    "DropoutStudyDataModule",
    "GaussiansDataModule",
    "ImageDataModule",
    "InstructionDataModule",
    "LineDataModule",
    "MNISTDataModule",
    "ResidentLoader",
    "SmallDataModule",
    "WindowLoader",
    "WordPairsDataModule",
]
