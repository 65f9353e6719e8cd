"""Texts to learn from: embedded, part of every Python, downloaded, or your own."""

import hashlib
import os
import random
import urllib.error
import urllib.request
from pathlib import Path

from datamodules.text_files import read_text, unix_lines

SHAKESPEARE_URL = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
)
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"

# Fifteen different characters in all, blank and full stop included.
SENTENCES = (
    "the cat sat on the mat.",
    "the dog sat on the log.",
    "the cat ran to the dog.",
    "the dog ran to the cat.",
    "the cat sat on the log.",
    "the dog sat on the mat.",
    "the rat ran to the mat.",
    "the cat ate the rat.",
    "the dog ate on the mat.",
    "the rat sat at the log.",
)

# The course's whole corpus: 15 different characters, the end of a line included.
COURSE_TEXT = """\
the cat sat on the mat
the dog ran fast
the cat ran on the mat
the dog sat fast
the cat and dog sat on the mat
the dog and cat ran fast"""


def cats_and_dogs(rounds: int = 100) -> str:
    """About 23,000 characters: the sentences again and again, each round in another order."""
    chance = random.Random(0)
    return " ".join(" ".join(chance.sample(SENTENCES, len(SENTENCES))) for _ in range(rounds))


def python_topics() -> str:
    """About 460,000 characters of English: what Python's ``help("topics")`` shows.

    They come with Python and differ a little from version to version.

    Raises:
        ValueError: this Python was packaged without them.
    """
    try:
        from pydoc_data.topics import topics
    except ModuleNotFoundError as error:
        raise ValueError(
            "this Python has no pydoc_data, which its packager left out; train on a text of your "
            "own: --data.init_args.source FILE"
        ) from error
    return "\n\n".join(topics[name].strip() for name in sorted(topics))


def download_shakespeare(path: Path) -> None:
    """Fetches Tiny Shakespeare (1,115,394 characters) unless it is there.

    Source: A. Karpathy, char-rnn, 2015.

    Raises:
        ValueError: no network, or what came is not the file; names the ways without.
    """
    if path.is_file():
        return
    try:
        with urllib.request.urlopen(SHAKESPEARE_URL, timeout=30) as response:
            content = response.read()
    except (urllib.error.URLError, OSError) as error:
        raise ValueError(
            f"Tiny Shakespeare is not at {path} and could not be downloaded ({error}). Put it "
            f"there yourself from {SHAKESPEARE_URL}, or train on the embedded text: "
            "--data.init_args.source cats_and_dogs"
        ) from error
    _check_shakespeare(content, SHAKESPEARE_URL)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.part")
    partial.write_bytes(content)
    partial.replace(path)


def read_shakespeare(path: Path) -> str:
    """The checked text.

    Raises:
        ValueError: the file is damaged.
    """
    content = path.read_bytes()
    _check_shakespeare(content, str(path))
    return content.decode()


def _check_shakespeare(content: bytes, where: str) -> None:
    if hashlib.sha256(content).hexdigest() != SHAKESPEARE_SHA256:
        raise ValueError(
            f"{where} is not Tiny Shakespeare (its checksum is another); delete the file and run "
            "again, or name your own text with --data.init_args.source"
        )


def read_texts(path: Path) -> str:
    """A text file, or all ``*.txt`` files under a folder, in the order of their names.

    Line ends of Windows become ``\\n``.

    Raises:
        ValueError: nothing there, or a file in an encoding that cannot be told.
    """
    files = [path] if path.is_file() else sorted(path.rglob("*.txt"))
    if not files:
        what = "holds no *.txt file" if path.is_dir() else "does not exist"
        raise ValueError(
            f"the text source {path} {what}; give a file, a folder of *.txt files, cats_and_dogs, "
            "course, python_topics or tiny_shakespeare"
        )
    # A carriage return would be a character to learn.
    return "\n".join(unix_lines(read_text(file)) for file in files)
