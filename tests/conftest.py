"""Fixtures: no test needs a network, a GPU or files beside the checkout."""

import hashlib
import os
import struct
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from datamodules import mnist
from datamodules.digits import DigitsDataModule
from scripts.cli import main

ROOT = Path(__file__).parents[1]
# Rich measures the terminal; a fixed width keeps its tables alike everywhere.
os.environ["COLUMNS"] = "120"
QUICK_FIT = ["--trainer.max_epochs=8", "--trainer.accelerator=cpu"]
EXPORT = [
    "--trainer.callbacks+=callbacks.Export",
    "--trainer.callbacks.name=digits",
    "--trainer.callbacks.formats=[torchscript,int8,onnx,onnx-int8,pt2,safetensors]",
]


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder with the project's configs, so that no test writes elsewhere."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)  # a fit sets it for the whole process


@pytest.fixture
def gpu_learning(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command in this process; gives exit code, standard output and standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capfd.readouterr()
        return code, out, err

    return run


def quiet_trainer(**options: Any) -> pl.Trainer:
    """A Trainer on the CPU that writes and prints nothing."""
    settings: dict[str, Any] = {"accelerator": "cpu", "logger": False}
    settings |= {"enable_checkpointing": False, "enable_progress_bar": False}
    return pl.Trainer(**settings | {"enable_model_summary": False} | options)


def write_idx(path: Path, values: torch.Tensor) -> None:
    """Writes uint8 values in MNIST's own format."""
    header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    path.write_bytes(header + values.to(torch.uint8).numpy().tobytes())


@pytest.fixture
def small_mnist(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root in MNIST's layout: scanned digits, 600 for training and 200 for testing."""
    raw = workplace / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    images, labels = DigitsDataModule()._read(train=True)
    for prefix, rows in (("train", slice(0, 600)), ("t10k", slice(600, 800))):
        write_idx(raw / f"{prefix}-images-idx3-ubyte", images[rows])
        write_idx(raw / f"{prefix}-labels-idx1-ubyte", labels[rows])
    sums = {name: hashlib.sha256((raw / name).read_bytes()).hexdigest() for name in mnist.FILES}
    monkeypatch.setattr(mnist, "FILES", sums)
    return workplace / "data"


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``models/digits`` of a short fit whose Export callback wrote all portable formats.

    The fit's checkpoint is ``logs/digits_cnn/version_0/checkpoints/best.ckpt`` two folders up.
    """
    for package in ("onnx", "onnxruntime", "onnxscript", "safetensors"):
        pytest.importorskip(package, reason="the extra [export] is not installed")
    place = tmp_path_factory.mktemp("artifact")
    before = Path.cwd()
    os.chdir(place)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # filters of pytest are not there for a session yet
            code = main(
                ["fit", "-c", str(ROOT / "configs" / "digits_cnn.yaml"), *QUICK_FIT, *EXPORT]
            )
    finally:
        os.chdir(before)
    assert code == 0
    return place / "models" / "digits"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked ``gpu`` say why they do not run."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a CUDA GPU"))


@pytest.fixture(scope="session")
def gpt2_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 of transformers with few and random weights, and a tokenizer of its own."""
    for package in ("peft", "tokenizers", "transformers"):
        pytest.importorskip(package, reason="the extra [llm] is not installed")
    from callbacks.text_exporting.hf_folder import write_hf
    from datamodules import BPETokenizer
    from datamodules.pairs import GPU_QUESTIONS
    from lightning_modules.nets.gpt import GPT, GPT2_SWITCHES, GPTConfig

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("base") / "hf"
    tokenizer = BPETokenizer.fit(GPU_QUESTIONS.read_text(), 300)
    config = GPTConfig(tokenizer.vocab_size, 160, 32, layers=2, heads=2, **GPT2_SWITCHES)
    net = GPT(config).eval().requires_grad_(False)
    for parameter in net.parameters():  # so that no bias is zero
        parameter += 0.2 * torch.randn_like(parameter)
    net.token.weight *= 2  # so that the logits lie apart
    write_hf(net, tokenizer.to_json(), folder)
    return folder
