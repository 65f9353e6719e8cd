"""``gpu-learning bench text``: trains the Shakespeare model over seeds and measures its artifacts.

Everything behind the language-model tables of docs/benchmarks.md, one command, a few minutes on one
GPU. What is passed after ``--`` goes to every ``fit``.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NANOGPT = 1.4688  # its best validation loss, from 200 sampled batches


def main(argv: Sequence[str]) -> int:
    """Trains, exports, generates, and prints what came out; ``argv`` begins with the name."""
    own, _, fit = " ".join(argv[1:]).partition(" -- ")
    parser = argparse.ArgumentParser("gpu-learning bench text", description=__doc__)
    parser.add_argument("out", type=Path, help="folder of logs, models, tables and pictures")
    parser.add_argument("--config", default="configs/mini_gpt_shakespeare.yaml")
    parser.add_argument("--seeds", type=int, default=3, help="(%(default)s)")
    parser.add_argument(
        "--recipes",
        default="0.3:12",
        help="dropout:epochs, by comma; all seeds of each (%(default)s)",
    )
    parser.add_argument("--no-generate", action="store_true", help="training only")
    arguments = parser.parse_args(own.split())
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    runs = []
    for recipe in arguments.recipes.split(","):
        dropout, epochs = recipe.split(":")
        for seed in range(arguments.seeds):
            run = _train(out, arguments.config, dropout, epochs, seed, fit.split())
            runs.append(run)
            print(json.dumps(run), flush=True)
    (out / "training.json").write_text(json.dumps(runs, indent=2))
    _draw(runs, out / "loss.png")
    best = min(runs, key=lambda run: run["val_loss"])
    for recipe in dict.fromkeys(run["recipe"] for run in runs):
        _print_recipe([run for run in runs if run["recipe"] == recipe])
    formats = "safetensors,bf16,int8,gguf,gguf-q8"
    _command(
        *("export", best["folder"], "--name", "shakespeare", "--models", str(out / "models")),
        *("--format", formats),
    )
    if not arguments.no_generate:
        for shape, batch in (("shakespeare", "1,32,64"), ("gpt2", "1,32")):
            code = (
                "import sys; from scripts.bench_generate import main; "
                "sys.exit(main(['generate', *sys.argv[1:]]))"
            )
            options = ["--shape", shape, "--batch", batch, "--compile", "--prompt", "16"]
            options += ["--tokens", "230", "--rounds", "5"]
            done = subprocess.run(
                [sys.executable, "-c", code, *options], text=True, capture_output=True
            )
            print(done.stdout or done.stderr[-2000:], flush=True)
            (out / f"generate_{shape}.txt").write_text(done.stdout + done.stderr)
    return 0


def _command(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.cli", *arguments], text=True, capture_output=True
    )
    if done.returncode:
        raise ValueError(f"{' '.join(arguments)} failed: {done.stderr[-2000:]}")
    print(done.stdout, flush=True)
    return done.stdout


def _train(
    out: Path, config: str, dropout: str, epochs: str, seed: int, fit: list[str]
) -> dict[str, Any]:
    name = f"dropout{dropout}-epochs{epochs}-seed{seed}"
    began = time.perf_counter()
    _command(
        *("fit", "-c", config, f"--seed_everything={seed}", f"--data.init_args.seed={seed}"),
        f"--model.init_args.dropout={dropout}",
        f"--trainer.max_epochs={epochs}",
        f"--trainer.logger.init_args.save_dir={out / 'logs'}",
        f"--trainer.logger.init_args.name={name}",
        *fit,
    )
    seconds = time.perf_counter() - began
    folder = sorted((out / "logs" / name).glob("version_*"), key=lambda p: p.stat().st_mtime)[-1]
    curves = _curves(folder)
    start = curves["train/loss"][0][2]
    losses = [value for _, value, _ in curves["val/loss"]]
    reached = [wall - start for _, value, wall in curves["val/loss"] if value <= NANOGPT]
    rates = [value for _, value, _ in curves["train/tokens_per_sec"]]
    return {
        "recipe": f"dropout {dropout}, {epochs} epochs",
        "seed": seed,
        "folder": str(folder),
        "val_loss": min(losses),
        "last_val_loss": losses[-1],
        "tokens_per_second": statistics.median(rates),
        "seconds_to_nanogpt": round(reached[0], 1) if reached else None,
        "process_seconds": round(seconds, 1),
        "train": [(step, value) for step, value, _ in curves["train/loss"]],
        "val": [(step, value) for step, value, _ in curves["val/loss"]],
    }


def _curves(folder: Path) -> dict[str, list[tuple[int, float, float]]]:
    """(step, value, wall time) of each scalar of a run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {
        name: [(event.step, event.value, event.wall_time) for event in events.Scalars(name)]
        for name in ("train/loss", "val/loss", "train/tokens_per_sec")
    }


def _print_recipe(runs: list[dict[str, Any]]) -> None:
    losses = [run["val_loss"] for run in runs]
    spread = f" ± {statistics.stdev(losses):.4f}" if len(losses) > 1 else ""
    rates = [run["tokens_per_second"] / 1e6 for run in runs]
    print(
        f"{runs[0]['recipe']}: best validation loss {statistics.mean(losses):.4f}{spread} "
        f"(n={len(runs)}), {statistics.median(rates):.2f} M tokens/s, seconds to {NANOGPT}: "
        f"{[run['seconds_to_nanogpt'] for run in runs]}",
        flush=True,
    )


def _draw(runs: list[dict[str, Any]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot(xlabel="optimiser step", ylabel="loss (nats a character)")
    for index, run in enumerate(runs):
        colour = f"C{index}"
        label = f"{run['recipe']}, seed {run['seed']}"
        axes.plot(*zip(*run["train"], strict=True), color=colour, alpha=0.35, linewidth=0.8)
        axes.plot(*zip(*run["val"], strict=True), color=colour, marker="o", label=label)
    axes.axhline(NANOGPT, color="black", linestyle="--", linewidth=1, label="nanoGPT's best")
    axes.set_ylim(1.0, 2.2)
    axes.set_title("Tiny Shakespeare: validation with marks, training pale")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=100)
