"""The real server in a process of its own, with models that were really exported."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from exporting.text import export_text
from lightning_modules.nets.gpt import GPT, GPTConfig
from tests.exporting.text.test_text_export import text_source

for package in ("fastapi", "ollama", "uvicorn"):
    pytest.importorskip(package, reason="needs the extra serve")
pytest.importorskip("tokenizers", reason="needs the extra llm")


def models_folder(place: Path, digits: Path | None = None) -> Path:
    """``models/`` with a small language model, and a copy of ``digits`` where one is given.

    The net's weights are drawn, not learned: it writes no sense, and always the same. The server
    ends a text after ten contexts, so the context is what lets one go on until it is stopped.
    """
    models = place / "models"
    torch.manual_seed(0)
    net = GPT(GPTConfig(context=2048)).eval().requires_grad_(False)
    for parameter in net.parameters():
        parameter += 0.3 * torch.randn_like(parameter)
    export_text(text_source(net), models / "mini_gpt", ["safetensors"])
    if digits:
        shutil.copytree(digits, models / "digits")
    return models


@contextmanager
def serving(models: Path, *arguments: str, port: int = 0) -> Iterator[tuple[str, subprocess.Popen]]:
    """``gpu-learning serve`` on a free port; its URL and its process."""
    command = [sys.executable, "-m", "scripts.cli", "serve", str(models), f"--port={port}"]
    with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()  # "serving models on http://... (Ctrl-C ends it)"
            assert " on http://" in line, line
            yield line.split(" on ")[1].split()[0], process
        finally:
            process.kill()
