"""Digits printed in many fonts, and a net that reads them."""

from my_project.data import PrintedDigits
from my_project.module import Classifier
from my_project.net import Net

__all__ = ["Classifier", "Net", "PrintedDigits"]
