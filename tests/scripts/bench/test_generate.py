import json

from inference.text.sampling import SamplingOptions
from lightning_modules.nets.gpt import GPT
from scripts.bench.generate import SHAPES, course_loop, main


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
    assert "tokens/s" in capsys.readouterr().out


def test_the_courses_loop_goes_past_its_context() -> None:
    ids = course_loop(GPT(SHAPES["course"]).eval(), [1, 2, 3], SamplingOptions(40))
    assert ids[:3] == [1, 2, 3]
    assert len(ids) == 43
