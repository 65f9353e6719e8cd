"""``gpu-learning profile``: its table, its JSON, and what it leaves alone."""

import json
from pathlib import Path

import pytest

from tests.helpers.commands import DIGITS, bad

PROFILE = ("profile", "-c", "configs/digits_cnn.yaml")


def files(folder: Path) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def test_the_table_and_the_trace(gpu_learning, workplace: Path, device: str) -> None:
    code, out, err = gpu_learning(*PROFILE, "--steps=3")
    assert code == 0, err
    for row in ("experiment", "step", "  data", "  host", "in the data loader", "FLOPs", "bytes"):
        assert any(line.startswith(row) for line in out.splitlines()), row
    assert "digits_cnn, 3 steps on" in out
    assert "limited by " in out
    folder = workplace / "logs" / "profile" / "digits_cnn" / "version_0"
    assert {path.name for path in folder.iterdir()} == {"trace.json", "profile.json"}
    assert json.loads((folder / "trace.json").read_text())["traceEvents"]
    if device == "cuda":
        assert "GPU busy" in out
        assert "kernels" in out


def test_json_alone_is_on_standard_output(gpu_learning, workplace: Path, device: str) -> None:
    code, out, err = gpu_learning(*PROFILE, "--steps", "2", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert report["steps"] == 2
    assert sum(report["parts"].values()) == pytest.approx(1.0)
    assert report["limit"] == max(report["parts"], key=report["parts"].get)
    assert 0 < len(report["costly"]) <= 10
    assert (report["gpu_busy"] is None) == (device == "cpu")
    assert (report["mfu"] is None) == (report["peak_flops_per_second"] is None)
    # 52,138 parameters: two convolutions and two linear layers, forward and backward.
    assert report["flops_per_step"] == pytest.approx(60_334_080, rel=0.02)
    assert json.loads((Path(report["trace"]).with_name("profile.json")).read_text()) == report


def test_a_users_runs_are_not_touched(gpu_learning, workplace: Path) -> None:
    assert gpu_learning(*DIGITS, "--trainer.max_steps=2")[0] == 0
    before = files(workplace)
    export = ("--trainer.callbacks+=callbacks.Export", "--trainer.callbacks.name=digits")
    for _ in range(2):
        assert gpu_learning(*PROFILE, "--steps=1", *export)[0] == 0
    after = files(workplace)
    assert {name: after[name] for name in before} == before
    new = {str(Path(name).relative_to(workplace)) for name in after.keys() - before.keys()}
    assert new == {
        f"logs/profile/digits_cnn/version_{n}/{name}"
        for n in (0, 1)
        for name in ("trace.json", "profile.json")
    }


@pytest.mark.parametrize("steps", ["0", "-3", "many"])
def test_steps_that_cannot_be(steps: str, gpu_learning, workplace: Path) -> None:
    code, _, err = gpu_learning(*PROFILE, f"--steps={steps}")
    assert code == 2
    assert "--steps" in err
    assert not (workplace / "logs").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--ckpt_path", "last"), "leave --ckpt_path out"),
        (("--trainer.profiler", "simple"), "leave --trainer.profiler"),
        (("--trainer.max_steps", "7"), "larger --trainer.max_epochs"),
        (("--trainer.default_root_dir", "taken"), "--trainer.default_root_dir"),
        (("--data.init_args.batch_size", "-1"), "batch_size must be at least 1"),
    ],
)
def test_mistakes(options: tuple[str, ...], said: str, gpu_learning, workplace: Path) -> None:
    (workplace / "taken").write_text("a file")
    code, sentence = bad(gpu_learning, *PROFILE, *options)
    assert code == 1
    assert said in sentence
    assert not list(workplace.glob("logs/profile/*/*/*"))


def test_a_config_that_is_not_there(gpu_learning) -> None:
    code, sentence = bad(gpu_learning, "profile", "-c", "configs/digit_cnn.yaml")
    assert code == 2
    assert "digits_cnn.yaml" in sentence


def test_a_config_without_data(gpu_learning, workplace: Path) -> None:
    Path("own.yaml").write_text("model: {class_path: lightning_modules.MNISTMLP}\n")
    code, sentence = bad(gpu_learning, "profile", "-c", "own.yaml")
    assert code == 2
    assert "a model and its data are needed" in sentence
    assert not (workplace / "logs").exists()


def test_a_model_without_an_example_input(gpu_learning, gpt2_base: Path, device: str) -> None:
    options = (f"--model.init_args.pretrained={gpt2_base}", "--data.init_args.context=160")
    code, out, err = gpu_learning(
        *("profile", "-c", "configs/gpt2_lora_offline.yaml", *options, "--steps=1", "--json")
    )
    assert code == 0, err
    assert json.loads(out)["flops_per_step"] > 1e6


def test_no_config(gpu_learning) -> None:
    assert bad(gpu_learning, "profile")[0] == 2
