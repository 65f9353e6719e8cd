"""Step 22: a language model of one's own."""

import shutil
import statistics
from typing import Any

import torch

from course.runner import Run
from datamodules.corpus import COURSE_TEXT, SENTENCES
from inference.text.generate import TextGenerator
from inference.text.sampling import SamplingOptions
from training.cli import TrainCLI

PROMPTS = ("the cat", "the dog")
SEEDS = (0, 1, 2)


def mini_gpt(run: Run) -> dict[str, Any]:
    """The course's MiniGPT on the course's text, then on more text with a part held out."""
    # At this learning rate the loss of the last batch is anything from 0.12 to 0.34.
    trained = [
        run.fit("mini_gpt_course", f"--seed_everything={seed}", tag=f"course{seed}")
        for seed in SEEDS
    ]
    course = trained[0]
    cli = run.fit("mini_gpt")
    shutil.copy(run.folder / "run" / "attention.png", run.folder / "attention.png")
    torch.manual_seed(0)
    return {
        "characters of the course's text": len(COURSE_TEXT),
        "parameters": sum(p.numel() for p in course.model.parameters()),
        "the course's text: training loss": statistics.median(map(loss_of_text, trained)),
        "the course's text: other words": other_words(
            [write(course, prompt) for prompt in PROMPTS], COURSE_TEXT
        ),
        "logits before a changed token, difference": effect_on_the_past(course),
        "training loss at step 1000": cli.trainer.callback_metrics["train/loss"].item(),
        "validation loss": cli.trainer.callback_metrics["val/loss"].item(),
        "words that are not the corpus's": other_words(
            [write_from_files(run, prompt) for prompt in PROMPTS], " ".join(SENTENCES)
        ),
    }


def loss_of_text(cli: TrainCLI) -> float:
    """Mean loss over all windows of the course's text, after the training on it."""
    ids = cli.datamodule.tokenizer.encode(COURSE_TEXT).long()
    windows = ids.unfold(0, cli.datamodule.context + 1, 1)  # (W, T + 1)
    with torch.no_grad():
        return cli.model.net.cpu().eval()(windows[:, :-1], windows[:, 1:]).item()


def other_words(texts: list[str], corpus: str) -> int:
    """How many words of ``texts`` are not in the corpus; the last word may be cut off."""
    known = set(corpus.replace(".", "").split())
    return sum(word.rstrip(".") not in known for text in texts for word in text.split()[:-1])


def write(cli: TrainCLI, prompt: str, characters: int = 60) -> str:
    """What generation is: the logits of the last position, a draw, one more character, again."""
    net, tokenizer, block = (
        cli.model.net.cpu().eval(),
        cli.datamodule.tokenizer,
        cli.datamodule.context,
    )
    ids = tokenizer.encode(prompt)
    with torch.no_grad():
        for _ in range(characters):
            logits = net(ids[-block:].unsqueeze(0))[0, -1]
            ids = torch.cat([ids, torch.multinomial(logits.softmax(-1), 1)])
    text = "".join(tokenizer.characters[number] for number in ids)
    print(text + "\n")
    return text


def write_from_files(run: Run, prompt: str) -> str:
    """By the exported files, as anyone would use them; no training code is behind this."""
    generator = TextGenerator.load(run.models / "mini_gpt", device="cpu")
    text = prompt + "".join(generator.stream(prompt, SamplingOptions(100, seed=1)))
    print(text)
    return text


def effect_on_the_past(cli: TrainCLI) -> float:
    """Largest change of the logits before a token when that token is another: the causal mask."""
    tokens = cli.datamodule.tokenizer.encode(COURSE_TEXT[:16]).unsqueeze(0)  # (1, 16)
    changed = tokens.clone()
    changed[0, -1] = (changed[0, -1] + 1) % cli.datamodule.tokenizer.vocab_size
    net = cli.model.net.cpu().eval()
    with torch.no_grad():
        return (net(tokens) - net(changed))[:, :-1].abs().max().item()
