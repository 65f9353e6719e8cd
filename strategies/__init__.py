"""Strategies that replay the training step as CUDA graphs."""

from strategies.cuda_graph import CUDAGraphDDPStrategy, CUDAGraphStrategy

__all__ = ["CUDAGraphDDPStrategy", "CUDAGraphStrategy"]
