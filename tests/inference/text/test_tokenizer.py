"""Text that is shown while its tokens come."""

import random

from datamodules import CharTokenizer
from inference.text.text_stream import TextStream
from inference.text.tokenizer import Tokenizer


def _expected(text: str, stops: list[str]) -> str:
    """Up to the stop string that ends first; of several that end there, the longest."""
    for end in range(1, len(text) + 1):
        if found := [len(stop) for stop in stops if text[:end].endswith(stop)]:
            return text[: end - max(found)]
    return text


def test_stop_strings_are_cut_off_and_never_shown_in_part() -> None:
    drawn = random.Random(0)
    tokenizer = Tokenizer(CharTokenizer("abc").to_json())
    stopped = 0
    for _ in range(2000):
        text = "".join(drawn.choices("abc", weights=[6, 3, 1], k=30))
        stops = ["".join(drawn.choices("aab", k=drawn.randint(1, 6))) for _ in range(3)]
        stream, shown = TextStream(tokenizer, stops), ""
        for token in tokenizer.encode(text):
            shown += stream.push(token)
            assert _expected(text, stops).startswith(shown)
            if stream.stopped:
                break
        shown += stream.flush()
        assert shown == stream.text == _expected(text, stops)
        assert (stream.stop in stops) is stream.stopped
        assert text[len(shown) :].startswith(stream.stop or "")
        stopped += stream.stopped
    assert 500 < stopped < 2000
