"""The command ``llm`` with its plugin ``llm-ollama``, which asks the server what models it has."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.serving.clients.conftest import QUESTION, TOKENS, Expected, Pet

for package in ("llm", "llm_ollama"):
    pytest.importorskip(package, reason="needs the extra clients")

PACKAGE = "llm-ollama"
GREEDY = ("-o", "temperature", "0", "-o", "num_predict", str(TOKENS))
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(expected: Expected, tmp_path: Path) -> Command:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        where = {"OLLAMA_HOST": expected.url, "LLM_USER_PATH": str(tmp_path)}
        return subprocess.run(
            [sys.executable, "-m", "llm", *arguments],
            env=os.environ | where,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def test_chat(command: Command, expected: Expected) -> None:
    done = command("-m", "ollama/json", "--no-stream", *GREEDY, QUESTION)
    assert done.stdout == expected.text + "\n", done.stderr


def test_stream(command: Command, expected: Expected) -> None:
    done = command("-m", "ollama/json", *GREEDY, QUESTION)
    assert done.stdout == expected.text + "\n", done.stderr


def test_embeddings(command: Command, expected: Expected) -> None:
    done = command("embed", "-m", "ollama/json", "-c", QUESTION, "-f", "json")
    assert json.loads(done.stdout) == pytest.approx(expected.vectors[0], abs=1e-6), done.stderr


def test_schema(command: Command) -> None:
    schema = json.dumps(Pet.model_json_schema())
    done = command("-m", "ollama/json", "--schema", schema, "-o", "seed", "1", QUESTION)
    assert done.returncode == 0, done.stderr
    Pet.model_validate_json(done.stdout)


def test_unknown_model(command: Command) -> None:
    done = command("-m", "ollama/nobody", QUESTION)
    assert done.returncode == 1
    assert "Unknown model: ollama/nobody" in done.stderr
