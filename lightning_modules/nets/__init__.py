"""The nets themselves: plain ``nn.Module``s that need torch and nothing else."""

from lightning_modules.nets.cnn import CNN
from lightning_modules.nets.fast_cnn import FastCNN
from lightning_modules.nets.mlp import MLP

__all__ = ["CNN", "MLP", "FastCNN"]
