"""Step 35: the course's kernels within a MiniGPT that is trained, exported and asked."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile, record_function

from callbacks import UseKernels
from course.kernels import environment
from course.kernels.measure import Timing, gpu_ms
from course.mini_gpt import PROMPTS, other_words
from course.runner import Run
from datamodules.corpus import SENTENCES
from inference.text.generate import TextGenerator
from inference.text.sampling import SamplingOptions
from lightning_modules.nets.gpt import GPT, GPT2_SWITCHES, GPTConfig
from lightning_modules.nets.kernels import Kernels
from training.cli import TrainCLI
from training.profiling.trace import STEP, read_trace

CONFIG, OPS = "mini_gpt_kernels", "course.kernels.ops"
ONLY = ["layer_norm", "bias_gelu", "causal_attention", "cross_entropy"]  # of the steps before
STEPS = 8
# A prompt of 7 and these fill the context of 32. Beyond it greedy() drops the first character each
# time, and a generator half of the text, so that it need not compute the rest for each character.
CHARACTERS = 25
WORDS_IN = 40
LAYERS = 2  # of GPT-2's twelve: torch.compile is done in seconds, and all layers are alike
ON_GPU = (
    "validation loss after 1,000 steps",
    "words that are not the corpus's",
    "kernels on the GPU per step, ours / plain",
    "step of GPT-2's shape, time / torch.compile",
    "the same compiled, time / torch.compile",
    "peak memory of a step / torch.compile",
)
# A short run of few sequences, which Triton's interpreter does in seconds.
SHORT = (
    "--trainer.max_epochs=1",
    f"--trainer.limit_train_batches={STEPS}",
    "--data.init_args.batch_size=2",
    "--data.init_args.context=16",
    "--trainer.limit_val_batches=1",
)


class StepLosses(pl.Callback):
    """Keeps the loss of every step."""

    def __init__(self) -> None:
        self.values: list[Tensor] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.values.append(outputs["loss"].detach().cpu())


def kernels_in_a_gpt(run: Run) -> dict[str, Any]:
    """The same short training with torch's functions and with the kernels; on a GPU all of it."""
    print(environment.where())
    plain, ours = (_train(run, tag) for tag in ("plain", "kernels"))
    losses = [_callback(cli, StepLosses).values for cli in (plain, ours)]
    run.keep(draw(*losses), "losses")
    kernels = _callback(ours, UseKernels).kernels
    print(f"replaced: {kernels}")
    weights = [dict(cli.model.named_parameters()) for cli in (plain, ours)]
    texts = [[greedy(cli, prompt) for prompt in PROMPTS] for cli in (plain, ours)]
    print("\n".join(texts[1]))
    written = [_from_files(run, prompt) for prompt in PROMPTS]
    values: dict[str, Any] = {
        "places with a kernel": sum(kernels.replaced.values()),
        "gradients, relative difference": gradients_apart(ours),
        f"loss in {STEPS} steps, largest difference": _apart(*losses),
        "weights after them, largest difference": _apart(*(list(w.values()) for w in weights)),
        "names of weights that differ": len(set(weights[0]) ^ set(weights[1])),
        "greedy texts, characters that differ": _differ(texts[0], texts[1]),
        "texts of the exported files, characters that differ": _differ(texts[1], written),
    }
    if environment.on_gpu():
        return values | dict(zip(ON_GPU, [*_all_of_it(run), *_as_gpt2(run.folder)], strict=True))
    for name in ON_GPU:
        run.skip(name, "needs a CUDA GPU")
    return values


def _train(run: Run, tag: str) -> TrainCLI:
    """A short run; the one with kernels is exported."""
    callbacks: list[dict[str, Any]] = [{"class_path": "course.gpu_mini_gpt.StepLosses"}]
    if tag == "kernels":
        callbacks += [
            {"class_path": "callbacks.UseKernels", "init_args": {"ops": OPS, "only": ONLY}},
            {"class_path": "callbacks.ExportText", "init_args": {"name": CONFIG}},
        ]
    return run.fit(CONFIG, *SHORT, f"--trainer.callbacks={json.dumps(callbacks)}", tag=tag)


def _callback(cli: TrainCLI, kind: type) -> Any:
    return next(c for c in cli.trainer.callbacks if isinstance(c, kind))


def greedy(cli: TrainCLI, prompt: str) -> str:
    """The most likely character each time, by the net as it is written."""
    net, tokenizer = cli.model.net.cpu().eval(), cli.datamodule.tokenizer
    ids = tokenizer.encode(prompt)
    with torch.no_grad():
        for _ in range(CHARACTERS):
            logits = net(ids[-net.config.context :].unsqueeze(0))[0, -1]
            ids = torch.cat([ids, logits.argmax(keepdim=True)])
    return "".join(tokenizer.characters[number] for number in ids)


def _from_files(run: Run, prompt: str, name: str = CONFIG, characters: int = CHARACTERS) -> str:
    generator = TextGenerator.load(run.models / name, device="cpu")
    return prompt + "".join(generator.stream(prompt, SamplingOptions(characters, temperature=0)))


def gradients_apart(cli: TrainCLI) -> float:
    """Largest difference of a weight's gradients, ours and plain, by its largest gradient."""
    device = "cuda" if environment.on_gpu() else "cpu"
    net = cli.model.net.to(device).train()
    batch = next(iter(cli.datamodule.train_dataloader()))
    inputs, targets = (tensor[:2, :16].to(device) for tensor in batch)
    kernels, found = Kernels(net, OPS, ONLY), []
    for on in (False, True):
        kernels.switch(on)
        found.append(torch.autograd.grad(net(inputs, targets), list(net.parameters())))
    kernels.switch(on=False)
    return max(
        ((one - other).abs().max() / one.abs().max()).item()
        for one, other in zip(*found, strict=True)
    )


def _apart(one: list[Tensor], other: list[Tensor]) -> float:
    pairs = zip(one, other, strict=True)
    return max((a.detach().cpu() - b.detach().cpu()).abs().max().item() for a, b in pairs)


def _differ(one: list[str], other: list[str]) -> int:
    pairs = itertools.zip_longest("".join(one), "".join(other))
    return sum(a != b for a, b in pairs)


def draw(plain: list[Tensor], ours: list[Tensor]) -> Figure:
    """Losses of both runs above, their difference below."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    steps = range(1, len(plain) + 1)
    upper.plot(steps, [x.item() for x in plain], color="C0", label="torch's functions")
    upper.plot(steps, [x.item() for x in ours], "o", color="C1", label="our kernels")
    upper.set_ylabel("training loss")
    upper.legend()
    difference = [abs(a.item() - b.item()) for a, b in zip(plain, ours, strict=True)]
    lower.bar(steps, difference, color="C1")
    lower.set(xlabel="step", ylabel="difference")
    lower.ticklabel_format(axis="y", scilimits=(0, 0))
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
    return figure


def _all_of_it(run: Run) -> tuple[float, int]:
    """All 1,000 steps with the kernels: validation loss, and words that the files invent."""
    cli = run.fit(CONFIG, "--trainer.callbacks.init_args.name=mini_gpt_kernels_full", tag="full")
    texts = [_from_files(run, prompt, "mini_gpt_kernels_full", WORDS_IN) for prompt in PROMPTS]
    loss = cli.trainer.callback_metrics["val/loss"].item()
    return loss, other_words(texts, " ".join(SENTENCES))


def _as_gpt2(folder: Path) -> list[float]:
    """A step of GPT-2's widths, context and vocabulary, in bfloat16: launches, time and memory."""
    net = GPT(GPTConfig(50257, 1024, 768, layers=LAYERS, heads=12, **GPT2_SWITCHES)).cuda()
    kernels = Kernels(net, OPS, ONLY)
    ids = torch.randint(0, 50257, (8, 1025), device="cuda")
    variants = (
        (("plain", False, False), ("ours", True, False)),
        (
            ("torch.compile", False, True),
            ("ours, compiled", True, True),
        ),
    )
    times: dict[str, Timing] = {}
    peaks, counts = {}, {}
    for name, on, compiled in itertools.chain(*variants):
        kernels.switch(on)
        forward = torch.compile(net) if compiled else net
        step = _step(forward, net, ids)
        times[name] = gpu_ms(step, repeat=10, warm_up=3, flush=False)
        peaks[name], counts[name] = _peak(step), _kernels_of(step, folder / "trace.json")
        torch.compiler.reset()
        megabytes = peaks[name] / 2**20
        print(f"{name}: {times[name]}, {counts[name]} kernels, peak {megabytes:,.0f} MiB")
    kernels.switch(on=False)
    theirs = times["torch.compile"].median
    return [
        counts["ours"] / counts["plain"],
        times["ours"].median / theirs,
        times["ours, compiled"].median / theirs,
        peaks["ours"] / peaks["torch.compile"],
    ]


def _step(forward: Callable[..., Tensor], net: nn.Module, ids: Tensor) -> Callable[[], None]:
    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            loss = forward(ids[:, :-1], ids[:, 1:])
        loss.backward()
        net.zero_grad()

    return step


def _peak(function: Callable[[], None]) -> int:
    """Bytes that are needed beyond what is there before."""
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    function()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def _kernels_of(step: Callable[[], None], trace: Path) -> int:
    """Kernels, copies and fills of one step, from a recording by torch's profiler."""
    activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA]
    with profile(activities=activities) as recording, record_function(STEP):
        step()
        torch.cuda.synchronize()
    recording.export_chrome_trace(str(trace))
    return len(read_trace(trace, 1).kernels)
