"""``strategy: cuda_graph``: the training step of any plain LightningModule as CUDA graphs."""

import torch
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy, StrategyRegistry

from training.strategies.graph_steps import GraphSteps


class CUDAGraphStrategy(GraphSteps, SingleDeviceStrategy):
    """One GPU; forward, backward and optimizer step are replays of CUDA graphs.

    A ``LightningModule`` needs no change: a ``training_step`` that returns a loss and logs tensors,
    and one optimizer. Hooks, callbacks, learning-rate schedules, gradient clipping, accumulation,
    bf16 and checkpoints work as without it, and a checkpoint of a graphed run continues ungraphed
    and the other way round. The Python code of ``training_step`` runs only until it is captured.

    With ``steps_per_turn`` above 1 the Trainer's loop turns once for several optimizer steps, each
    one graph from gather to optimizer, which pays for nets whose step takes less time on the GPU
    than Lightning's loop takes on the host. It needs data that is resident on the device, hooks
    between the steps are refused by name, and callbacks are called once per turn.

    Args:
        steps_per_turn: most optimizer steps per turn of the Trainer's loop.
        warmup_steps: optimizer steps without a graph before the capture; they train as well.
        without_gpu: ``error`` refuses to run on a CPU, ``auto`` runs Lightning's own loop there.

    Raises:
        ValueError: there is no GPU; or the module, the loader or the optimizer cannot be captured.

    Example::

        trainer:
          strategy: cuda_graph
    """

    strategy_name = "cuda_graph"

    @property
    def parallel_devices(self) -> list[torch.device]:
        return []

    @parallel_devices.setter
    def parallel_devices(self, devices: list[torch.device]) -> None:
        """Takes the device that ``accelerator`` and ``devices`` of the Trainer chose."""
        if len(devices) > 1:
            raise ValueError(
                f"strategy {self.strategy_name} is for one device; with several take "
                "--trainer.strategy cuda_graph_ddp, or ddp where there is no GPU"
            )
        self._check_device(devices[0])
        self._root_device = devices[0]


class CUDAGraphDDPStrategy(GraphSteps, DDPStrategy):
    """The same on several GPUs: the gradients are averaged over NCCL within a graph.

    Args:
        steps_per_turn: as for :class:`CUDAGraphStrategy`.
        warmup_steps: as for :class:`CUDAGraphStrategy`.
        without_gpu: as for :class:`CUDAGraphStrategy`.
    """

    strategy_name = "cuda_graph_ddp"

    def configure_ddp(self) -> None:
        """No wrapper where steps are captured: all begin with the weights of the first process."""
        self._check_device(self.root_device)
        if not self.captures:
            super().configure_ddp()
            return
        for tensor in [*self.lightning_module.parameters(), *self.lightning_module.buffers()]:
            torch.distributed.broadcast(tensor.detach(), src=0)


def register() -> None:
    """Makes the strategies known to ``Trainer(strategy=NAME)`` and to the command line."""
    for strategy in (CUDAGraphStrategy, CUDAGraphDDPStrategy):
        if strategy.strategy_name not in StrategyRegistry:
            StrategyRegistry.register(strategy.strategy_name, strategy, strategy.__doc__)


register()
