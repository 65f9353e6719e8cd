"""Text that is shown while its tokens come."""

import codecs
import random

import pytest

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


@pytest.mark.parametrize("stops", [(), ("zz",), ("\u00e9", "b ")])
def test_tokens_of_whole_and_of_broken_characters_are_what_their_bytes_are(stops: tuple) -> None:
    pytest.importorskip("tokenizers")
    from datamodules import BPETokenizer

    tokenizer = Tokenizer(BPETokenizer.fit("\u00e9 abb \u65e5 " * 9, 265).to_json())
    assert {None, "a", " ", "\u00e9"} < set(tokenizer.texts)  # one that is half a character, too
    drawn = random.Random(0)
    for _ in range(300):
        ids = drawn.choices(range(tokenizer.vocab_size), k=20)
        if drawn.random() < 0.5:  # characters that are cut into single bytes, all there
            ids += tokenizer.encode("a\u65e5b\U0001f642")
        stream, bytes_decoder = TextStream(tokenizer), codecs.getincrementaldecoder("utf-8")
        decoder = bytes_decoder("replace")
        expected = [decoder.decode(tokenizer.pieces[token]) for token in ids]
        assert [stream.push(token) for token in ids] == expected
        assert stream.came == len("".join(expected))
        assert stream.text + stream.flush() == tokenizer.decode(ids)
        stopping = TextStream(tokenizer, stops)
        for token in ids:
            if not stopping.stopped:
                stopping.push(token)
        stopping.flush()
        assert stopping.text == _expected(tokenizer.decode(ids), list(stops))
