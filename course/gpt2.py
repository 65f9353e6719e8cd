"""Steps 23 and 24: GPT-2 writes, and learns to answer."""

import importlib.util
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from callbacks import Baseline
from callbacks.answers import score
from course.language import gpt_parameters
from course.pictures import bars, curves
from course.runner import Run, Skipped
from course.schedules import read
from datamodules.hub import pretrained_folder
from datamodules.pairs import SHIPPED, read_pairs
from exporting.text import export_text, read_text_source
from inference.text.generate import TextGenerator
from inference.text.sampling import SamplingOptions
from inference.text.tokenizer import Tokenizer
from lightning_modules.adapters import adapt, target_modules
from training.cli import TrainCLI

# The course's, up to 60 tokens of an answer.
COURSE_SAMPLING = SamplingOptions(60, temperature=0.1, repetition_penalty=1.3, seed=0)
PROMPT = "Once upon a time"
QUESTION = "What is a GPU?"
NO_WEIGHTS = "needs the gpt2 weights (hub or local folder)"
SMALL = Path("gpt2_small/hf")
TEMPERATURES = (0.1, 0.8, 1.5)
SHORT = {
    "gpt2_small": ("--trainer.max_epochs=1", "--data.init_args.batches=80"),
    "gpt2_lora_offline": ("--trainer.max_epochs=2",),
}
FORMATS = ("safetensors", "peft", "merged", "gguf", "gguf-adapter")


def generate(run: Run) -> dict[str, Any]:
    """A GPT-2 writes: a small one that is trained here, and GPT-2 itself where its weights are."""
    _need_packages()
    values: dict[str, Any] = {"parameters": gpt_parameters(768, 12, 12, 1024)}
    small = _small(run)
    values |= _writes(small, "The value of", "offline")
    run.keep(_next_tokens(small, "The value of"), "temperatures")
    try:
        return values | _writes(_gpt2(), PROMPT, "gpt2")
    except Skipped as stop:
        run.skip("gpt2: greedy tokens are transformers'", str(stop))
        return values


def _small(run: Run) -> Path:
    """The small GPT-2 of the user, of an earlier lesson, or one of this lesson."""
    for models in (Path("models"), run.models):
        if (models / SMALL).is_dir():
            return models / SMALL
    run.fit("gpt2_small", *(SHORT["gpt2_small"] if run.reduced else ()), tag="base")
    return run.models / SMALL


def _writes(folder: Path, prompt: str, name: str) -> dict[str, Any]:
    """Text at three temperatures, what they do to the probabilities, and the greedy tokens."""
    from transformers import GPT2LMHeadModel

    generator = TextGenerator.load(folder, device="cpu", dtype=torch.float32)
    (greedy,) = generator.generate([prompt], SamplingOptions(64, temperature=0))
    print(f"\n{name}, greedy: {prompt}{greedy.text}")
    model = GPT2LMHeadModel.from_pretrained(folder, local_files_only=True).eval()
    ids = torch.tensor([generator.tokenizer.encode(prompt)])
    made = model.generate(  # type: ignore[operator]
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=64, do_sample=False, pad_token_id=0
    )
    theirs = made[0, ids.shape[1] :].tolist()
    with torch.no_grad():
        logits = model(made).logits[0]  # (T, V)
    bits = {}
    for temperature in TEMPERATURES:
        options = SamplingOptions(40, temperature=temperature, seed=0)
        text = generator.generate([prompt], options)[0].text
        bits[temperature] = mean_bits(logits / temperature)
        print(f"\ntemperature {temperature}, {bits[temperature]:.2f} bits: {prompt}{text}")
    return {
        f"{name}: greedy tokens are transformers'": theirs[: len(greedy.tokens)] == greedy.tokens,
        **{f"{name}: bits per token at {t}": value for t, value in bits.items()},
    }


def _next_tokens(folder: Path, prompt: str, count: int = 12) -> Figure:
    """Probabilities of the most likely next tokens of a small model, at three temperatures."""
    from transformers import GPT2LMHeadModel

    tokenizer = TextGenerator.load(folder, device="cpu").tokenizer
    model = GPT2LMHeadModel.from_pretrained(folder, local_files_only=True).eval()
    with torch.no_grad():
        logits = model(torch.tensor([tokenizer.encode(prompt)])).logits[0, -1]  # (V,)
    top = logits.topk(count).indices
    names = [repr(tokenizer.decode([number])) for number in top.tolist()]
    shares = {f"temperature {t}": (logits / t).softmax(0)[top].tolist() for t in TEMPERATURES}
    return bars(names, shares, ("probability", f"next token after {prompt!r}"))


def mean_bits(logits: torch.Tensor) -> float:
    """Mean entropy of next-token distributions with logits (T, V): 0 for a certain token."""
    return torch.distributions.Categorical(logits=logits).entropy().mean().item() / math.log(2)


def finetune(run: Run) -> dict[str, Any]:
    """Low-rank adapters: for GPT-2 where its weights are, and for a small model anywhere."""
    _need_packages()
    total, trained = _sizes(8)
    values = {
        "parameters": total,
        "parameters trained": trained,
        "parameters trained at rank 64": _sizes(64)[1],
        **_offline(run),
    }
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


def _sizes(rank: int) -> tuple[int, int]:
    """Parameters of GPT-2 124M with adapters, and those trained; sizes need no weights."""
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.device("meta"):
        model = adapt(GPT2LMHeadModel(GPT2Config()), target_modules("c_attn"), rank, 32, 0.1)
    sizes = {parameter: parameter.numel() for parameter in model.parameters()}
    trained = sum(size for parameter, size in sizes.items() if parameter.requires_grad)
    return sum(sizes.values()), trained


def _offline(run: Run) -> dict[str, Any]:
    """Pre-training, adapters, files and an answer, without any download."""
    run.fit("gpt2_small", *(SHORT["gpt2_small"] if run.reduced else ()), tag="base")
    cli = run.fit(
        "gpt2_lora_offline",
        *(SHORT["gpt2_lora_offline"] if run.reduced else ()),
        f"--model.init_args.pretrained={run.models / SMALL}",
        tag="adapters",
    )
    before, after = _losses(cli)
    losses = [loss for _, loss in read(run, "adapters", "val/loss")]
    axes = ("epoch", "loss of the held-out answers")
    # The first one is that of the base, before any training.
    run.keep(curves({"with adapters": losses}, axes, ("without", before), start=0), "held_out")
    assert cli.trainer.checkpoint_callback is not None
    best = Path(cli.trainer.checkpoint_callback.best_model_path)
    folder = run.models / "gpt2_qa"
    manifest = export_text(read_text_source(best), folder, FORMATS)
    generator = TextGenerator.load(folder, device="cpu")
    (answer,) = generator.generate([QUESTION], SamplingOptions(40, temperature=0))
    print(f"{QUESTION}{answer.text}")
    return {
        **_five_questions(run),
        "offline: held-out loss, after / before": after / before,
        "offline: merged, difference": manifest["folders"]["merged"]["checked"]["mean_difference"],
        "offline: checkpoint, MB": best.stat().st_size / 1e6,
    }


def _five_questions(run: Run) -> dict[str, float]:
    """The course's five questions and its adapters, on the small model; nothing is held out."""
    cli = run.fit(
        "gpt2_lora_offline",
        f"--model.init_args.pretrained={run.models / SMALL}",
        *("--model.init_args.target=all", "--model.init_args.r=8"),
        *("--data.init_args.source=course_questions", "--data.init_args.val_size=0"),
        *("--trainer.max_epochs=100", "--trainer.log_every_n_steps=1"),
        tag="five",
    )
    module, data = cli.model, cli.datamodule
    net = module.merged()
    generator = TextGenerator(
        asdict(net.config),
        net.state_dict(),
        Tokenizer(data.tokenizer.to_json()),
        device="cpu",
        template=data.template,
    )
    taught = dict(read_pairs(SHIPPED["course_questions"]))
    answers = generator.generate(list(taught), COURSE_SAMPLING)
    for question, answer in zip(taught, answers, strict=True):
        print(f"{question}{answer.text}")
    losses = [loss for _, loss in read(run, "five", "train/loss")]
    texts = [answer.text.strip() for answer in answers]
    return {
        "five questions: training loss, last / first": losses[-1] / losses[0],
        "five questions: token F1 of the answers": score(texts, list(taught.values()))["token_f1"],
    }


def _losses(cli: TrainCLI) -> tuple[float, float]:
    """Loss of the held-out answers by the base, and by the best epoch."""
    callbacks: list[Any] = cli.trainer.callbacks  # type: ignore[attr-defined]
    baseline = next(callback for callback in callbacks if isinstance(callback, Baseline))
    before = baseline.scores["val/loss"]
    best: Any = cli.trainer.checkpoint_callback
    print(f"held-out answers: {before:.3f} before, {best.best_model_score.item():.3f} after")
    return before, best.best_model_score.item()
