"""The course's model from the command line: trained, exported, asked."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from datamodules import CharTokenizer
from datamodules.corpus import SENTENCES
from exporting.commit import name_by_content, write_manifest
from exporting.text import check_text_formats, export_text
from lightning_modules.nets.gpt import GPT, GPTConfig
from tests.exporting.text.test_text_export import text_source


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The course's net, untrained, as it is exported."""
    folder = tmp_path_factory.mktemp("models") / "mini_gpt"
    export_text(text_source(GPT(GPTConfig()).eval().requires_grad_(False)), folder, ["safetensors"])
    return folder


@pytest.fixture
def model(artifact: Path, workplace: Path) -> Path:
    return Path(shutil.copytree(artifact, workplace / "models" / "mini_gpt"))


def test_a_language_model_classifies_nothing(
    gpu_learning, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripts.classify.load", None)  # not loaded for that
    code, _, err = gpu_learning("classify", model, "a.png")
    assert code == 1
    used = f'a model for text-generation: gpu-learning generate {model} "PROMPT"'
    assert f"{model} is not an image classifier but {used}" in err
    code, _, err = gpu_learning("generate", "models/mini_gtp", "the cat")
    assert code == 1
    assert "models/mini_gtp does not exist; did you mean models/mini_gpt?" in err
    code, _, err = gpu_learning("classify", "mini_gpt", "a.png")
    assert code == 1
    assert "mini_gpt does not exist; did you mean models/mini_gpt?" in err
    code, _, err = gpu_learning("serve", "model/")
    assert code == 1
    assert "model is not a folder; did you mean models/?" in err


def test_a_name_without_its_folder_is_answered_with_it(
    gpu_learning, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datamodules.hub._reachable", lambda: False)
    code, _, err = gpu_learning("generate", "mini_gpt", "the cat")
    assert code == 1
    assert err.endswith("error: there is no folder mini_gpt; did you mean models/mini_gpt?\n")
    code, _, err = gpu_learning("generate", "mini_gtp", "the cat")
    assert code == 1
    assert "mini_gtp is not a folder here and cannot be had from the Hugging Face hub" in err
    assert err.endswith("; did you mean models/mini_gpt?\n")


def test_text_goes_to_standard_output_and_speed_to_standard_error(gpu_learning, model) -> None:
    ask = ("generate", model, "the cat", "--max-new-tokens", 30, "--seed", 1)
    code, out, err = gpu_learning(*ask)
    assert code == 0
    assert out.startswith("the cat")
    assert len(out.rstrip("\n")) == 37
    assert err.startswith("30 tokens, ")
    assert gpu_learning(*ask)[1] == out
    code, out, _ = gpu_learning(*ask, "--num-samples", 2, "--json")
    first, second = map(json.loads, out.splitlines())
    assert first["text"] != second["text"]
    assert (first["tokens"], first["reason"]) == (30, "length")
    assert gpu_learning(*ask, "--no-cache", "--json")[1].count(json.dumps(first["text"])) == 1

    for arguments, message in (
        (["THE"], "lacks 'E' 'H' 'T'"),
        ([""], "the prompt is empty"),
        (["the cat " * 9], "72 tokens and the model's context is 32"),
        (["the", "--temperature", "-1"], "temperature must be 0"),
        (["the", "--format", "gguf"], "has no gguf; it has safetensors"),
        (["the", "--num-samples", "0"], "--num-samples must be"),
        (["the", "--stop", ""], "a stop string must not be empty"),
    ):
        code, out, err = gpu_learning("generate", model, *arguments)
        assert (code, out) == (1, "")
        assert message in err

    code, _, err = gpu_learning("bench", "infer", model)
    assert code == 1
    assert "is a language model; gpu-learning bench generate" in err

    weights = next(model.glob("safetensors-*"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    code, _, err = gpu_learning("generate", model, "the")
    assert code == 1
    assert "checksum" in err


def test_a_gpu_that_is_not_there(gpu_learning, model) -> None:
    code, out, err = gpu_learning("generate", model, "the cat", "--device", "cuda")
    assert (code, out) == (1, "")
    assert "torch sees no CUDA GPU" in err


def test_standard_input_is_a_prompt(gpu_learning, model, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the dog\n")))
    code, out, _ = gpu_learning("generate", model, "--max-new-tokens", 5)
    assert code == 0
    assert out.startswith("the dog")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe")))
    code, _, err = gpu_learning("generate", model)
    assert code == 1
    assert "not UTF-8" in err


@pytest.mark.parametrize(
    ("name", "said"),
    [("onxx", "onxx; did you mean onnx? It has safetensors, "), ("z", "z; it has safetensors, ")],
)
def test_a_format_of_language_models_is_suggested(name: str, said: str) -> None:
    with pytest.raises(ValueError, match="a language model has no format ") as refused:
        check_text_formats(["safetensors", name])
    assert said in str(refused.value)


def test_another_tokenizer_or_task_is_refused(gpu_learning, model, workplace: Path) -> None:
    code, _, err = gpu_learning("generate", workplace / "nothing", "x")
    assert code == 1
    assert "does not exist" in err
    # A tokenizer with a character more, even under a correct manifest, is not the model's.
    document = json.loads((model / "manifest.json").read_text())
    document.pop("checksum")
    path = model / "tokenizer.json"
    path.write_text(CharTokenizer("0123456789abcdefgh").to_json())
    path = name_by_content(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    document["files"]["tokenizer"] |= {
        "file": path.name,
        "bytes": path.stat().st_size,
        "sha256": digest,
    }
    write_manifest(model, document)
    code, _, err = gpu_learning("generate", model, "a")
    assert code == 1
    assert "it belongs to another model" in err


@pytest.mark.slow
def test_the_course_config_learns_its_sentences(gpu_learning, workplace: Path, device: str) -> None:
    code, out, err = gpu_learning("fit", "-c", "configs/mini_gpt.yaml")
    assert code == 0, err
    last = next(line for line in out.splitlines() if line.startswith("epoch 10/10"))
    assert float(last.split("train/loss ")[1].split()[0]) <= 0.20
    words = {word for sentence in SENTENCES for word in sentence.rstrip(".").split()}
    for prompt in ("the cat", "the dog"):
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "scripts.cli",
                "generate",
                "models/mini_gpt",
                prompt,
                "--seed=1",
            ],
            env={"PYTHONPATH": os.environ["PYTHONPATH"], "PATH": ""},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        # The last word may be cut off.
        assert {word.rstrip(".") for word in done.stdout.split()[:-1]} <= words
