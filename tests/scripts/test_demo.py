from pathlib import Path

import pytest


@pytest.mark.slow
def test_demo_trains_tests_and_shows(gpu_learning, workplace: Path, device: str) -> None:
    code, out, err = gpu_learning("demo")
    assert code == 0, err
    accuracy = float(out.split("test accuracy")[1].split("%")[0].strip(" │┃|"))
    assert accuracy >= 98.5
    assert "52,138" in out
    assert out.rstrip().splitlines()[-1].strip().startswith(".venv/bin/gpu-learning fit")
    picture = workplace / "logs" / "demo" / "predictions.png"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_demo_refuses_other_data(gpu_learning) -> None:
    code, _, err = gpu_learning("demo", "--data", "cifar")
    assert code == 2
    assert "digits" in err
