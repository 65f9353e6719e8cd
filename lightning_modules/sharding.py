"""Weights sharded over the processes of a run, for a model that one GPU cannot hold."""

from collections.abc import Iterable

import lightning.pytorch as pl
from lightning.pytorch.strategies import FSDPStrategy
from torch import nn


def shard(module: pl.LightningModule, net: nn.Module, blocks: Iterable[nn.Module]) -> None:
    """Shards ``net`` if the run's strategy is Lightning's ``ModelParallelStrategy``.

    To be called from ``configure_model``. Each block is a unit: its weights are put together while
    it computes, and let go after it. Parameters keep their shapes, so that optimizers which treat
    matrices apart from biases, and clipping by norm, do what they do on one GPU.

    Source: torch.distributed.fsdp.fully_shard (FSDP2).

    Args:
        module: the LightningModule, with its Trainer.
        net: what is called in its steps.
        blocks: the largest parts of ``net``.

    Raises:
        ValueError: the strategy is ``FSDPStrategy`` (FSDP1), whose parameters are flat; it asks
            for tensor parallelism; or it writes checkpoints that no export can read.
    """
    strategy = None if module._trainer is None else module.trainer.strategy
    if isinstance(strategy, FSDPStrategy):
        raise ValueError(
            "FSDPStrategy makes every parameter flat, and weight decay would miss the matrices; "
            "take lightning.pytorch.strategies.ModelParallelStrategy, see docs/scaling.md"
        )
    mesh = module.device_mesh
    if mesh is None:
        return
    from torch.distributed.fsdp import FSDPModule, fully_shard  # seconds, which few runs need

    if isinstance(net, FSDPModule):  # a test after a fit comes here again
        return
    # Both are what ModelParallelStrategy does unless it is told otherwise.
    in_shards = getattr(strategy, "_save_distributed_checkpoint", False)
    if mesh["tensor_parallel"].size() > 1 or in_shards:
        raise ValueError(
            "the layers are not made for tensor parallelism, and a checkpoint must be one file: "
            f"set --trainer.strategy.init_args.data_parallel_size {mesh.size()}, "
            "--trainer.strategy.init_args.tensor_parallel_size 1 and "
            "--trainer.strategy.init_args.save_distributed_checkpoint false"
        )
    for part in (*blocks, net):
        fully_shard(part, mesh=mesh["data_parallel"])
    # TensorBoard's graph page is drawn from it by torch.jit.trace, which cannot follow these.
    module.example_input_array = None
