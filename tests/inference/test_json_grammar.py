"""What is written under the JSON grammar is JSON, whatever the model would rather say."""

import json
import string

import pytest
import torch

from datamodules import CharTokenizer
from inference.generate import TextGenerator
from inference.json_grammar import DONE, START, JsonGrammar, _walk
from inference.sampling import SamplingOptions
from inference.tokenizer import Tokenizer
from lightning_modules.nets.gpt import GPT, GPTConfig

CHARACTERS = string.ascii_letters + string.digits + ' {}[]":,.-+\\/\n'


def _generator(slots: int = 1, characters: str = CHARACTERS, unused: int = 0) -> TextGenerator:
    torch.manual_seed(0)
    config = GPTConfig(vocab_size=len(characters) + unused, context=64)
    net = GPT(config)
    for parameter in net.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    tokenizer = Tokenizer(CharTokenizer(characters).to_json())
    return TextGenerator(vars(config), net.state_dict(), tokenizer, "cpu", None, slots)


def test_every_text_is_an_object_or_the_beginning_of_one() -> None:
    options = [SamplingOptions(400, 1.5, seed=seed, json=True) for seed in range(30)]
    options += [SamplingOptions(60, 0.8, seed=seed) for seed in range(5)]
    texts = _generator(8).generate(["the cat"] * 35, options)
    done = [text for text in texts[:30] if text.reason == "stop"]
    assert len(done) >= 5
    for text in done:
        assert isinstance(json.loads(text.text), dict)
    for text in texts[:30]:
        assert _walk(START, text.text.encode()) is not None
    alone = _generator(1)
    for option, text in list(zip(options, texts, strict=True))[::6]:
        assert alone.generate(["the cat"], option)[0].text == text.text
    assert all(text.reason == "length" for text in texts[30:])


def test_tokens_that_the_tokenizer_has_not_are_never_taken() -> None:
    options = [SamplingOptions(50, 5.0, seed=seed, json=True) for seed in range(10)]
    for text in _generator(4, unused=200).generate(["the cat"] * 10, options):
        assert _walk(START, text.text.encode()) is not None


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"a":1}',
        '{"a": -0.5e+3, "b":[1, 20,[]],"c":{"d":{}}}',
        '{"\\u00e9\\n\\"":[true,false,null,"x",0]}',
        '{"é":"日本"}',
    ],
)
def test_objects_pass_and_end(text: str) -> None:
    json.loads(text)
    assert _walk(START, text.encode()) == DONE
    for cut in range(1, len(text.encode())):
        assert _walk(START, text.encode()[:cut]) not in (None, DONE)


@pytest.mark.parametrize(
    "text",
    [
        *("[", "1", " {", "{a", "{,", "{}}", '{"a"1', '{"a":01', '{"a":.5', '{"a":1.}', '{"a":+1'),
        *('{"a":truth', '{"a":1,}', '{"a":[1,]', '{"a":1]', '{"a":"\n', '{"a":"\\x', '{"a":-}'),
        *('{"a":"\\u12g', '{"a":  1', '{"a":1e}', '{"a":' + "[" * 40),
    ],
)
def test_what_is_no_json_does_not_pass(text: str) -> None:
    assert _walk(START, text.encode()) is None


def test_tokens_of_several_letters() -> None:
    pytest.importorskip("tokenizers")
    from datamodules import BPETokenizer

    bpe = BPETokenizer.fit('{"a": {"b": [1, 2]}} {"a": {"b": [1, 2]}}', 300)
    tokenizer = Tokenizer(bpe.to_json())
    grammar = JsonGrammar(tokenizer)
    state = START
    for token in tokenizer.encode('{"a": {"b": [1, 2]}}'):
        mask = grammar.allowed(state)
        expected = [_walk(state, piece) is not None for piece in tokenizer.pieces]
        assert mask.tolist() == expected
        assert mask[token]
        state = grammar.after(state, token)
    assert state == DONE


def test_a_vocabulary_that_cannot_write_json_is_refused() -> None:
    with pytest.raises(ValueError, match=r"its vocabulary lacks \{ \} \[ \] \" : ,"):
        _generator(characters="the cat").begin("the", SamplingOptions(json=True))
