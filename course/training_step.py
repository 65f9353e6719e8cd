"""Step 7: a line from five points, by a training loop written out and by the Trainer."""

import inspect
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from callbacks.fit_figure import draw_fit
from course.catalogue import show
from course.runner import Run
from course.schedules import read
from lightning_modules import LineRegressor
from lightning_modules.evaluate import evaluate
from training.cli import TrainCLI

EPOCHS = 1000
SEEDS = 10
# What each line of the loop becomes in a LightningModule.
HOOKS = (
    ("optimizer = torch.optim.Adam(...)", "configure_optimizers"),
    ("for inputs, targets in batches:", "Trainer.fit over train_dataloader"),
    ("  optimizer.zero_grad()", "optimizer_zero_grad"),
    ("  predicted = net(inputs)", "training_step"),
    ("  loss = F.mse_loss(predicted, targets)", "training_step, which returns the loss"),
    ("  loss.backward()", "backward"),
    ("  optimizer.step()", "optimizer_step"),
    ("net.eval() and torch.no_grad()", "Trainer.test and Trainer.predict"),
    ("tensor.to(device)", "transfer_batch_to_device"),
)


def train_one_step(
    net: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor, targets: Tensor
) -> Tensor:
    optimizer.zero_grad()  # gradients add up otherwise
    predicted = net(inputs)
    loss = F.mse_loss(predicted, targets)
    loss.backward()  # writes the gradient of the loss into every parameter.grad
    optimizer.step()  # changes every parameter by its .grad
    return loss.detach()


def line(run: Run) -> dict[str, Any]:
    """y = 2x + 1: the loop by hand, what autograd records, and the same losses by the Trainer."""
    # Every loss, not one in fifty: they are compared below.
    cli = run.fit("line_regressor", "--trainer.log_every_n_steps=1")
    inputs, targets = cli.datamodule.splits["train"]
    asked, _ = cli.datamodule.splits["test"]
    predicted = evaluate(cli.model, asked)
    run.keep(_picture(cli), "fit")

    print("\nThe training step by hand:\n\n" + inspect.getsource(train_one_step))
    nets, losses = zip(*(by_hand(seed, inputs, targets) for seed in range(SEEDS)), strict=True)
    at_ten = [evaluate(net, asked)[-1].item() for net in nets]
    print(f"x = 10 by hand, seeds 0 to {SEEDS - 1}: {[round(value, 4) for value in at_ten]}")
    for epoch in range(0, EPOCHS, 200):
        print(f"epoch {epoch:>4}: loss {losses[0][epoch]:.4f}")
    by_trainer = [loss for _, loss in read(run, "run", "train/loss")]
    hooks = hooks_of_a_step(inputs, targets)
    print("\nThe same lines under the Trainer:")
    for code, hook in HOOKS:
        print(f"  {code:<42}{hook}")
    points = zip(asked.flatten().tolist(), predicted.flatten().tolist(), strict=True)
    return {
        **{f"x = {x:g}": y for x, y in points},
        "x = 10, furthest from 21 of ten seeds": max(abs(value - 21) for value in at_ten),
        "grad_fn of the loss": show_graph(nets[0], inputs, targets),
        "losses by hand equal the Trainer's": sum(
            hand == trainer for hand, trainer in zip(losses[0], by_trainer, strict=True)
        ),
        "hooks of a step, in order": hooks,
    }


def by_hand(seed: int, inputs: Tensor, targets: Tensor) -> tuple[nn.Module, list[float]]:
    """The trained net and the loss of every step."""
    torch.manual_seed(seed)
    model = LineRegressor().to(inputs.device)
    optimizer = torch.optim.Adam(model.net.parameters(), lr=0.01, fused=True)
    losses = [train_one_step(model.net, optimizer, inputs, targets) for _ in range(EPOCHS)]
    return model.net, torch.stack(losses).tolist()


def show_graph(net: nn.Module, inputs: Tensor, targets: Tensor) -> str:
    """Prints the operations that ``backward`` will go through; returns the last one's name."""
    loss = F.mse_loss(net(inputs), targets)
    print(f"loss = {show(loss.item())}")
    level: list[Any] = [loss.grad_fn]
    names: list[str] = []
    while level:
        names.append(", ".join(sorted({function.name().split("::")[-1] for function in level})))
        level = [next_ for function in level for next_, _ in function.next_functions if next_]
    print("grad_fn and what it leads to, back to the parameters:", *names, sep="\n  <- ")
    return names[0]


def hooks_of_a_step(inputs: Tensor, targets: Tensor) -> list[str]:
    """The hooks that the Trainer calls for one batch, as it finishes or enters them."""
    called: list[str] = []

    class Recorder(LineRegressor):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            called.append("training_step")
            return super().training_step(batch, batch_idx)

        def optimizer_zero_grad(self, *arguments: Any, **options: Any) -> None:
            called.append("optimizer_zero_grad")
            super().optimizer_zero_grad(*arguments, **options)

        def backward(self, loss: Tensor, *arguments: Any, **options: Any) -> None:
            called.append("backward")
            super().backward(loss, *arguments, **options)

        def optimizer_step(self, *arguments: Any, **options: Any) -> None:
            # Its closure runs the three others before the optimizer takes its step.
            super().optimizer_step(*arguments, **options)
            called.append("optimizer_step")

    batch = torch.utils.data.TensorDataset(inputs.cpu(), targets.cpu())
    trainer = pl.Trainer(
        max_steps=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Recorder(), torch.utils.data.DataLoader(batch, batch_size=len(inputs)))
    return called


def _picture(cli: TrainCLI) -> Any:
    x, y = (tensor.cpu() for tensor in cli.datamodule.splits["train"])
    wide = torch.linspace(0, float(cli.datamodule.splits["test"][0].max()), 201).unsqueeze(1)
    return draw_fit(x, y, {"net": (wide, evaluate(cli.model, wide))})
