import json

from inference.text.sampling import SamplingOptions
from lightning_modules.nets.gpt import GPT
from scripts.bench.generate import SHAPES, bytes_per_step, course_loop, main


def test_the_sampler_is_measured_beside_the_courses_loop(capsys, device: str) -> None:
    options = ("--shape", "course", "--device", "cpu", "--tokens", "40", "--rounds", "2")
    assert main(["generate", *options, "--batch", "1,4", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    rates = document["tokens_per_second"]
    assert list(rates) == [
        "the course's loop, float32",
        "sampler without cache",
        "sampler, 1 at once",
        "sampler, 4 at once",
    ]
    assert all(0 < rate["min"] <= rate["median"] <= rate["max"] for rate in rates.values())
    assert main(["generate", *options, "--only-ours"]) == 0
    shown = capsys.readouterr().out
    assert "1 at once, weights and cache read as fast as a copy (" in shown
    assert list(document["limits"]) == ["1 at once", "4 at once"]
    assert 1 < document["limits"]["4 at once"] / document["limits"]["1 at once"] < 4


def test_a_step_reads_each_weight_once_and_the_cache() -> None:
    # GPT-2 of 124,439,808 parameters: all but its 1,024 positions of 768; 12 layers of keys and
    # values.
    weights = 124_439_808 - 1024 * 768
    assert bytes_per_step(SHAPES["gpt2"], 1, 0, 2) == 2 * weights
    assert bytes_per_step(SHAPES["gpt2"], 32, 100, 2) == 2 * weights + 2 * 12 * 768 * 100 * 32 * 2
    # The course's own: 25,103 parameters, of which 15 tokens of 32 are looked up, not read.
    assert bytes_per_step(SHAPES["course"], 1, 0, 4) == 4 * (25_103 - 32 * 32 - 15 * 32)


def test_the_courses_loop_goes_past_its_context() -> None:
    ids = course_loop(GPT(SHAPES["course"]).eval(), [1, 2, 3], SamplingOptions(40))
    assert ids[:3] == [1, 2, 3]
    assert len(ids) == 43
