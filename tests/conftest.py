"""Fixtures: no test needs a network, a GPU or files beside the checkout.

On a machine with a GPU the suite runs as on one without, so that it proves the same everywhere.
A test that takes the fixture ``device`` runs a second time with the GPU visible; a test marked
``gpu`` runs only with it.
"""

import atexit
import hashlib
import logging
import os

# Small nets gain nothing from threads, and those of parallel test processes wait for each other.
# Set before torch is imported, and inherited by every process that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")

import signal
import struct
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch.utils import _triton

from datamodules import mnist
from datamodules.digits import DigitsDataModule
from scripts.cli import main

ROOT = Path(__file__).parents[1]
# Processes that tests start run this checkout, from whichever folder.
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
# Rich measures the terminal; a fixed width keeps its tables alike everywhere.
os.environ["COLUMNS"] = "120"
# A job in the background of a script ignores Ctrl-C, and so would what the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Long tests that share no fixture: processes take them one at a time.
SPREAD = (
    "tests/test_configs.py",
    "tests/scripts/test_processes.py",
    "tests/scripts/test_resume.py",
    "tests/callbacks/test_compile.py",
    "tests/course/kernels/test_lessons_of_kernels.py::test_verify_on_a_gpu",
    "tests/course/test_pages.py::test_training_commands_run",
    "tests/inference/runtimes/test_cuda_graphs.py::test_a_graph_of_compiled_code",
    "tests/inference/text/test_fused_gpt.py::test_what_is_decoded_is_what_torch_decodes",
    "tests/serving/test_stalls.py",
)
LIGHTNING_LOGGERS = (
    "lightning.fabric",
    "lightning.pytorch",
    "lightning.pytorch.utilities.rank_zero",
)
QUICK_FIT = ["--trainer.max_epochs=12"]
EXPORT = [
    "--trainer.callbacks+=callbacks.Export",
    "--trainer.callbacks.name=digits",
    "--trainer.callbacks.formats=[torchscript,int8,onnx,onnx-int8,pt2,safetensors]",
]


GPUS = torch.cuda.device_count() if torch.cuda.is_available() else 0
if GPUS:
    # CUDA reads CUDA_VISIBLE_DEVICES once, with its first tensor; what hides the GPUs from
    # processes that tests start must not hide them from this one.
    torch.zeros(1, device="cuda")
    # torch keeps the first count that it takes after that, and seeds so many generators.
    torch.cuda.device_count()


@contextmanager
def visible_gpus(count: int) -> Iterator[None]:
    """With 0 torch, and every process started meanwhile, is as on a machine without a GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: count > 0)
        patch.setattr(torch.cuda, "device_count", lambda: count)
        patch.setenv("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(count))))
        _forget_triton()
        yield
    _forget_triton()


@atexit.register
def _end_without_triton() -> None:
    """Triton's library lists at the interpreter's end what it did not free: no news of a test."""
    if "triton" in sys.modules:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stderr__.fileno())


def _forget_triton() -> None:
    """torch.compile asks once per process which GPUs there are, and whether Triton knows them."""
    for function in vars(_triton).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()
    if devices := sys.modules.get("torch._dynamo.device_interface"):
        devices._device_initialized = False


@pytest.fixture(scope="session", autouse=True)
def _no_visible_gpu() -> Iterator[None]:
    """Fixtures of the session use the CPU, whichever test asks first."""
    with visible_gpus(0):
        yield


@pytest.fixture(scope="module", autouse=True)
def _gpu_of_a_module(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fixtures of a module use the GPU if the whole module is marked ``gpu``."""
    with visible_gpus(GPUS if request.node.get_closest_marker("gpu") else 0):
        yield


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """``cpu``, and a second time ``cuda`` where there is one: what ``accelerator: auto`` takes."""
    return request.param


@pytest.fixture(autouse=True)
def workplace(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """An empty current folder with the project's configs, so that no test writes elsewhere."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    levels = {logger: logger.level for logger in map(logging.getLogger, LIGHTNING_LOGGERS)}
    interrupt = signal.getsignal(signal.SIGINT)
    with visible_gpus(GPUS if request.node.get_closest_marker("gpu") else 0):
        yield tmp_path
    signal.signal(signal.SIGINT, interrupt)  # Lightning ignores Ctrl-C once it has ended a fit
    torch.set_num_threads(threads)
    for logger, level in levels.items():  # benchmarks silence them for their process
        logger.setLevel(level)
    torch.set_flush_denormal(False)  # a fit sets it for the whole process


@pytest.fixture
def gpu_learning(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command in this process; returns exit code, standard output and standard error."""

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
    """A Trainer that writes and prints nothing, on the one device that the test sees.

    Args:
        options: arguments of the Trainer; a progress bar or checkpoints come with their callbacks.
    """
    callbacks = options.get("callbacks", [])
    settings: dict[str, Any] = {
        "accelerator": "auto",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": any(isinstance(c, pl.callbacks.Checkpoint) for c in callbacks),
        "enable_progress_bar": any(isinstance(c, pl.callbacks.ProgressBar) for c in callbacks),
        "enable_model_summary": False,
    }
    return pl.Trainer(**settings | options)


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


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """One file per process, whose fixtures are made once; long tests that share none are spread."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return nodeid if nodeid.startswith(SPREAD) else super()._split_scope(nodeid)

    config.option.loadscopereorder = False  # the order of pytest_collection_modifyitems
    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that none is left at the end; ``gpu`` tests say why they do not run."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    counts = Counter(item.path for item in items)

    def order(item: pytest.Item) -> tuple[bool, bool, int]:
        spread = item.nodeid.startswith(SPREAD)
        return not spread, item.path not in slow, 0 if spread else -counts[item.path]

    items.sort(key=order)
    if not GPUS:
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a CUDA GPU"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Names what a person who runs the tests often should not wait for."""
    passed = terminalreporter.getreports("passed")
    unmarked = [
        report
        for report in passed
        if report.when == "call" and report.duration > 10 and "slow" not in report.keywords
    ]
    for report in unmarked:
        terminalreporter.write_line(f"{report.duration:.0f} s, not marked slow: {report.nodeid}")


@pytest.fixture(scope="session")
def gpt2_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 of transformers with few and random weights, and a tokenizer of its own."""
    for package in ("peft", "tokenizers", "transformers"):
        pytest.importorskip(package, reason="the extra [llm] is not installed")
    from datamodules import BPETokenizer
    from datamodules.pairs import GPU_QUESTIONS
    from exporting.text.hf_folder import write_hf
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
