"""``gpu-learning serve models/``: trained models behind Ollama's API and OpenAI's."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.parser import Parser

if TYPE_CHECKING:
    from course.catalogue import Lesson


def main(argv: Sequence[str]) -> int:
    """Serves until Ctrl-C; ``argv`` begins with the command's name."""
    arguments = _parser().parse_args(argv[1:])
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{error.name} is not installed; it comes with the extra serve: make setup "
            "EXTRAS=dev,serve"
        ) from error
    from serving.errors import ApiError
    from serving.ollama.durations import seconds
    from serving.origins import read_origins
    from serving.server import Server, listen
    from serving.settings import Settings, read_keys

    logging.basicConfig(
        level=logging.INFO if arguments.verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    # It warns of every malformed request.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    try:
        keep_alive = seconds(arguments.keep_alive)
    except ApiError as error:
        raise ValueError(f"--keep-alive: {error.text}; such as 5m, 1h or -1") from error
    origins = arguments.origins
    if origins is None:
        origins = os.environ.get("OLLAMA_ORIGINS", "")
    settings = Settings(
        models=arguments.models,
        host=arguments.host,
        keys=read_keys(arguments.api_key_file) if arguments.api_key_file else (),
        origins=read_origins(origins),
        writable=arguments.writable,
        device=arguments.device,
        slots=arguments.slots,
        compile=arguments.compile,
        kernels=arguments.kernels,
        int8=arguments.int8,
        reuse=arguments.reuse_prefix,
        max_queue=arguments.max_queue,
        max_loaded=arguments.max_loaded,
        max_tokens=arguments.max_tokens,
        keep_alive=300.0 if keep_alive is None else keep_alive,
        marks=_marks,
    )
    if not settings.loopback and not settings.keys:
        print(
            f"gpu-learning: warning: whoever reaches {settings.host} can use these models; ask for "
            "a key with --api-key-file, and put a proxy with TLS before it",
            file=sys.stderr,
        )
    if not any(settings.models.glob("*/manifest.json")):
        print(
            f"gpu-learning: warning: {settings.models} has no model yet; gpu-learning export and "
            "fit write one, and it is served without a restart",
            file=sys.stderr,
        )

    def ready(url: str) -> None:
        print(f"serving {settings.models} on {url} (Ctrl-C ends it)", flush=True)
        print(f"in a browser: {url}/ui", flush=True)

    Server(settings, ready).serve_on(listen(arguments.host, arguments.port))
    return 0


def _marks() -> dict[int, str]:
    """What the learner has done, by the record in the current folder that ``lessons`` keeps."""
    from course.exercises.source import FOLDER
    from course.progress import marks

    return marks(_lessons(), Path(FOLDER), Path("logs") / "lessons")


@cache
def _lessons() -> list["Lesson"]:
    from course.catalogue import read

    return read()


def _parser() -> Parser:
    parser = Parser(
        "gpu-learning serve",
        description="Serves the models of a folder as Ollama does, and as OpenAI's API does under "
        "/v1, for this machine alone unless --host says otherwise. docs/serving.md has more.",
    )
    parser.add_argument(
        "models", type=Path, nargs="?", default=Path("models"), help="(%(default)s)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=11434, help="0 takes a free one (%(default)s)")
    parser.add_argument("--api-key-file", type=Path, help="keys, one per line, that clients bring")
    parser.add_argument(
        "--origins",
        help="origins of pages that may ask, by comma, beside this machine's, desktop apps' and "
        "editors': https://chat.example.org, https://*.example.org, chrome-extension://*, * "
        "(OLLAMA_ORIGINS)",
    )
    parser.add_argument(
        "--writable", action="store_true", help="clients may copy and delete models"
    )
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--slots", type=int, default=64, help="texts at once (%(default)s)")
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile the step; a model takes a minute"
    )
    parser.add_argument(
        "--kernels", action="store_true", help="the step by Triton kernels (GPT-2's kind, CUDA)"
    )
    parser.add_argument("--int8", action="store_true", help="and with weights in 8 bits")
    parser.add_argument(
        "--reuse-prefix",
        action=argparse.BooleanOptionalAction,
        help="prefill only what is new in the next turn of a conversation (default: on a CPU)",
    )
    parser.add_argument("--max-queue", type=int, default=512, help="that may wait (%(default)s)")
    parser.add_argument("--max-loaded", type=int, default=3, help="models in memory (%(default)s)")
    parser.add_argument("--max-tokens", type=int, default=8192, help="an answer (%(default)s)")
    parser.add_argument("--keep-alive", default="5m", help="of an unused model (%(default)s)")
    parser.add_argument("--verbose", action="store_true", help="log requests, not their text")
    return parser
