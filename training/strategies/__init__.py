"""Strategies that replay the training step as CUDA graphs."""

from training.strategies.cuda_graph import CUDAGraphDDPStrategy, CUDAGraphStrategy

__all__ = ["CUDAGraphDDPStrategy", "CUDAGraphStrategy"]
