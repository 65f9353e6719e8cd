"""Steps 23 and 24: GPT-2 writes, and learns to answer."""

import importlib.util
from pathlib import Path
from typing import Any

import torch

from callbacks import Baseline
from datamodules.hub import pretrained_folder
from exporting.text import export_text, read_text_source
from inference.generate import TextGenerator
from inference.sampling import SamplingOptions
from lightning_modules.adapters import adapt, target_modules
from scripts.course.runner import Run, Skipped
from training.cli import TrainCLI

PROMPT = "Once upon a time"
QUESTION = "What is a GPU?"
NO_WEIGHTS = "needs the gpt2 weights (hub or local folder)"
FORMATS = ("safetensors", "peft", "merged", "gguf", "gguf-adapter")


def generate(run: Run) -> dict[str, Any]:
    """GPT-2 goes on with a text: greedily as transformers does, and with the course's settings."""
    _need_packages()
    folder = _gpt2()
    generator = TextGenerator.load(folder, device="cpu", dtype=torch.float32)
    (greedy,) = generator.generate([PROMPT], SamplingOptions(64, temperature=0))
    print(PROMPT + greedy.text)
    for options in (
        SamplingOptions(50, temperature=0.7, top_k=50, top_p=0.9, repetition_penalty=1.2, seed=0),
        SamplingOptions(50, temperature=1.2, top_k=50, top_p=0.95, seed=0),
    ):
        print(f"\n{options}\n{PROMPT}{generator.generate([PROMPT], options)[0].text}")
    theirs = _by_transformers(folder, generator.tokenizer.encode(PROMPT))
    return {
        "parameters": sum(tensor.numel() for tensor in generator.model.weights.values()),
        "greedy tokens are transformers'": theirs[: len(greedy.tokens)] == greedy.tokens,
    }


def finetune(run: Run) -> dict[str, Any]:
    """Low-rank adapters: for GPT-2 where its weights are, and for a small model anywhere."""
    _need_packages()
    values = _sizes() | _offline(run)
    try:
        folder = _gpt2()
    except Skipped as stop:
        for name in ("gpt2: loss before training", "gpt2: held-out loss, after / before"):
            run.skip(name, str(stop))
        return values
    cli = run.fit("gpt2_lora", f"--model.init_args.pretrained={folder}", tag="gpt2")
    before, after = _losses(cli)
    values["gpt2: loss before training"] = before
    values["gpt2: held-out loss, after / before"] = after / before
    return values


def _need_packages() -> None:
    needed = ("gguf", "peft", "tokenizers", "transformers")
    if missing := [name for name in needed if not importlib.util.find_spec(name)]:
        raise Skipped(f"needs {', '.join(missing)}: make setup EXTRAS=dev,llm")


def _gpt2() -> Path:
    """GPT-2 124M in transformers' format, from ``models/gpt2`` or from the hub."""
    local = Path("models/gpt2")
    try:
        return local if local.is_dir() else pretrained_folder("gpt2")
    except ValueError as error:
        raise Skipped(NO_WEIGHTS) from error


def _by_transformers(folder: Path, prompt: list[int]) -> list[int]:
    from transformers import GPT2LMHeadModel

    model = GPT2LMHeadModel.from_pretrained(folder, local_files_only=True).eval()
    ids = torch.tensor([prompt])
    made = model.generate(  # type: ignore[operator]
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=64, do_sample=False, pad_token_id=0
    )
    return made[0, len(prompt) :].tolist()


def _sizes() -> dict[str, int]:
    """Of GPT-2 124M with adapters; without weights, since they change no size."""
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.device("meta"):
        model = adapt(GPT2LMHeadModel(GPT2Config()), target_modules("c_attn"), 8, 16, 0.0)
    sizes = {parameter: parameter.numel() for parameter in model.parameters()}
    trained = sum(size for parameter, size in sizes.items() if parameter.requires_grad)
    return {"parameters": sum(sizes.values()), "parameters trained": trained}


def _offline(run: Run) -> dict[str, Any]:
    """Pre-training, adapters, files and an answer, without any download."""
    short = {
        "gpt2_small": ("--trainer.max_epochs=1", "--data.init_args.batches=80"),
        "gpt2_lora_offline": ("--trainer.max_epochs=2",),
    }
    run.fit("gpt2_small", *(short["gpt2_small"] if run.reduced else ()), tag="base")
    cli = run.fit(
        "gpt2_lora_offline",
        *(short["gpt2_lora_offline"] if run.reduced else ()),
        f"--model.init_args.pretrained={run.models / 'gpt2_small' / 'hf'}",
        tag="adapters",
    )
    before, after = _losses(cli)
    assert cli.trainer.checkpoint_callback is not None
    best = Path(cli.trainer.checkpoint_callback.best_model_path)
    folder = run.models / "gpt2_qa"
    manifest = export_text(read_text_source(best), folder, FORMATS)
    generator = TextGenerator.load(folder, device="cpu")
    (answer,) = generator.generate([QUESTION], SamplingOptions(40, temperature=0))
    print(f"{QUESTION}{answer.text}")
    return {
        "offline: held-out loss, after / before": after / before,
        "offline: merged, difference": manifest["folders"]["merged"]["checked"]["mean_difference"],
        "offline: checkpoint, MB": best.stat().st_size / 1e6,
    }


def _losses(cli: TrainCLI) -> tuple[float, float]:
    """Loss of the held-out answers by the base, and by the best epoch."""
    callbacks: list[Any] = cli.trainer.callbacks  # type: ignore[attr-defined]
    baseline = next(callback for callback in callbacks if isinstance(callback, Baseline))
    before = baseline.scores["val/loss"]
    best: Any = cli.trainer.checkpoint_callback
    print(f"held-out answers: {before:.3f} before, {best.best_model_score.item():.3f} after")
    return before, best.best_model_score.item()
