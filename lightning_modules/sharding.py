"""Weights shared out over the processes of a run, for a model that one GPU cannot hold."""

from collections.abc import Iterable

import lightning.pytorch as pl
from lightning.pytorch.strategies import FSDPStrategy
from torch import nn
from torch.distributed.fsdp import FSDPModule, fully_shard


def shard(module: pl.LightningModule, net: nn.Module, blocks: Iterable[nn.Module]) -> None:
    """Shares out ``net`` if the run's strategy is Lightning's ``ModelParallelStrategy``.

    To be called from ``configure_model``. Each block is a unit: its weights are put together while
    it computes, and let go after it. Parameters keep their shapes, so that optimisers which treat
    matrices apart from biases, and clipping by norm, do what they do on one GPU.

    Source: torch.distributed.fsdp.fully_shard (FSDP2).

    Args:
        module: the LightningModule, with its Trainer.
        net: what is called in its steps.
        blocks: the largest parts of ``net``.

    Raises:
        ValueError: the strategy is ``FSDPStrategy`` (FSDP1), whose parameters are flat; or the mesh
            asks for tensor parallelism.
    """
    if module._trainer is not None and isinstance(module.trainer.strategy, FSDPStrategy):
        raise ValueError(
            "FSDPStrategy makes every parameter flat, and weight decay would miss the matrices; "
            "take lightning.pytorch.strategies.ModelParallelStrategy, see docs/scaling.md"
        )
    mesh = module.device_mesh
    if mesh is None or isinstance(net, FSDPModule):  # a test after a fit comes here again
        return
    if mesh["tensor_parallel"].size() > 1:
        raise ValueError(
            "the layers are not made for tensor parallelism: set "
            f"--trainer.strategy.init_args.data_parallel_size {mesh.size()} and "
            "--trainer.strategy.init_args.tensor_parallel_size 1"
        )
    for part in (*blocks, net):
        fully_shard(part, mesh=mesh["data_parallel"])
