"""Step 11: three ways to keep a model."""

import importlib.util
from typing import Any

import torch

from course.runner import Run, Skipped
from lightning_modules import MNISTCNN
from lightning_modules.evaluate import evaluate


def saving(run: Run) -> dict[str, Any]:
    """Weights alone, weights as safetensors, and Lightning's whole checkpoint."""
    if not importlib.util.find_spec("safetensors"):
        raise Skipped("needs safetensors: make setup EXTRAS=dev,export")
    from safetensors.torch import load_file, save_file

    epochs = 2 if run.reduced else 20
    cli = run.fit("digits_cnn", f"--trainer.max_epochs={epochs}")
    # Channels-last weights are no plain rows of numbers, which safetensors asks for.
    weights = {name: value.cpu().contiguous() for name, value in cli.model.state_dict().items()}
    torch.save(weights, run.folder / "model.pth")
    save_file(weights, run.folder / "model.safetensors")
    cli.trainer.save_checkpoint(run.folder / "model.ckpt")

    cli.datamodule.setup("test")
    images = cli.datamodule.test_dataloader().tensors[0]
    expected = evaluate(cli.model.cpu(), images)
    hyperparameters = dict(cli.model.hparams)
    hyperparameters = {k: v for k, v in hyperparameters.items() if not k.startswith("_")}
    equal = {}
    for name, read in (
        (".pth", lambda: torch.load(run.folder / "model.pth", weights_only=True)),
        (".safetensors", lambda: load_file(run.folder / "model.safetensors")),
    ):
        model = MNISTCNN(**hyperparameters)
        model.load_state_dict(read())
        equal[name] = torch.equal(evaluate(model, images), expected)
    model = MNISTCNN.load_from_checkpoint(
        run.folder / "model.ckpt", map_location="cpu", weights_only=True
    )
    equal[".ckpt"] = torch.equal(evaluate(model, images), expected)
    for path in sorted(run.folder.glob("model.*")):
        print(f"{path.name}: {path.stat().st_size:,} bytes")
    return {f"{name} predicts the same bits": same for name, same in equal.items()}
