"""Step 18: text as numbers, by characters and by byte pairs."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from course.runner import Run, Skipped
from datamodules.corpus import cats_and_dogs
from datamodules.pairs import GPU_QUESTIONS, read_pairs
from datamodules.tokenizers import BPETokenizer, CharTokenizer
from inference.text.tokenizer import Tokenizer

VOCABULARIES = (257, 300, 350, 400, 500, 600)
GPT2_FILES = Path("data/gpt2-tokenizer")
FOREIGN = "naïve — 漢字 🙂"  # in none of the texts that the vocabularies are made of


def tokens(run: Run) -> dict[str, Any]:
    """One text cut by characters and by byte pairs, and put together again."""
    characters = CharTokenizer(cats_and_dogs())
    sentence = "the cat sat on the mat."
    print(f"{characters.vocab_size} characters: {characters.characters!r}")
    print(f"{sentence!r} -> {characters.encode(sentence).tolist()}")
    try:
        message = f"no error: {characters.encode('the fox')}"
    except ValueError as error:
        message = str(error)
    print(f"'the fox' -> {message}")

    answers = [answer for _, answer in read_pairs(GPU_QUESTIONS)]
    learned, held_out = " ".join(answers[:-10]), " ".join(answers[-10:])
    try:
        pairs = [BPETokenizer.fit(learned, size) for size in VOCABULARIES]
    except ValueError as error:
        raise Skipped(str(error)) from error
    rates = {
        name: [len(text) / len(pair.encode(text)) for pair in pairs]
        for name, text in (("the text it was made of", learned), ("another text", held_out))
    }
    show_pieces(pairs[-1], "A GPU runs thousands of threads.")
    show_pieces(pairs[-1], FOREIGN)
    run.keep(compression(rates), "tokens")
    values = {
        "characters of the corpus": characters.vocab_size,
        "characters come back": comes_back(characters, sentence),
        "error for an unknown character": "lacks 2 characters" in message,
        "bytes of any script come back": comes_back(pairs[-1], FOREIGN),
        "characters a token, another text": rates["another text"][-1],
    }
    if GPT2_FILES.is_dir():
        gpt2 = BPETokenizer.from_files(GPT2_FILES)
        show_pieces(gpt2, "Hello, world!")
        values["Hello, world! in GPT-2's tokens"] = gpt2.encode("Hello, world!").tolist()
    else:
        run.skip(
            "Hello, world! in GPT-2's tokens",
            f"needs GPT-2's vocab.json and merges.txt in {GPT2_FILES}",
        )
    return values


def comes_back(tokenizer: CharTokenizer | BPETokenizer, text: str) -> bool:
    return Tokenizer(tokenizer.to_json()).decode(tokenizer.encode(text).tolist()) == text


def show_pieces(tokenizer: BPETokenizer, text: str) -> None:
    """Prints where a text is cut; a character may be cut into its bytes."""
    reader = Tokenizer(tokenizer.to_json())
    numbers = tokenizer.encode(text).tolist()
    cut = "|".join(reader.pieces[number].decode(errors="backslashreplace") for number in numbers)
    print(f"{len(text)} characters, {len(numbers)} tokens of {tokenizer.vocab_size}: {cut}")


def compression(rates: dict[str, list[float]]) -> Figure:
    """Characters a token by size of the vocabulary."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot(xlabel="tokens in the vocabulary", ylabel="characters a token")
    for name, values in rates.items():
        axes.plot(VOCABULARIES, values, marker="o", label=name)
    axes.set_xscale("log")
    axes.set_xticks(VOCABULARIES, [str(size) for size in VOCABULARIES])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
