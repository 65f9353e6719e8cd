"""The ``gpu-learning`` command: finds the subcommand and reports what went wrong in one sentence.

Nothing heavy is imported before the subcommand is known.
"""

import importlib
import logging
import os
import re
import sys
from collections.abc import Sequence

from scripts import deferred_imports, waiting

# name: (module with main(argv) -> exit code, help)
COMMANDS = {
    "fit": ("scripts.train", "train a model: fit -c configs/mnist_cnn.yaml"),
    "validate": ("scripts.train", "score a checkpoint on the validation split"),
    "test": ("scripts.train", "score a checkpoint on the test split"),
    "predict": ("scripts.train", "run a checkpoint's predict_step over the test split"),
    "sweep": ("scripts.sweep", "search hyperparameters: sweep configs/sweeps/digits_cnn.yaml"),
    "config": ("scripts.config", "each value of a run and where it comes from: config explain"),
    "schema": ("scripts.schema", "JSON Schema of the experiments' YAML files, for editors"),
    "new": ("scripts.new", "a small project of one's own: new NAME"),
    "demo": ("scripts.demo", "train, test and show a digit classifier, no download needed"),
    "doctor": ("scripts.doctor", "what works on this machine, and what to do about the rest"),
    "export": ("scripts.export", "write checked files of a trained model to models/"),
    "import": ("scripts.import_weights", "a run of weights from elsewhere: import mnist_cnn.pth"),
    "classify": ("scripts.classify", "labels of images: classify models/mnist_cnn a.png"),
    "generate": (
        "scripts.generate",
        'text from a language model: generate models/mini_gpt "the cat"',
    ),
    "serve": ("scripts.serve", "answer as Ollama and OpenAI do: serve models/"),
    "chat": ("scripts.chat", "talk to a served model, ours or a real Ollama's: chat --model NAME"),
    "lessons": ("scripts.lessons", "the course, step by step, with its figures"),
    "profile": ("scripts.profile", "where a step's time goes: profile -c configs/mnist_cnn.yaml"),
    "bench": ("scripts.bench", "measure the figures of docs/benchmarks.md"),
}

DEBUG = "GPU_LEARNING_DEBUG"
# These take classes by their names, which may be those of the project in the current folder.
WITH_OWN_CLASSES = (
    *("fit", "validate", "test", "predict", "sweep"),
    *("config", "schema", "profile", "export"),
)


def _usage() -> str:
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items())
    return (
        "usage: gpu-learning COMMAND [OPTIONS]\n\n"
        "Learn GPU programming with PyTorch Lightning.\n\n"
        f"commands:\n{rows}\n\n"
        "gpu-learning COMMAND --help says more. Exit codes: 0 done, 1 failed, 2 wrong usage.\n"
        f"{DEBUG}=1 shows the traceback of a failure."
    )


def _expected_errors() -> tuple[type[BaseException], ...]:
    """Errors that are a user's to mend; everything else keeps its traceback."""
    errors: list[type[BaseException]] = [ValueError, OSError]
    # Only what the command imported can have raised one of its exceptions.
    if module := sys.modules.get("lightning.fabric.utilities.exceptions"):
        errors.append(module.MisconfigurationException)
    return tuple(errors)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one subcommand.

    Args:
        argv: arguments without the program's name; ``sys.argv[1:]`` if None.

    Returns:
        The exit code: 0 done, 1 failed with a sentence on standard error, 2 wrong usage.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage(), file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(f"gpu-learning {version('gpu-learning')}")
        return 0
    name = arguments[0]
    if name not in COMMANDS:
        from difflib import get_close_matches

        near = get_close_matches(name, COMMANDS, n=1)
        hint = f"; did you mean {near[0]}?" if near else "; gpu-learning --help lists them"
        print(f"gpu-learning: there is no command {name!r}{hint}", file=sys.stderr)
        return 2
    # torch.compile on a machine without CUDA: nothing that a user could mend.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    deferred_imports.install()
    if name != "serve":  # it answers at once, and imports torch with the first model
        waiting.announce_torch()
    before = list(sys.path)
    # At the end, so that no file there takes the place of an installed one.
    if name in WITH_OWN_CLASSES and not {"", os.getcwd()} & set(sys.path):
        sys.path.append(os.getcwd())
    try:
        return importlib.import_module(COMMANDS[name][0]).main(arguments)
    except KeyboardInterrupt as interrupt:
        hint = {
            "fit": "nothing was trained yet; start it again",
            "sweep": "the same command continues",
        }
        said = str(interrupt) or hint.get(name, "")  # a fit that had begun knows its folder
        print(f"gpu-learning: interrupted{said and f'; {said}'}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Who reads the output, `head` say, has enough. What Python still holds back goes nowhere,
        # or it would complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # as a shell reports a program that a closed pipe ended
    except Exception as error:
        if os.environ.get(DEBUG) or not isinstance(error, _expected_errors()):
            raise
        # Lightning names some objects by their address.
        said = re.sub(r"<([\w.]+) object at 0x[0-9a-f]+>", r"\1", str(error))
        print(f"gpu-learning: error: {said}", file=sys.stderr)
        return 1
    finally:
        sys.path[:] = before


if __name__ == "__main__":
    sys.exit(main())
