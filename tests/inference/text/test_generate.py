"""The sampler: the cache, the batch and the seed change nothing; options do what they say."""

import itertools
from dataclasses import replace

import pytest
import torch

from datamodules import CharTokenizer
from inference.text.decode_loop import Generation
from inference.text.generate import TextGenerator
from inference.text.sampling import Sampler, SamplingOptions, sample_next_token
from inference.text.text_stream import TextStream
from inference.text.tokenizer import Tokenizer
from lightning_modules.nets.gpt import GPT, GPT2_SWITCHES, GPTConfig

CHARACTERS = " .acdeghlmnorst"
COURSE = GPTConfig()
GPT2 = GPTConfig(context=32, width=32, layers=2, heads=4, **GPT2_SWITCHES)
BARE = GPTConfig(width=32, heads=2, **(GPT2_SWITCHES | {"qkv_bias": False}), bias=False)
PROMPTS = ["the cat", "t", "the dog sat on the log. the c", "dogs and cats"]


def _net(config: GPTConfig) -> GPT:
    torch.manual_seed(0)
    net = GPT(config).eval()
    for parameter in net.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return net


def _generator(config: GPTConfig, **kwargs) -> TextGenerator:
    tokenizer = Tokenizer(CharTokenizer(CHARACTERS).to_json())
    return TextGenerator(vars(config), _net(config).state_dict(), tokenizer, device="cpu", **kwargs)


def _texts(generator: TextGenerator, **options) -> list[str]:
    done = generator.generate(PROMPTS, SamplingOptions(**options))
    assert all(text.reason == "length" for text in done)
    return [text.text for text in done]


GREEDY = {"temperature": 0.0, "max_new_tokens": 80}  # past the context of 32, so it shifts
WILD = {"temperature": 1.5, "top_k": 9, "top_p": 0.95, "repetition_penalty": 1.2, "seed": 7}


@pytest.mark.parametrize("config", [COURSE, GPT2, BARE], ids=["course", "gpt2", "no-bias"])
@pytest.mark.parametrize("options", [GREEDY, WILD], ids=["greedy", "sampled"])
def test_cache_batch_and_order_change_nothing(config: GPTConfig, options: dict) -> None:
    reference = _texts(_generator(config, cache=False), **options)
    assert len(set(reference)) > 1
    assert _texts(_generator(config), **options) == reference
    assert _texts(_generator(config, slots=3), **options) == reference
    assert _texts(_generator(config, slots=8), **options) == reference


@pytest.mark.parametrize("config", [COURSE, GPT2, BARE], ids=["course", "gpt2", "no-bias"])
def test_greedy_tokens_are_those_of_the_training_net(config: GPTConfig) -> None:
    net = _net(config)
    generation = _generator(config).generate(["the cat"], SamplingOptions(25, temperature=0))[0]
    ids = generation.ids[:7]
    with torch.no_grad():
        for _ in range(25):
            ids.append(int(net(torch.tensor([ids]))[0, -1].argmax()))
    assert ids == generation.ids


def test_a_seed_gives_a_text_and_another_seed_another() -> None:
    generator = _generator(GPT2)
    first = _texts(generator, temperature=1.0, seed=1)
    assert _texts(generator, temperature=1.0, seed=1) == first
    assert _texts(generator, temperature=1.0, seed=2) != first
    unseeded = {tuple(_texts(generator, temperature=1.0)) for _ in range(3)}
    assert len(unseeded) == 3


def test_rows_with_different_options_do_not_touch_each_other() -> None:
    each = [
        SamplingOptions(20, temperature=0),
        SamplingOptions(30, temperature=1.0, seed=3),
        SamplingOptions(10, temperature=0, repetition_penalty=1.5),
        SamplingOptions(40, temperature=2.0, top_k=3, seed=4),
    ]
    alone = [
        _generator(COURSE).generate([p], o)[0].text for p, o in zip(PROMPTS, each, strict=True)
    ]
    together = _generator(COURSE, slots=4).generate(PROMPTS, each)
    assert [text.text for text in together] == alone


def test_the_stream_is_the_text() -> None:
    generator = _generator(COURSE)
    options = SamplingOptions(50, temperature=0)
    assert "".join(generator.stream("the cat", options)) == _texts(generator, **GREEDY)[0][:50]


def test_an_abandoned_stream_leaves_a_clean_engine() -> None:
    generator = _generator(COURSE)
    expected = _texts(generator, **GREEDY)
    stream = generator.stream("a dog", SamplingOptions(temperature=0))
    next(stream)
    stream.close()
    assert _texts(generator, **GREEDY) == expected


def _frequencies(n: int = 4000, **options) -> torch.Tensor:
    """How often each of five tokens with probabilities 0.4, 0.3, 0.15, 0.1, 0.05 is chosen."""
    sampler = Sampler(n, 5, 4, torch.device("cpu"))
    for name, value in options.items():
        getattr(sampler, name).fill_(value)
    sampler.temperature.fill_(options.get("temperature", 1.0))
    sampler.noise = torch.rand(n, 4, generator=torch.Generator().manual_seed(0))
    logits = torch.tensor([0.15, 0.4, 0.05, 0.3, 0.1]).log().expand(n, 5)
    chosen = sampler.sample(logits, torch.full((n,), 2))
    return torch.bincount(chosen, minlength=5) / n


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.15, 0.4, 0.05, 0.3, 0.1]),
        ({"top_k": 2}, [0, 4 / 7, 0, 3 / 7, 0]),
        ({"top_p": 0.8}, [3 / 17, 8 / 17, 0, 6 / 17, 0]),
        ({"min_p": 0.3}, [3 / 17, 8 / 17, 0, 6 / 17, 0]),
        ({"temperature": 0.0}, [0, 1, 0, 0, 0]),
        ({"temperature": 0.5}, [0.0763, 0.5424, 0.0085, 0.3051, 0.0339]),
        ({"top_p": 1e-6}, [0, 1, 0, 0, 0]),
    ],
)
def test_tokens_come_as_often_as_they_should(options: dict, expected: list[float]) -> None:
    found = _frequencies(**options)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float), rtol=0, atol=0.025)


def test_the_order_of_filters_is_that_of_transformers() -> None:
    processors = pytest.importorskip("transformers.generation.logits_process")
    torch.manual_seed(3)
    logits = torch.randn(1, 40) * 3
    ids = torch.tensor([[1, 5, 5, 9]])
    expected = logits
    for process in (
        processors.RepetitionPenaltyLogitsProcessor(1.3),
        processors.TemperatureLogitsWarper(0.7),
        processors.TopKLogitsWarper(20),
        processors.TopPLogitsWarper(0.9),
        processors.MinPLogitsWarper(0.02),
    ):
        expected = process(ids, expected)
    expected = expected.softmax(-1)[0]

    n = 20_001
    sampler = Sampler(n, 40, 1, torch.device("cpu"))
    sampler.repetition.fill_(1.3), sampler.temperature.fill_(0.7), sampler.top_k.fill_(20)
    sampler.top_p.fill_(0.9), sampler.min_p.fill_(0.02)
    sampler.counts[:, ids[0]] = 1
    sampler.noise = torch.linspace(0, 1, n + 1)[:-1, None]
    penalised = sampler.adjusted(logits.expand(n, 40))
    chosen = sampler.sample(penalised, torch.zeros(n, dtype=torch.long))
    found = torch.bincount(chosen, minlength=40) / n
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize("penalty", [1.7, 0.6])
def test_the_repetition_penalty_is_that_of_transformers(penalty: float) -> None:
    """A negative logit is multiplied, or the token would become more likely."""
    processors = pytest.importorskip("transformers.generation.logits_process")
    logits = torch.tensor([[-3.0, -0.5, 0.0, 0.5, 3.0, 1.0, -1.0]])
    ids = torch.tensor([[0, 1, 2, 3, 3, 4]])
    expected = processors.RepetitionPenaltyLogitsProcessor(penalty)(ids, logits.clone())
    sampler = Sampler(1, 7, 1, torch.device("cpu"))
    sampler.repetition.fill_(penalty)
    sampler.counts[0] = torch.bincount(ids[0], minlength=7)
    torch.testing.assert_close(sampler.adjusted(logits), expected)
    options = SamplingOptions(temperature=0, repetition_penalty=penalty)
    generator = torch.Generator()
    for seen, other in itertools.permutations((-1.0, -0.9, -0.7, 0.7, 0.9, 1.0), 2):
        pair = torch.tensor([seen, other])
        process = processors.RepetitionPenaltyLogitsProcessor(penalty)
        expected = process(torch.tensor([[0]]), pair[None].clone())
        assert sample_next_token(pair, options, generator, [0]) == int(expected.argmax())


@pytest.mark.parametrize("largest", [0, 24])
def test_the_batched_sampler_samples_what_the_reference_does(largest: int) -> None:
    torch.manual_seed(5)
    vocab, context, length = 32, 24, 9
    options = [
        SamplingOptions(temperature=0, repetition_penalty=1.7, seed=0),
        SamplingOptions(temperature=0.7, top_k=5, seed=1),
        SamplingOptions(temperature=1.3, top_k=24, top_p=0.6, seed=2),
        SamplingOptions(temperature=0.9, top_k=20, min_p=0.1, seed=3),
        SamplingOptions(temperature=1.0, top_k=9, repetition_penalty=0.8, seed=4),
        SamplingOptions(temperature=1.0, top_k=24, presence_penalty=1.5, seed=5),
        SamplingOptions(
            temperature=1.0, top_k=12, frequency_penalty=0.7, penalty_window=4, min_p=0.02, seed=6
        ),
    ]
    slots = len(options)
    sampler = Sampler(slots, vocab, context, torch.device("cpu"))
    sampler.set(dict(enumerate(options)))
    generators = [torch.Generator().manual_seed(one.seed or 0) for one in options]
    noise = [torch.rand(context, generator=generator) for generator in generators]
    ids = torch.randint(vocab, (slots, length))
    lengths = torch.full((slots, 1), length)
    sampler.fill(torch.arange(slots), ids, lengths, torch.stack(noise), fresh=True)
    sequences = ids.tolist()
    for one, generator in zip(options, generators, strict=True):
        generator.manual_seed(one.seed or 0)
        torch.rand(length - 1, generator=generator)  # the position of the prompt's last token
    for position in range(length - 1, context - 1):
        logits = torch.randn(slots, vocab) * 3
        positions = torch.full((slots,), position)
        sampled = sampler.sample(sampler.adjusted(logits), positions, largest)
        sampler.count(sampled, positions)
        expected = [
            sample_next_token(row, one, generator, sequence)
            for row, one, generator, sequence in zip(
                logits, options, generators, sequences, strict=True
            )
        ]
        assert sampled.tolist() == expected, position
        for sequence, token in zip(sequences, expected, strict=True):
            sequence.append(token)


def test_the_end_of_text_is_not_a_token_of_the_answer() -> None:
    pytest.importorskip("tokenizers")
    from datamodules import BPETokenizer

    tokenizer = Tokenizer(BPETokenizer.fit("the cat sat", 258).to_json())
    assert tokenizer.end is not None
    prompt, answer = tokenizer.encode("the"), tokenizer.encode(" cat")
    generation = Generation([*prompt], SamplingOptions(len(answer) + 1), tokenizer)
    pieces = [generation.push(token) for token in answer]
    assert generation.reason is None
    pieces.append(generation.push(tokenizer.end))
    assert generation.reason == "stop"
    assert "".join(pieces) == generation.text == " cat"
    assert (generation.tokens, generation.ids) == (answer, [*prompt, *answer])
    assert generation.prompt_tokens == len(prompt)


@pytest.mark.parametrize(
    ("stops", "text", "reason"),
    [(("x",), "the cat sat", "open"), (("sat",), "the cat ", "stop"), (("at", "the"), "", "stop")],
)
def test_stop_strings_end_the_text_before_them(stops: tuple, text: str, reason: str) -> None:
    tokenizer = Tokenizer(CharTokenizer("the cas").to_json())
    stream = TextStream(tokenizer, stops)
    shown = ""
    for token in tokenizer.encode("the cat sat"):
        if not stream.stopped:
            shown += stream.push(token)
    shown += stream.flush()
    assert shown == stream.text == text
    assert stream.stopped == (reason == "stop")


def test_a_character_of_several_tokens_is_shown_whole() -> None:
    pytest.importorskip("tokenizers")
    from datamodules import BPETokenizer

    bpe = BPETokenizer.fit("aaaa bbbb", 257)
    tokenizer = Tokenizer(bpe.to_json())
    text = "é 日本 🙂!"
    stream = TextStream(tokenizer)
    pieces = [stream.push(token) for token in bpe.encode(text).tolist()]
    assert "".join(pieces) == text
    assert "\ufffd" not in "".join(pieces)
    broken = TextStream(tokenizer)
    ids = bpe.encode("🙂").tolist()[:2]
    assert "".join(broken.push(token) for token in ids) == ""
    assert broken.flush() == "\ufffd"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -0.1}, "temperature must be 0"),
        ({"temperature": float("nan")}, "temperature must be 0"),
        ({"top_k": -1}, "top_k must be"),
        ({"seed": 2**64}, "seed must be a number of 64 bits"),
        ({"top_p": 0.0}, "top_p must be"),
        ({"min_p": 1.5}, "min_p must be"),
        ({"repetition_penalty": 0.0}, "repetition_penalty must be"),
        ({"max_new_tokens": 0}, "max_new_tokens must be"),
        ({"stop": ("",)}, "stop string"),
    ],
)
def test_options_out_of_range_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SamplingOptions(**options)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "prompt is empty"),
        ("THE böy", r"lacks 'E' 'H' 'T' 'b' 'y' 'ö'; it knows the 15 characters"),
        (
            "the cat sat on the mat. the cat sat",
            "prompt has 35 tokens and the model's context is 32",
        ),
    ],
)
def test_bad_prompts_are_refused(prompt: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _generator(COURSE).stream(prompt)


def test_a_long_prompt_can_be_cut_to_its_end() -> None:
    generator = _generator(COURSE)
    options = SamplingOptions(temperature=0)
    long = "the dog ran. the cat sat on the mat. the dog"
    cut = "".join(generator.stream(long, options, truncate=True))
    assert cut == "".join(generator.stream(long[-32:], options))


def test_a_foreign_tokenizer_is_refused() -> None:
    tokenizer = Tokenizer(CharTokenizer(CHARACTERS + "xyz").to_json())
    with pytest.raises(ValueError, match="18 tokens and the model 15: it belongs to another"):
        TextGenerator(vars(COURSE), _net(COURSE).state_dict(), tokenizer)


@pytest.mark.parametrize("config", [COURSE, GPT2], ids=["head", "tied"])
def test_rows_beyond_the_tokenizers_vocabulary_are_never_chosen(config: GPTConfig) -> None:
    net = _net(config)
    expected = _texts(_generator(config), **GREEDY)
    weights = net.state_dict()
    for name in ("token.weight", "head.weight", "head.bias"):
        if name in weights:
            weights[name] = torch.cat([weights[name], torch.full_like(weights[name][:3], 9.0)])
    wider = {**vars(config), "vocab_size": config.vocab_size + 3}
    tokenizer = Tokenizer(CharTokenizer(CHARACTERS).to_json())
    assert _texts(TextGenerator(wider, weights, tokenizer, device="cpu"), **GREEDY) == expected


def test_weights_of_another_shape_are_refused() -> None:
    tokenizer = Tokenizer(CharTokenizer(CHARACTERS).to_json())
    with pytest.raises(ValueError, match="weights do not belong"):
        TextGenerator(vars(GPT2), _net(COURSE).state_dict(), tokenizer)


@pytest.mark.slow
def test_a_compiled_step_writes_the_same() -> None:
    torch.compiler.reset()
    texts = []
    for config in (COURSE, replace(COURSE, gelu=True)):  # of the same shapes, in one process
        texts.append(_texts(_generator(config, compile=True), **GREEDY))
        assert texts[-1] == _texts(_generator(config), **GREEDY)
    assert texts[0] != texts[1]


@pytest.mark.gpu
@pytest.mark.parametrize("config", [COURSE, GPT2, BARE], ids=["course", "gpt2", "no-bias"])
@pytest.mark.parametrize("options", [GREEDY, WILD], ids=["greedy", "sampled"])
@pytest.mark.parametrize("compiled", [False, True], ids=["graph", "compiled"])
def test_a_cuda_graph_writes_what_the_cpu_writes(
    config: GPTConfig, options: dict, compiled: bool
) -> None:
    expected = _texts(_generator(config), **options)
    tokenizer = Tokenizer(CharTokenizer(CHARACTERS).to_json())
    for slots in (1, 3):
        generator = TextGenerator(
            vars(config),
            _net(config).state_dict(),
            tokenizer,
            device="cuda",
            dtype=torch.float32,
            slots=slots,
            compile=compiled,
        )
        assert _texts(generator, **options) == expected
