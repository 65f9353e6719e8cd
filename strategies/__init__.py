"""How the Trainer runs optimiser steps: several an iteration, on a GPU as a CUDA graph."""

from strategies.cuda_graph import CUDAGraphDDPStrategy, CUDAGraphStrategy

__all__ = ["CUDAGraphDDPStrategy", "CUDAGraphStrategy"]
