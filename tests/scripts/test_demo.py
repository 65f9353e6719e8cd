import json
from pathlib import Path

import pytest
from PIL import Image
from sklearn.datasets import load_digits

from scripts.demo import next_commands, refuse_foreign
from tests.helpers.commands import bad


def digit(folder: Path, index: int) -> Path:
    """A scanned digit as an image file; the first ten are 0 to 9."""
    path = folder / f"{index}.png"
    Image.fromarray((load_digits().images[index] * 15.9).astype("uint8")).save(path)
    return path


def test_the_next_commands_are_those_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    assert next_commands()[0][0] == "make tensorboard"
    assert ".venv/bin/gpu-learning lessons" in [command for command, _ in next_commands()]
    monkeypatch.chdir(tmp_path)
    assert [command.split()[0] for command, _ in next_commands()] == [
        *("tensorboard", "gpu-learning", "gpu-learning")
    ]


@pytest.mark.slow
def test_demo_trains_tests_and_shows(gpu_learning, workplace: Path, device: str) -> None:
    code, out, err = gpu_learning("demo")
    assert code == 0, err
    accuracy = float(out.split("test accuracy")[1].split("%")[0].strip(" │┃|"))
    assert accuracy >= 98.5
    assert "52,138" in out
    assert " gpu-learning serve models/" in out
    picture = workplace / "logs" / "demo" / "predictions.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    # The model is there to be used, and another demo replaces its own.
    code, out, err = gpu_learning("classify", "models/demo_digits", str(digit(workplace, 7)))
    assert code == 0, err
    assert "7" in out
    code, out, err = gpu_learning("classify", "models/demo_digits", "logs/demo/seven.png", "--json")
    assert code == 0, err
    assert json.loads(out)["label"] == "7"
    refuse_foreign(workplace / "models" / "demo_digits")
    code, out, err = gpu_learning(
        "generate", "models/demo_mini_gpt", "the cat", "--temperature=0", "--max-new-tokens=40"
    )
    assert code == 0, err
    assert out.startswith("the cat sat on the ")
    refuse_foreign(Path("models/demo_mini_gpt"))


@pytest.mark.parametrize("name", ["demo_digits", "demo_mini_gpt"])
def test_demo_replaces_no_model_of_the_users(gpu_learning, workplace: Path, name: str) -> None:
    mine = workplace / "models" / name
    mine.mkdir(parents=True)
    manifest = {"source": {"checkpoint": "logs/mine/version_0/checkpoints/best.ckpt"}}
    (mine / "manifest.json").write_text(json.dumps(manifest))
    code, said = bad(gpu_learning, "demo")
    assert code == 1
    assert f"models/{name} was not made by gpu-learning demo" in said
    assert not (workplace / "logs").exists()


def test_demo_refuses_other_data(gpu_learning) -> None:
    code, _, err = gpu_learning("demo", "--data", "cifar")
    assert code == 2
    assert "digits" in err
