"""Step 22: a language model of one's own."""

import shutil
from typing import Any

from datamodules.corpus import SENTENCES
from inference.generate import TextGenerator
from inference.sampling import SamplingOptions
from scripts.course.runner import Run


def mini_gpt(run: Run) -> dict[str, Any]:
    """Trains the course's MiniGPT, and lets its exported files write."""
    cli = run.fit("mini_gpt")
    shutil.copy(run.folder / "run" / "attention.png", run.folder / "attention.png")
    # The files, as anyone would use them; no training code is behind this.
    generator = TextGenerator.load(run.models / "mini_gpt", device="cpu")
    known = {word for sentence in SENTENCES for word in sentence.rstrip(".").split()}
    foreign = 0
    for prompt in ("the cat", "the dog"):
        text = prompt + "".join(generator.stream(prompt, SamplingOptions(100, seed=1)))
        print(text)
        # The last word may be cut off.
        foreign += sum(word.rstrip(".") not in known for word in text.split()[:-1])
    return {
        "parameters": sum(p.numel() for p in cli.model.parameters()),
        "training loss at step 1000": cli.trainer.callback_metrics["train/loss"].item(),
        "validation loss": cli.trainer.callback_metrics["val/loss"].item(),
        "words that are not the corpus's": foreign,
    }
