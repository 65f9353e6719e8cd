"""LightningDataModules: what is read, how it is split, how batches reach the device."""

from datamodules.digits import DigitsDataModule
from datamodules.images import ImageDataModule
from datamodules.mnist import MNISTDataModule
from datamodules.resident import ResidentLoader

__all__ = ["DigitsDataModule", "ImageDataModule", "MNISTDataModule", "ResidentLoader"]
