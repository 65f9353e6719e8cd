"""Step 25: what was trained, served and talked to."""

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from course.pictures import stacks
from course.runner import Run, Skipped
from inference.text.generate import TextGenerator
from inference.text.sampling import SamplingOptions

MODEL = Path("models/mini_gpt")


def talk(run: Run) -> dict[str, Any]:
    """Serves step 22's MiniGPT, which is trained where it is not there, and chats with it."""
    for package in ("fastapi", "ollama", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            raise Skipped(f"{package} is not installed: make setup EXTRAS=dev,llm,serve")
    from serving.client import Client

    # A MiniGPT of the user's own is the one to talk to; serving it changes nothing in it.
    model = MODEL if MODEL.is_dir() else run.models / MODEL.name
    if not model.is_dir():
        run.fit("mini_gpt")
    options = {"temperature": 0, "num_predict": 8}
    # Under load the server joins pieces; a text this long never comes as one.
    long = {"temperature": 0, "num_predict": 100}
    with _served(model.parent) as url, Client(url) as client:
        names = [entry.name for entry in client.models()]
        print("gpu-learning chat --list:", *names)
        pieces = [piece.response or "" for piece in client.generate("mini_gpt", "the", long)]
        print("generate, piece by piece:", pieces)
        messages, prompts, answers = [], [], []
        for question in ("the cat", "the dog"):
            messages.append({"role": "user", "content": question})
            parts = list(client.chat("mini_gpt", messages, options))
            answer = "".join(part.message.content or "" for part in parts)
            messages.append({"role": "assistant", "content": answer})
            prompts.append(parts[-1].prompt_eval_count or 0)
            answers.append(parts[-1].eval_count or 0)
            print(f"{question} ->{answer}")
    history = prompts[0] + answers[0]
    turns = [
        {"new question": prompts[0]},
        {"history": history, "new question": prompts[1] - history},
    ]
    run.keep(stacks(["turn 1", "turn 2"], turns, "tokens that the server reads"), "turns")
    generator = TextGenerator.load(model, device="cpu")
    # Until the context of 32 is full; from there on Ollama's num_keep holds the first tokens.
    alone = generator.generate(["the"], SamplingOptions(28, temperature=0))[0].text
    return {
        "the model is listed": "mini_gpt:latest" in names,
        "pieces of an answer": sum(map(bool, pieces)),
        "the same text without a server": "".join(pieces).startswith(alone),
        "tokens that turn 2 reads more": prompts[1] - prompts[0],
        "without a server, says how to start one": _says_how(url),
    }


@contextmanager
def _served(models: Path) -> Iterator[str]:
    """This project's own server on a free port; its URL."""
    command = [sys.executable, "-m", "scripts.cli", "serve", str(models), "--port=0"]
    print(f"gpu-learning serve {models}", flush=True)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()  # "serving models on http://... (Ctrl-C ends it)"
            if " on http://" not in line:
                raise RuntimeError("the server did not start; gpu-learning serve says why")
            yield line.split(" on ")[1].split()[0]
        finally:
            server.terminate()


def _says_how(url: str) -> bool:
    from serving.client import Client

    with Client(url) as client:
        try:
            client.models()
        except ConnectionError as error:
            print(error)
            return "gpu-learning serve" in str(error) and "ollama serve" in str(error)
    return False
