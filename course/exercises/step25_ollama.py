"""Exercise for step 25, serve and chat: reading an answer while it is written.

``/api/generate`` answers with one JSON object per line (NDJSON): {"response":
"the", "done": false} and so on, until one has "done": true; it can hold a last
piece of text. The network cuts these bytes wherever it likes: a chunk can hold
half a line or several, and it can end in the middle of a character, since one
of UTF-8 takes up to four bytes. If something goes wrong, a line is {"error":
"what happened"}.

Write the function, then: gpu-learning lessons check 25
"""

import json
from collections.abc import Iterable, Iterator


def read_stream(chunks: Iterable[bytes]) -> Iterator[str]:
    """Yields the pieces of text, without empty ones, and ends with the line
    that is done.

    Raises:
        ValueError: a line has an error; its text is the error's message.
    """
    # BEGIN SOLUTION
    kept = b""
    for chunk in chunks:
        *lines, kept = (kept + chunk).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "error" in message:
                raise ValueError(message["error"])
            if message["response"]:
                yield message["response"]
            if message["done"]:
                return
    # END SOLUTION


# BEGIN HIDDEN TESTS
import random  # noqa: E402
from typing import Any  # noqa: E402

from course.exercises.attempt import Attempt  # noqa: E402
from course.exercises.compare import Wrong, difference  # noqa: E402

HINTS = (
    "Keep the bytes of a line that is not whole yet, and put them before the next chunk.",
    'kept + chunk, split at b"\\n": all parts but the last are whole lines, the last one is kept. '
    "json.loads takes bytes, so nothing has to be decoded before.",
    "A function with yield is a generator: yield each piece, return after the line that is done, "
    'raise ValueError(message["error"]) where there is an error.',
)

_PIECES = ("the", " cat", " déjà", " vu", " 猫", "", " 🙂", "\n", "mat.")


def _lines(pieces: tuple[str, ...], last: str) -> bytes:
    lines: list[dict[str, Any]] = [{"response": piece, "done": False} for piece in pieces]
    lines.append({"response": last, "done": True})
    return b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines)


def _cut(stream: bytes, size: int) -> list[bytes]:
    return [stream[at : at + size] for at in range(0, len(stream), size)]


def check(mine: Attempt) -> None:
    cuts = random.Random(25)
    lines = _lines(_PIECES[:3], "").splitlines(keepends=True)
    _compare(mine, lines, "one line per chunk")
    stream = _lines(_PIECES, " end")
    _compare(mine, [stream], "all lines in one chunk")
    _compare(mine, _cut(stream, 40), "chunks of 40 bytes")
    _compare(mine, _cut(stream, 1), "chunks of one byte")
    _compare(mine, _cut(stream, cuts.randint(2, 9)), "chunks of a few bytes")
    more = stream + b'{"response": "more", "done": false}\n'
    _compare(mine, [more], "lines after the one that is done")
    _refuse(mine)


def _compare(mine: Attempt, chunks: list[bytes], how: str) -> None:
    shown = f"read_stream({how})"
    want = list(read_stream(chunks))
    got = mine.call("read_stream", chunks, shown=shown)
    if isinstance(got, str):
        raise Wrong(f"{shown} returns one str; yield the pieces one at a time")
    if got is not None and "" in got and "" not in want:
        raise Wrong(f"{shown} yields an empty piece; leave those out")
    mistakes = {"a piece after the line that is done; end there": [*want, "more"]}
    if isinstance(got, list) and difference(got, [*want, " end"][: len(want) - 1], "") is None:
        raise Wrong(f"{shown} loses the last piece, of the line that is done")
    mine.equal(got, want, shown, mistakes)


def _refuse(mine: Attempt) -> None:
    chunk = b'{"response": "the", "done": false}\n{"error": "out of memory"}\n'
    function = mine.find("read_stream")
    try:
        list(function([chunk]))
    except ValueError as error:
        said = f"the message of the ValueError of read_stream is {str(error)!r}"
        if str(error) != "out of memory":
            raise Wrong(f"{said}, expected 'out of memory', the line's error") from error
    except KeyError as error:
        raise Wrong(
            f"read_stream raises KeyError({error}) for a line with an error; raise a ValueError "
            "with the error's text"
        ) from error
    else:
        raise Wrong("read_stream does not raise a ValueError for a line with an error")


# END HIDDEN TESTS
