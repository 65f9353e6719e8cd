"""What a slot's cache has of a prompt is not prefilled again, and no text is another for it."""

import random

import pytest
import torch

from datamodules import CharTokenizer
from inference.text.batching import Batcher, Request
from inference.text.decode_loop import DecodeLoop
from inference.text.generate import TextGenerator
from inference.text.prefix import FEWEST, choose_slot, common_prefix
from inference.text.sampling import SamplingOptions
from inference.text.slot import Slot
from inference.text.tokenizer import Tokenizer
from lightning_modules.nets.gpt import GPT, GPT2_SWITCHES, GPTConfig

CHARACTERS = " .acdeghlmnorst"
COURSE = GPTConfig(context=256)
GPT2 = GPTConfig(context=256, width=32, layers=2, heads=4, **GPT2_SWITCHES)
BARE = GPTConfig(
    context=256, width=32, heads=2, **(GPT2_SWITCHES | {"qkv_bias": False}), bias=False
)
SHAPES = pytest.mark.parametrize("config", [COURSE, GPT2, BARE], ids=["course", "gpt2", "no-bias"])


def _generator(config: GPTConfig, slots: int, device: str = "cpu") -> TextGenerator:
    torch.manual_seed(0)
    net = GPT(config).eval()
    for parameter in net.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    tokenizer = Tokenizer(CharTokenizer(CHARACTERS).to_json())
    return TextGenerator(vars(config), net.state_dict(), tokenizer, device, torch.float32, slots)


@SHAPES
@pytest.mark.parametrize("start", [1, 40, 99])
def test_extending_a_sequence_is_prefilling_all_of_it(config: GPTConfig, start: int) -> None:
    ids = torch.randint(15, (1, 100), generator=torch.Generator().manual_seed(1))
    model = _generator(config, 3).model
    with torch.inference_mode():
        model.prefill(ids[:, :start], torch.tensor([1]))
        extended = model.extend(ids[:, start:], 1, start)
        whole = model.prefill(ids)
    torch.testing.assert_close(extended, whole[:, start:], rtol=0, atol=2e-5)


def _conversations(count: int, turns: int) -> list[list[tuple[str, SamplingOptions]]]:
    """What is said in each turn, and how the answer is sampled."""
    chance = random.Random(0)
    return [
        [
            (
                "".join(chance.choice(CHARACTERS) for _ in range(chance.randint(5, 30))),
                SamplingOptions(
                    chance.randint(1, 25),
                    chance.choice([0.0, 0.7, 1.2]),
                    top_k=chance.choice([0, 5]),
                    repetition_penalty=chance.choice([1.0, 1.3]),
                    logprobs=chance.choice([None, 2]),
                    stop=chance.choice([(), ("a",), ("th", "o ")]),
                    seed=chance.randint(0, 99),
                ),
            )
            for _ in range(turns)
        ]
        for _ in range(count)
    ]


def _texts(batcher: Batcher, conversations: list) -> tuple[list[list[str]], int]:
    """The answers of conversations that run beside each other, and the tokens that were reused."""
    histories = ["the cat sat on the mat and the dog ate. "[: n * 9] for n in range(5)]
    histories = [histories[n % 5] for n in range(len(conversations))]
    texts: list[list[str]] = [[] for _ in conversations]
    reused = 0
    for turn in range(len(conversations[0])):
        asked: list[Request] = []
        for n, conversation in enumerate(conversations):
            said, options = conversation[turn]
            histories[n] += said
            asked.append(batcher.submit(histories[n], options))
        for n, request in enumerate(asked):
            text = request.result(60).text
            reused += request.generation.reused_tokens
            histories[n] += text
            texts[n].append(text)
    return texts, reused


@SHAPES
@pytest.mark.parametrize("slots", [1, 3, 12])
def test_conversations_are_the_same_with_and_without(config: GPTConfig, slots: int) -> None:
    conversations = _conversations(8, 4)
    found = {}
    for reuse in (False, True):
        batcher = Batcher(_generator(config, slots), reuse=reuse)
        found[reuse], reused = _texts(batcher, conversations)
        batcher.close()
        assert not reused or reuse
        assert reused or not reuse or slots < 8  # fewer slots than conversations forget them
    assert found[True] == found[False]


def test_a_next_turn_prefills_only_what_is_new() -> None:
    batcher = Batcher(_generator(COURSE, 2), reuse=True)
    said = "the cat sat on the mat. the dog sat on the log. "
    greedy = SamplingOptions(10, 0.0)
    first = batcher.submit(said, greedy).result(20)
    assert first.reused_tokens == 0
    # The last token of an answer is not yet in the cache.
    second = batcher.submit(said + first.text + " and the cat", greedy).result(20)
    assert second.reused_tokens == len(said) + 10 - 1
    other = batcher.submit("cats and dogs and " * 4, greedy).result(20)
    assert other.reused_tokens == 0
    again = batcher.submit(said + first.text + " and the cat", greedy).result(20)
    assert (again.text, again.reused_tokens) == (second.text, second.prompt_tokens - 1)
    batcher.close()


def test_a_sequence_that_was_shifted_or_cancelled_can_be_continued() -> None:
    plain, reusing = Batcher(_generator(COURSE, 1)), Batcher(_generator(COURSE, 1), reuse=True)
    for batcher in (plain, reusing):
        long = batcher.submit("the dog ", SamplingOptions(300, 0.9, seed=3)).result(60)
        assert len(long.ids) > COURSE.context
        endless = batcher.submit("the cat sat on a mat and ", SamplingOptions(100_000, seed=1))
        while len(endless.generation.tokens) < 60:
            endless.take()
        endless.cancel()
        endless.result(20)
    texts = {}
    for batcher in (plain, reusing):
        endings = []
        for cut in (40, 70, 3):
            prompt = endless.generation.ids[:cut]
            endings.append(batcher.submit(prompt, SamplingOptions(9, 0.0)).result(20).text)
            # What the cache held of the shifted sequence began in its middle.
            tail = long.ids[-120:]
            endings.append(batcher.submit(tail, SamplingOptions(9, 0.0)).result(20).text)
        texts[batcher] = endings
        batcher.close()
    assert texts[plain] == texts[reusing]


def test_a_scored_prompt_is_prefilled_whole() -> None:
    batcher = Batcher(_generator(COURSE, 1), reuse=True)
    prompt = "the cat sat on the mat. the dog sat on the log. "
    batcher.submit(prompt, SamplingOptions(3)).result(20)
    options = SamplingOptions(1, logprobs=0, score_prompt=True)
    done = batcher.submit(prompt, options).result(20)
    batcher.close()
    assert done.reused_tokens == 0
    assert len(done.prompt_scores) == len(prompt) - 1


def test_after_a_failing_step_nothing_is_reused() -> None:
    generator = _generator(COURSE, 1)
    batcher = Batcher(generator, reuse=True)
    prompt = "the cat sat on the mat. the dog sat on the log. "
    batcher.submit(prompt, SamplingOptions(3)).result(20)
    step = generator.engine.step

    def fail() -> None:
        raise RuntimeError("the device is on fire")

    generator.engine.step = fail  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="on fire"):
        batcher.submit("a dog", SamplingOptions(3)).result(20)
    generator.engine.step = step  # type: ignore[method-assign]
    assert batcher.submit(prompt, SamplingOptions(3)).result(20).reused_tokens == 0
    batcher.close()


def test_what_is_common_to_two_sequences() -> None:
    ids = list(range(300))
    for length in (0, 1, 63, 64, 65, 128, 299):
        assert common_prefix(ids, ids[:length]) == length
        assert common_prefix(ids[:length], ids) == length
        assert common_prefix(ids, [*ids[:length], -1, *ids[length:]]) == length
    assert common_prefix(ids, ids) == 300


def _slot(held: list[int], freed: int) -> Slot:
    slot = Slot(freed, 512)
    slot.held, slot.freed = held, freed
    return slot


def test_a_conversation_keeps_its_slot_while_there_are_others() -> None:
    shared = list(range(100))
    mine, longer, unused = _slot([*shared, 7, 8], 3), _slot([*shared, *[5] * 200], 2), _slot([], 0)
    assert choose_slot([unused, longer, mine], [*shared, 7, 8, 9]) == (mine, 102)
    # A third of what it holds: it may still be needed, unless there is no other.
    assert choose_slot([unused, longer], [*shared, 9]) == (unused, 0)
    assert choose_slot([longer], [*shared, 9]) == (longer, 100)
    # Too little to be worth a prefill of its own; the longest free slot is taken.
    assert choose_slot([mine, longer], list(range(FEWEST))) == (longer, 0)
    # The last token of a prompt is always new.
    assert choose_slot([mine], shared)[1] == 99


def test_reuse_needs_a_cache() -> None:
    generator = _generator(COURSE, 1)
    generator.engine.cache = False
    with pytest.raises(ValueError, match="reuse needs a cache"):
        Batcher(generator, reuse=True)
    assert not DecodeLoop(generator.engine).reuse


@pytest.mark.gpu
def test_on_a_gpu_in_float32_conversations_are_the_same() -> None:
    conversations = _conversations(8, 4)
    expected, _ = _texts(Batcher(_generator(GPT2, 12)), conversations)
    for reuse in (False, True):
        batcher = Batcher(_generator(GPT2, 12, "cuda"), reuse=reuse)
        found, reused = _texts(batcher, conversations)
        batcher.close()
        assert bool(reused) is reuse
        assert found == expected
