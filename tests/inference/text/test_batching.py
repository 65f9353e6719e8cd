"""Requests that join, leave and fail in the middle of a batch change nothing for the others."""

import dataclasses
import gc
import os
import threading
import time
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from datamodules import CharTokenizer
from inference.text.batching import Batcher, Closed, QueueFull, Request
from inference.text.decode_loop import DecodeLoop
from inference.text.embedding import Embedder
from inference.text.generate import TextGenerator
from inference.text.sampling import SamplingOptions
from inference.text.tokenizer import Tokenizer
from lightning_modules.nets.gpt import GPT, GPTConfig

CHARACTERS = " .acdeghlmnorst"
LONG = SamplingOptions(100_000, seed=0)


def _generator(slots: int, device: str = "cpu", **kwargs) -> TextGenerator:
    torch.manual_seed(0)
    net = GPT(GPTConfig()).eval()
    for parameter in net.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    tokenizer = Tokenizer(CharTokenizer(CHARACTERS).to_json())
    config = vars(GPTConfig())
    return TextGenerator(
        config, net.state_dict(), tokenizer, device, torch.float32, slots, **kwargs
    )


def _asked(count: int) -> list[tuple[str, SamplingOptions]]:
    prompts = ["the cat", "t", "the dog sat on the log. the c", "dogs and cats"]
    return [
        (
            prompts[n % 4],
            SamplingOptions(5 + n % 40, temperature=(n % 3) * 0.7, top_k=n % 7, seed=n),
        )
        for n in range(count)
    ]


def _alone(asked: list[tuple[str, SamplingOptions]]) -> list[str]:
    generator = _generator(1)
    return [generator.generate([prompt], options)[0].text for prompt, options in asked]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_two_hundred_at_once_are_each_as_if_alone(device: str) -> None:
    asked = _asked(200)
    told: dict[Request, str] = {}
    steps = 0

    def wake(requests) -> None:
        nonlocal steps
        steps += 1
        for request in requests:
            told[request] = told.get(request, "") + request.take()

    batcher = Batcher(_generator(16, device), wake=wake)
    requests: list[Request] = []
    # Some at the beginning, the others from several threads while those run.
    requests += [batcher.submit(*each) for each in asked[:50]]
    late: dict[int, Request] = {}

    def ask(start: int) -> None:
        for n in range(start, 200, 3):
            late[n] = batcher.submit(*asked[n])
            time.sleep(0.001)

    threads = [threading.Thread(target=ask, args=(50 + n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    requests += [late[n] for n in range(50, 200)]
    texts = [request.result(60).text for request in requests]
    batcher.close()
    assert texts == _alone(asked)
    assert [told[request] for request in requests] == texts
    assert steps < sum(len(request.generation.tokens) for request in requests) / 4
    assert all(r.queued_ns >= 0 and r.prompt_ns > 0 and r.eval_ns >= 0 for r in requests)
    assert (batcher.active, batcher.waiting) == (0, 0)


PENALTIES = SamplingOptions(
    20, 0.0, repetition_penalty=1.4, presence_penalty=0.7, frequency_penalty=0.4, seed=0
)


@pytest.mark.parametrize("window", [0, 1, 5])
def test_penalties_look_at_the_last_tokens(window: int) -> None:
    options = dataclasses.replace(PENALTIES, penalty_window=window)
    generator = _generator(3)
    prompts = ["the dog", "a cat sat", "the the the"]
    texts = generator.generate(prompts, [options, SamplingOptions(20, 0.0), options])
    for text in (texts[0], texts[2]):
        ids = list(text.ids[: text.prompt_tokens])
        for token in text.tokens:
            logits = generator.model.all_logits(ids)[-1].clone()
            for seen in set(ids[-window:]):
                count = ids[-window:].count(seen)
                scaled = logits[seen] / 1.4 if logits[seen] > 0 else logits[seen] * 1.4
                logits[seen] = scaled - 0.7 - 0.4 * count
            assert token == int(logits.argmax())
            ids.append(token)
    assert texts[1].text == _alone([("a cat sat", SamplingOptions(20, 0.0))])[0]


def test_penalties_and_windows_are_each_texts_own_in_a_batch() -> None:
    asked = [
        (
            "the dog sat on the cat",
            SamplingOptions(
                60,
                repetition_penalty=1.0 + n % 2 / 4,
                frequency_penalty=n % 3 / 3,
                penalty_window=n % 4 * 3,
                window=(0, 12, 20)[n % 3],
                keep=n % 5,
                shift=n % 6 != 5,
                seed=n,
            ),
        )
        for n in range(24)
    ]
    generator = _generator(8)
    texts = generator.generate(
        [prompt for prompt, _ in asked], [options for _, options in asked], truncate=True
    )
    alone = _generator(1)
    for (prompt, options), text in zip(asked, texts, strict=True):
        assert text.text == alone.generate([prompt], options, truncate=True)[0].text
    assert [len(text.tokens) == 60 for text in texts] == [n % 6 != 5 for n in range(24)]
    assert {text.reason for text in texts} == {"length"}


def test_the_beginning_of_a_long_prompt_can_be_kept() -> None:
    generator = _generator(1)
    options = SamplingOptions(1, window=10, keep=3)
    text = generator.begin("the cat sat on the dog", options, truncate=True)
    assert generator.tokenizer.decode(text.ids) == "the" + "the dog"
    with pytest.raises(ValueError, match="has 22 tokens and the model's context is 10"):
        generator.begin("the cat sat on the dog", options)
    assert options.fit(range(30), 2) == [0, 29]


def test_calls_are_made_between_steps_and_embed_texts() -> None:
    generator = _generator(2)
    batcher = Batcher(generator)
    running = batcher.submit("the cat", LONG)
    embedder = Embedder(generator.model)
    encode = generator.tokenizer.encode

    def vector(text: str, size: int = 0) -> list[float]:
        return batcher.call(lambda: embedder.vector(encode(text), size)).result(10)

    one, same, other = vector("the cat sat"), vector("the cat sat"), vector("dogs and cats")
    assert one == same != other
    assert sum(value**2 for value in one) == pytest.approx(1, abs=1e-5)
    short = vector("the cat sat", 8)
    assert len(short) == 8
    assert short[0] / short[1] == pytest.approx(one[0] / one[1], rel=1e-4)
    with pytest.raises(ZeroDivisionError):
        batcher.call(lambda: 1 / 0).result(10)
    running.cancel()
    assert running.result(5).reason == "cancelled"
    expected = _alone([("the cat", SamplingOptions(len(running.generation.tokens), seed=0))])[0]
    assert running.generation.text == expected  # the vectors left its cache alone
    batcher.close()
    with pytest.raises(Closed):
        batcher.call(lambda: None)


def test_a_slow_reader_gets_longer_pieces() -> None:
    batcher = Batcher(_generator(2))
    request = batcher.submit("the cat", SamplingOptions(40, seed=1))
    text = request.result(30).text
    assert request.take() == text
    assert request.take() == ""
    batcher.close()


def test_cancelled_requests_leave_their_slot_at_once() -> None:
    batcher = Batcher(_generator(1))
    running = batcher.submit("the cat", LONG)
    waiting = batcher.submit("a dog", LONG)
    last = batcher.submit("the dog", SamplingOptions(20, seed=3))
    while not running.take():
        time.sleep(0.001)
    waiting.cancel()
    assert waiting.result(5).reason == "cancelled"
    assert not waiting.generation.tokens
    running.cancel()
    running.cancel()
    assert running.result(5).reason == "cancelled"
    assert last.result(10).reason == "length"
    assert last.generation.text == _alone([("the dog", SamplingOptions(20, seed=3))])[0]
    last.cancel()  # over already: nothing happens
    assert batcher.submit("t", SamplingOptions(2)).result(5).reason == "length"
    batcher.close()
    assert last.generation.reason == "length"


def test_the_line_is_bounded_and_prompts_are_checked() -> None:
    batcher = Batcher(_generator(1), max_queue=2)
    first = batcher.submit("the cat", LONG)
    while not batcher.active:
        time.sleep(0.001)
    more = [batcher.submit("the cat", LONG) for _ in range(2)]
    with pytest.raises(QueueFull, match="2 requests wait"):
        batcher.submit("the cat", LONG)
    with pytest.raises(ValueError, match="vocabulary lacks 'x'"):
        batcher.submit("x", LONG)
    with pytest.raises(ValueError, match="max_queue"):
        Batcher(_generator(1), max_queue=0)
    batcher.close()
    assert {request.result(0).reason for request in [first, *more]} == {"cancelled"}
    with pytest.raises(Closed):
        batcher.submit("the cat", LONG)


def test_closing_lets_running_texts_end_within_their_grace() -> None:
    batcher = Batcher(_generator(2))
    request = batcher.submit("the cat", SamplingOptions(200, seed=1))
    endless = batcher.submit("the cat", LONG)
    began = time.monotonic()
    batcher.close(grace=1.5)
    assert request.generation.reason == "length"
    assert endless.generation.reason == "cancelled"
    assert 1.4 < time.monotonic() - began < 4


def test_a_model_that_cannot_be_made_ready_answers_with_why(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = _generator(2)
    monkeypatch.setattr(generator.engine, "warm_up", Mock(side_effect=RuntimeError("no kernel")))
    batcher = Batcher(generator)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="nothing could be generated: no kernel"):
            batcher.submit("the cat", SamplingOptions(5)).result(10)
    batcher.close()
    assert "could not be made ready" in caplog.text


def test_a_failing_step_ends_its_texts_and_no_more(caplog: pytest.LogCaptureFixture) -> None:
    generator = _generator(2)
    step = generator.engine.step
    steps = 0

    def break_once():
        nonlocal steps
        steps += 1
        if steps == 5:
            raise RuntimeError("the device is on fire")
        return step()

    generator.engine.step = break_once  # type: ignore[method-assign]
    batcher = Batcher(generator)
    request = batcher.submit("the cat", LONG)
    with pytest.raises(RuntimeError, match="nothing could be generated: the device is on fire"):
        request.result(10)
    asked = ("the dog", SamplingOptions(20, seed=3))
    assert batcher.submit(*asked).result(10).text == _alone([asked])[0]
    batcher.close()
    assert "the decode step failed" in caplog.text


def test_prompts_that_join_are_prefilled_in_portions() -> None:
    generator = _generator(8)
    loop = DecodeLoop(generator.engine, prefill=40)
    for _ in range(8):
        loop.add(generator.begin("the dog sat on", SamplingOptions(30)))
    running = []
    for _ in range(4):
        list(loop.step())
        running.append(len(loop.active))
    assert running == [2, 4, 6, 8]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="reads /proc")
def test_memory_stays_flat_over_many_requests() -> None:
    batcher = Batcher(_generator(64), max_queue=3000)
    used = []
    for _ in range(5):
        requests = [batcher.submit("the cat", SamplingOptions(2)) for _ in range(2000)]
        for request in requests:
            request.result(60)
        del requests, request
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        used.append(pages * os.sysconf("SC_PAGE_SIZE"))
    batcher.close()
    assert used[-1] - used[1] < 4 * 2**20
