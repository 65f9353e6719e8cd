import importlib
import subprocess
import sys

import pytest

from scripts.cli import COMMANDS
from tests.conftest import ROOT


def test_help_names_every_command(gpu_learning) -> None:
    code, out, _ = gpu_learning("--help")
    assert code == 0
    assert all(f"  {name}" in out for name in COMMANDS)


def test_nothing_asked_is_wrong_usage(gpu_learning) -> None:
    code, out, err = gpu_learning()
    assert (code, out) == (2, "")
    assert err.startswith("usage:")


def test_unknown_command_suggests_the_nearest(gpu_learning) -> None:
    code, _, err = gpu_learning("docter")
    assert code == 2
    assert "did you mean doctor?" in err


def test_unknown_benchmark_suggests_the_nearest(gpu_learning) -> None:
    assert gpu_learning("bench", "trian") == (
        2,
        "",
        "gpu-learning: error: no benchmark 'trian'; did you mean train?\n",
    )
    assert "there are fit, ladder, " in gpu_learning("bench", "zzzzz")[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_main(name: str) -> None:
    assert callable(importlib.import_module(COMMANDS[name][0]).main)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(gpu_learning, name: str) -> None:
    code, out, _ = gpu_learning(name, "--help")
    assert code == 0
    assert "usage" in out.lower()


def test_a_closed_pipe_is_no_error() -> None:
    # Its first line is read and the pipe closed, as head does; the rest has nowhere to go.
    command = [sys.executable, "-u", "-m", "scripts.cli", "lessons"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("export logs/none --format onx", "there is no format 'onx'; did you mean onnx? There are"),
        ("export README.md --name ../x", "'../x' cannot name a model; letters, "),
        ("export README.md --name x --models LICENSE", "LICENSE is a file; the models folder"),
        ("export logs/none --format x", "; there are torchscript, "),
        ("fit -c configs/digits_cnn.yaml --ckpt_path", "--ckpt_path needs a value after it: last"),
        ("test --ckpt_path -c configs/digits_cnn.yaml", "--ckpt_path needs a value after it: last"),
        ("import none.pth --model MNISTCNN --name b", "none.pth does not exist"),
        ("import README.md --model MNISTCNN --name b --mean 0", "must be given together"),
        ("import README.md --model MNISTCNN --name b --modle.x 1", "there is no option --modle.x"),
        ("import README.md --model MNISTCNN --name a/b", "'a/b' cannot name a model"),
        ("sweep configs/sweeps/digit_cnn.yaml", "did you mean configs/sweeps/digits_cnn.yaml?"),
        ("sweep configs/digits_cnn.yaml", "this is an experiment; a sweep names it"),
    ],
)
def test_a_mistake_is_told_before_torch_is_imported(arguments: str, said: str) -> None:
    if arguments.startswith("sweep"):
        pytest.importorskip("optuna_integration", reason="the extra [sweep] is not installed")
    code = (
        "import sys; from scripts.cli import main\n"
        "try: sys.exit(main(sys.argv[1:]))\n"
        "finally: assert not {'torch', 'lightning', 'jsonargparse'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, *arguments.split()]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode in (1, 2)
    assert ended.stderr.startswith("gpu-learning: error: ")
    assert said in ended.stderr


def test_an_error_of_ours_keeps_its_traceback(monkeypatch, gpu_learning) -> None:
    monkeypatch.setattr("scripts.doctor.examine", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        gpu_learning("doctor")


def test_debug_shows_the_traceback_of_a_users_mistake(monkeypatch, gpu_learning) -> None:
    monkeypatch.setenv("GPU_LEARNING_DEBUG", "1")
    with pytest.raises(ValueError, match=r"no best\.ckpt"):
        gpu_learning("test", "-c", "configs/digits_cnn.yaml")


def test_a_users_mistake_is_one_sentence_and_a_failure(gpu_learning) -> None:
    code, out, err = gpu_learning("classify", "models/none", "a.png")
    assert (code, out) == (1, "")
    assert err.startswith("gpu-learning: error: models/none does not exist; ")
    assert err.count("\n") == 1
