"""The nets themselves: plain ``nn.Module``s that need torch and nothing else."""

from lightning_modules.nets.cnn import CNN
from lightning_modules.nets.gpt import GPT, GPTConfig
from lightning_modules.nets.mlp import MLP

__all__ = ["CNN", "GPT", "MLP", "GPTConfig"]
