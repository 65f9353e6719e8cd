"""The nets themselves: plain ``nn.Module``s that need torch and nothing else."""

from lightning_modules.nets.attention import SelfAttention
from lightning_modules.nets.cnn import CNN
from lightning_modules.nets.conv_net import ConvNet
from lightning_modules.nets.fast_cnn import FastCNN
from lightning_modules.nets.gpt import GPT, GPTConfig
from lightning_modules.nets.mlp import MLP
from lightning_modules.nets.moments import MomentNormalization
from lightning_modules.nets.transformer import Transformer, TransformerBlock

__all__ = [
    "CNN",
    "GPT",
    "MLP",
    "ConvNet",
    "FastCNN",
    "GPTConfig",
    "MomentNormalization",
    "SelfAttention",
    "Transformer",
    "TransformerBlock",
]
