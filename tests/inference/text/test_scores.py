"""Log-probabilities are those of the net, whatever is sampled and whoever else is in the batch."""

from pathlib import Path

import pytest
import torch

from datamodules import CharTokenizer
from inference.text.decode_loop import Generation
from inference.text.generate import TextGenerator
from inference.text.sampling import SamplingOptions
from inference.text.scores import TokenScore
from inference.text.tokenizer import Tokenizer
from lightning_modules.nets.gpt import GPT, GPT2_SWITCHES, GPTConfig

CHARACTERS = " .acdeghlmnorst"
COURSE = GPTConfig()
GPT2 = GPTConfig(context=32, width=32, layers=2, heads=4, **GPT2_SWITCHES)
PROMPTS = ["the cat", "t", "the dog sat on the log. the c", "dogs and cats"]
GREEDY = SamplingOptions(20, 0.0, logprobs=20)
CHANGED = SamplingOptions(
    20,
    1.3,
    top_k=5,
    top_p=0.9,
    min_p=0.01,
    repetition_penalty=1.3,
    frequency_penalty=0.5,
    logit_bias=((3, 4.0), (0, -100.0)),
    logprobs=4,
    seed=1,
)


def _net(config: GPTConfig) -> GPT:
    torch.manual_seed(0)
    net = GPT(config).eval().requires_grad_(False)
    for parameter in net.parameters():
        parameter += 0.3 * torch.randn_like(parameter)
    return net


def _generator(config: GPTConfig, device: str = "cpu", **kwargs) -> TextGenerator:
    tokenizer = Tokenizer(CharTokenizer(CHARACTERS).to_json())
    weights = _net(config).state_dict()
    return TextGenerator(vars(config), weights, tokenizer, device, torch.float32, **kwargs)


def _expected(config: GPTConfig, ids: list[int]) -> torch.Tensor:
    """Log-probabilities (T, V) after each token: a softmax in float64 of the net's own logits.

    A sequence beyond the context is shifted, so that is not compared here.
    """
    return _net(config).double()(torch.tensor([ids]))[0].log_softmax(-1)


def _check(scores: list[TokenScore], tokens: list[int], expected: torch.Tensor, top: int) -> None:
    assert [score.token for score in scores] == tokens
    for score, row in zip(scores, expected, strict=True):
        assert score.logprob == pytest.approx(float(row[score.token]), abs=1e-4)
        best = row.topk(min(top, len(row)))
        assert [value for _, value in score.top] == pytest.approx(best.values.tolist(), abs=1e-4)
        assert all(
            value == pytest.approx(float(row[token]), abs=1e-4) for token, value in score.top
        )


def _check_all(config: GPTConfig, generation: Generation) -> None:
    expected = _expected(config, generation.ids[:-1])
    first = generation.prompt_tokens - 1
    assert generation.options.logprobs is not None
    _check(generation.scores, generation.tokens, expected[first:], generation.options.logprobs)
    assert "".join(CHARACTERS[score.token] for score in generation.scores) == generation.text
    assert [score.offset for score in generation.scores] == list(range(len(generation.tokens)))


@pytest.mark.parametrize("config", [COURSE, GPT2], ids=["course", "gpt2"])
@pytest.mark.parametrize("options", [GREEDY, CHANGED], ids=["greedy", "changed"])
@pytest.mark.parametrize("how", [{}, {"slots": 3}, {"cache": False}], ids=str)
def test_scores_are_the_softmax_of_the_nets_logits(
    config: GPTConfig, options: SamplingOptions, how: dict
) -> None:
    generator = _generator(config, **how)
    short = [SamplingOptions(**vars(options) | {"max_new_tokens": 3}), options]
    asked = [short[len(prompt) < 13] for prompt in PROMPTS]
    for generation in generator.generate(PROMPTS, asked):
        _check_all(config, generation)


def test_who_else_is_in_the_batch_changes_no_score() -> None:
    """Alone, beside others of the same kind, and beside others that are not scored at all."""
    others = [SamplingOptions(25, 0.9, seed=9), GREEDY, CHANGED, SamplingOptions(10, 0.0)]
    (alone,) = _generator(COURSE).generate(["the cat"], CHANGED)
    together = _generator(COURSE, slots=8).generate(["the cat", *PROMPTS], [CHANGED, *others])
    assert together[0].tokens == alone.tokens
    assert together[0].text == alone.text
    for one, other in zip(together[0].scores, alone.scores, strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-5)
        assert [token for token, _ in one.top] == [token for token, _ in other.top]
    assert together[1].scores == []
    assert together[1].text == _generator(COURSE).generate(["the cat"], others[0])[0].text


@pytest.mark.parametrize("how", [{}, {"slots": 4}, {"cache": False}], ids=str)
@pytest.mark.parametrize("count", [0, 2])
def test_the_tokens_of_a_prompt_are_scored(how: dict, count: int) -> None:
    options = SamplingOptions(count, 0.0, logprobs=3, score_prompt=True)
    others = [options, SamplingOptions(5, 0.0), options, options]
    for generation in _generator(COURSE, **how).generate(PROMPTS, others):
        if generation.options is not options:
            assert generation.prompt_scores == []
            continue
        assert (generation.reason, len(generation.tokens)) == ("length", count)
        prompt = generation.ids[: generation.prompt_tokens]
        _check(generation.prompt_scores, prompt[1:], _expected(COURSE, prompt)[:-1], 3)


def test_a_prompt_that_fills_the_context_is_scored_whole() -> None:
    options = SamplingOptions(1, 0.0, logprobs=0, score_prompt=True)
    (done,) = _generator(COURSE).generate(["the cat sat on the mat. the cats"], options)
    assert done.prompt_tokens == 32
    _check(done.prompt_scores, done.ids[1:32], _expected(COURSE, done.ids[:32])[:-1], 0)
    assert len(done.scores) == 1


def test_scores_come_with_the_text_of_their_tokens() -> None:
    generator = _generator(COURSE)
    (whole,) = generator.generate(["the cat"], GREEDY)
    stop = whole.text[8:11]
    end = whole.text.index(stop)
    options = SamplingOptions(**vars(GREEDY) | {"stop": (stop,)})
    generation = generator.begin("the cat", options)
    shown = 0
    for _, piece in generator.run([generation]):
        shown += len(piece)
        assert len(generation.scores) == shown
    assert generation.text == whole.text[:end]
    assert generation.scores == whole.scores[:end]


def test_a_character_of_several_tokens_has_a_score_for_each() -> None:
    pytest.importorskip("tokenizers")
    from datamodules import BPETokenizer

    tokenizer = Tokenizer(BPETokenizer.fit("aaaa bbbb", 257).to_json())
    ids = tokenizer.encode("é日!")
    assert tokenizer.end is not None
    generation = Generation([0], SamplingOptions(20, logprobs=0), tokenizer)
    for token in [*ids, tokenizer.end]:
        generation.push(token, TokenScore(token, -1.0, ()))
    assert generation.text == "é日!"
    assert [score.offset for score in generation.scores] == [0, 0, 1, 1, 1, 2, 3]
    assert generation.scores[-1].token == tokenizer.end
    assert generation.reason == "stop"


def test_rows_beyond_the_tokenizers_vocabulary_count_and_are_not_listed() -> None:
    weights = _net(COURSE).state_dict()
    for name in ("token.weight", "head.weight", "head.bias"):
        weights[name] = torch.cat([weights[name], torch.full_like(weights[name][:3], 0.1)])
    wider = GPTConfig(vocab_size=COURSE.vocab_size + 3)
    net = GPT(wider)
    net.load_state_dict(weights)
    tokenizer = Tokenizer(CharTokenizer(CHARACTERS).to_json())
    generator = TextGenerator(vars(wider), weights, tokenizer, device="cpu")
    (done,) = generator.generate(["the cat"], GREEDY)
    with torch.no_grad():
        expected = net.double()(torch.tensor([done.ids[:-1]]))[0, 6:].log_softmax(-1)
    for score, row in zip(done.scores, expected, strict=True):
        assert score.logprob == pytest.approx(float(row[score.token]), abs=1e-4)
        assert {token for token, _ in score.top} == set(range(15))


def test_a_bias_moves_what_is_sampled() -> None:
    generator = _generator(COURSE, slots=2)
    letter = CHARACTERS.index("g")
    always = SamplingOptions(12, 1.0, seed=1, logit_bias=((letter, 100.0),))
    never = SamplingOptions(200, 1.0, seed=1, logit_bias=((letter, -100.0),))
    first, second = generator.generate(["the cat", "the cat"], [always, never])
    assert first.text == "g" * 12
    assert "g" not in second.text
    # The next request in the same slot has none.
    plain = SamplingOptions(60, 1.0, seed=1)
    assert generator.generate(["the cat"], plain)[0].text == (
        _generator(COURSE).generate(["the cat"], plain)[0].text
    )
    with pytest.raises(ValueError, match="names token 15; this model's are 0 to 14"):
        generator.begin("the cat", SamplingOptions(logit_bias=((15, 1.0),)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"logprobs": 21}, "logprobs must be from 0 to 20"),
        ({"logprobs": -1}, "logprobs must be from 0 to 20"),
        ({"logit_bias": ((0, 101.0),)}, "from -100 to 100"),
        ({"logit_bias": ((0, float("nan")),)}, "from -100 to 100"),
        ({"max_new_tokens": -1, "score_prompt": True}, "max_new_tokens must be"),
    ],
)
def test_options_out_of_range_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SamplingOptions(**options)


@pytest.mark.slow
def test_an_onnx_file_scores_alike(tmp_path: Path) -> None:
    for package in ("onnxruntime", "onnxscript"):
        pytest.importorskip(package)
    from exporting.text import export_text
    from tests.exporting.text.test_text_export import text_source

    export_text(text_source(_net(COURSE)), tmp_path / "small", ["onnx"])
    generator = TextGenerator.load(tmp_path / "small", "onnx")
    options = SamplingOptions(9, 0.0, logprobs=3, score_prompt=True)
    for generation in generator.generate(["the cat", "a dog"], options):
        _check_all(COURSE, generation)
        prompt = generation.ids[: generation.prompt_tokens]
        _check(generation.prompt_scores, prompt[1:], _expected(COURSE, prompt)[:-1], 3)


@pytest.mark.gpu
def test_a_cuda_graph_scores_what_the_cpu_scores() -> None:
    for options in (GREEDY, CHANGED, SamplingOptions(9, 0.0, logprobs=3, score_prompt=True)):
        asked = [SamplingOptions(5, 0.8, seed=1), options, options, SamplingOptions(3, 0.0)]
        for slots in (1, 4):
            generator = _generator(COURSE, "cuda", slots=slots)
            for generation in generator.generate(["the cat", "t", "a dog", "the"], asked):
                if generation.options is not options:
                    continue
                _check_all(COURSE, generation)
                if options.score_prompt:
                    prompt = generation.ids[: generation.prompt_tokens]
                    expected = _expected(COURSE, prompt)[:-1]
                    _check(generation.prompt_scores, prompt[1:], expected, 3)
