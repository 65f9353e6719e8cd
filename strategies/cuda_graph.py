"""``strategy: cuda_graph``: the optimiser steps of any plain LightningModule as CUDA graphs."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy, StrategyRegistry
from torch import Tensor
from torch.optim import Optimizer

from callbacks.lr_scheduler import LRSchedulerCallback
from strategies.stepper import RowLoader, Stepper


class Chunk(NamedTuple):
    """What the Trainer sees as one batch: row numbers (m * B,) of m batches."""

    rows: Tensor
    batches: int


class ChunkLoader:
    """Gives the Trainer's loop several batches at a time and keeps its counts as if one by one."""

    def __init__(self, loader: RowLoader, trainer: pl.Trainer) -> None:
        self.loader = loader
        self.trainer = trainer

    def __len__(self) -> int:
        return len(self.loader)

    @property
    def batch_sampler(self) -> Any:
        """Where Lightning looks for ``set_epoch``."""
        return getattr(self.loader, "batch_sampler", None)

    def __iter__(self) -> Iterator[Chunk]:
        for rows in self.loader.chunks(self._room):
            self._count(len(rows) - 1)
            yield Chunk(rows.reshape(-1), len(rows))

    def state_dict(self) -> dict[str, Any]:
        return self.loader.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.loader.load_state_dict(state)

    def _room(self) -> int:
        """Batches until something has to happen in between: a log, a validation or the end."""
        trainer, accumulate = self.trainer, self.trainer.accumulate_grad_batches
        steps = trainer.log_every_n_steps or 1
        steps -= trainer.global_step % steps
        if trainer.max_steps > 0:
            steps = min(steps, trainer.max_steps - trainer.global_step)
        ready = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        room = min(steps * accumulate, trainer.fit_loop.max_batches - ready)
        validate = trainer.val_check_batch
        if validate is not None and math.isfinite(validate):
            room = min(room, validate - ready % validate)
        return max(1, int(room))

    def _count(self, more: int) -> None:
        """Counts the batches of a chunk but one, which the loop counts itself."""
        loop = self.trainer.fit_loop
        loop._data_fetcher.fetched += more  # type: ignore[union-attr]
        progress = loop.epoch_loop.batch_progress
        for counts in (progress.current, progress.total):
            for name in ("ready", "started", "processed", "completed"):
                setattr(counts, name, getattr(counts, name) + more)


class GraphSteps:
    """What both strategies share: chunks in, optimiser steps out."""

    lightning_module: Any
    strategy_name: str
    root_device: torch.device

    def __init__(
        self,
        steps_per_replay: int = 10,
        warmup_steps: int = 2,
        without_gpu: str = "error",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if steps_per_replay < 0 or warmup_steps < 1:
            raise ValueError("steps_per_replay must be 0 or more, warmup_steps at least 1")
        if without_gpu not in ("error", "auto"):
            raise ValueError(f"without_gpu must be error or auto, got {without_gpu!r}")
        self.steps_per_replay = steps_per_replay
        self.warmup_steps = warmup_steps
        self.without_gpu = without_gpu
        self._stepper: Stepper | None = None
        self._loader: RowLoader | None = None
        self._extra_steps = 0

    def _check_device(self, device: torch.device) -> None:
        captures = self.steps_per_replay > 0
        if captures and device.type != "cuda" and self.without_gpu == "error":
            raise ValueError(
                f"strategy cuda_graph needs a CUDA GPU and this run is on the {device.type}; take "
                "it out, or write cuda_graph_auto, which takes the steps one by one there"
            )

    def process_dataloader(self, dataloader: Any) -> Any:
        trainer = self.lightning_module.trainer
        if not trainer.training:
            return dataloader
        if not (hasattr(dataloader, "chunks") and hasattr(dataloader, "gather")):
            raise ValueError(
                f"strategy cuda_graph needs the data on the device, and the train loader is a "
                f"{type(dataloader).__name__}; set --data.init_args.resident true"
            )
        self._loader = dataloader
        return ChunkLoader(dataloader, trainer)

    def batch_to_device(self, batch: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(batch, Chunk):
            return batch
        return super().batch_to_device(batch, *args, **kwargs)  # type: ignore[misc]

    def training_step(self, chunk: Chunk, *args: Any) -> Any:
        trainer = self.lightning_module.trainer
        if self._stepper is None:
            self._stepper = self._build_stepper(trainer)
        steps = math.ceil(chunk.batches / trainer.accumulate_grad_batches)
        result = self._stepper.run(
            chunk.rows.view(chunk.batches, -1), _learning_rates(trainer, steps)
        )
        self._extra_steps = steps - 1
        return result

    def backward(self, closure_loss: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return closure_loss  # done within the step

    def optimizer_step(self, optimizer: Optimizer, closure: Any, *args: Any, **kwargs: Any) -> Any:
        loss = closure()
        loop = self.lightning_module.trainer.fit_loop.epoch_loop
        progress = loop.automatic_optimization.optim_progress.optimizer.step
        for counts in (progress.current, progress.total):
            counts.ready += self._extra_steps
            counts.completed += self._extra_steps
        loop._batches_that_stepped += self._extra_steps
        return loss

    def teardown(self) -> None:
        self._stepper = self._loader = None
        super().teardown()  # type: ignore[misc]

    def _build_stepper(self, trainer: pl.Trainer) -> Stepper:
        module = trainer.lightning_module
        if not module.automatic_optimization or len(trainer.optimizers) != 1:
            raise ValueError(
                f"strategy cuda_graph steps one optimiser by itself, and {type(module).__name__} "
                "optimises by hand or with several; take the strategy out"
            )
        if any(config.interval == "step" for config in trainer.lr_scheduler_configs):
            raise ValueError(
                "strategy cuda_graph takes several steps between two looks at a scheduler of "
                "configure_optimizers; use a callback such as callbacks.OneCycle instead"
            )
        validate, accumulate = trainer.val_check_batch, trainer.accumulate_grad_batches
        if (
            validate is not None
            and math.isfinite(validate)
            and (validate < trainer.fit_loop.max_batches and validate % accumulate)
        ):
            raise ValueError(
                f"strategy {self.strategy_name} cannot validate within an optimiser step: make "
                "--trainer.val_check_interval a multiple of --trainer.accumulate_grad_batches"
            )
        if isinstance(trainer.optimizers[0], torch.optim.LBFGS):
            raise ValueError("LBFGS calls its steps itself; take another strategy or optimiser")
        if getattr(trainer.precision_plugin, "scaler", None) is not None:
            raise ValueError(
                "strategy cuda_graph cannot scale losses as 16-mixed does; use "
                "--trainer.precision bf16-mixed"
            )
        assert self._loader is not None
        unroll = self.steps_per_replay if self.root_device.type == "cuda" else 0
        return Stepper(trainer, self._loader, unroll, self.warmup_steps)


class CUDAGraphStrategy(GraphSteps, SingleDeviceStrategy):
    """One GPU; the Trainer's loop turns once a log interval, the GPU does the steps in between.

    A ``LightningModule`` needs no change: a ``training_step`` that returns a loss and logs tensors,
    one optimiser, and data that is resident on the device. Learning-rate callbacks, gradient
    clipping, accumulation, bf16 and checkpoints work as without it, and a checkpoint of a graphed
    run continues ungraphed and the other way round. Callbacks are called once for all the steps
    between two logs.

    Args:
        steps_per_replay: optimiser steps in one graph. More saves launches and costs capture time.
            With 0 nothing is captured: the steps are taken eagerly, on any device.
        warmup_steps: steps that are taken eagerly before the capture; they train like all others.
        without_gpu: ``error`` refuses to run on a CPU; ``auto`` takes the steps eagerly there.

    Raises:
        ValueError: there is no GPU; or the module, the loader or the optimiser cannot be captured.

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
                "--trainer.strategy cuda_graph_ddp, or cuda_graph_ddp_auto where there is no GPU"
            )
        self._check_device(devices[0])
        self._root_device = devices[0]


class CUDAGraphDDPStrategy(GraphSteps, DDPStrategy):
    """The same on several GPUs: the gradients are averaged over NCCL within the graph.

    Args:
        steps_per_replay: as for :class:`CUDAGraphStrategy`.
        warmup_steps: as for :class:`CUDAGraphStrategy`.
        without_gpu: as for :class:`CUDAGraphStrategy`.
    """

    strategy_name = "cuda_graph_ddp"

    def configure_ddp(self) -> None:
        """No wrapper: its hooks are not for a graph. All begin with the first one's weights."""
        self._check_device(self.root_device)
        for tensor in [*self.lightning_module.parameters(), *self.lightning_module.buffers()]:
            torch.distributed.broadcast(tensor.detach(), src=0)


def _learning_rates(trainer: pl.Trainer, steps: int) -> list[list[float]]:
    for callback in trainer.callbacks:
        if isinstance(callback, LRSchedulerCallback):
            return callback.take(steps)
    return [[float(group["lr"]) for group in trainer.optimizers[0].param_groups]] * steps


def register() -> None:
    """Makes the strategies known to ``Trainer(strategy=NAME)`` and to the command line.

    ``cuda_graph`` and ``cuda_graph_ddp`` insist on a GPU, with ``_auto`` behind the name they take
    the steps eagerly where there is none; ``multi_step`` and ``multi_step_ddp`` take them eagerly
    everywhere.
    """
    one, several = CUDAGraphStrategy, CUDAGraphDDPStrategy
    named: tuple[tuple[str, type, dict[str, Any]], ...] = (
        ("cuda_graph", one, {}),
        ("cuda_graph_auto", one, {"without_gpu": "auto"}),
        ("cuda_graph_ddp", several, {}),
        ("cuda_graph_ddp_auto", several, {"without_gpu": "auto"}),
        ("multi_step", one, {"steps_per_replay": 0}),
        ("multi_step_ddp", several, {"steps_per_replay": 0}),
    )
    for name, strategy, arguments in named:
        if name not in StrategyRegistry:
            StrategyRegistry.register(name, strategy, strategy.__doc__, **arguments)


register()
