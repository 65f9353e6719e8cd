"""What a server is started with, and the limits that a request has to keep."""

import ipaddress
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from inference.manifest import MANIFEST


@dataclass(frozen=True)
class Settings:
    """How a server behaves, with every limit that a request has to keep.

    Sizes are in bytes, times in seconds.

    Args:
        models: folder whose folders are the models.
        host: address that the server listens on; a loopback one has its Host header checked.
        keys: API keys, one of which every request must bring; none asks for none.
        origins: patterns of origins of pages that may ask, beside those of this machine.
        writable: whether clients may copy and delete models.
        device: ``auto``, ``cpu`` or ``cuda``.
        slots: sequences of one model that are generated at once.
        compile: compile the step of language models: a minute each, at the first request.
        kernels: decode by Triton kernels, on a CUDA GPU; a model that is no GPT-2 is not loaded.
        int8: with the kernels, keep the matrices of language models in 8 bits.
        reuse: prefill of a prompt only what no free slot's cache holds; None: on a CPU alone.
        max_queue: requests of one model that may wait for a slot.
        max_loaded: models in memory; an idle one makes room for another.
        keep_alive: how long a model stays after its last request, where a request does not say.
        max_tokens: most tokens of one answer.
        max_prompt: most characters of one prompt, with its history and template, and of the prompts
            of one request together.
        max_choices: most completions of one request: its prompts times ``n``.
        max_biases: most tokens in a ``logit_bias``.
        max_scores: most log-probabilities that the answers of one request could have.
        max_head: largest head of a request.
        max_headers: most headers of a request.
        max_body: largest body of a request.
        max_bodies: bodies of all requests that are being answered.
        max_json: largest JSON text, images excepted.
        max_values: most values in a JSON text.
        max_depth: most brackets in one another in a JSON text.
        max_messages: most messages of a conversation, and parts of a message.
        max_inputs: most inputs that one request has embedded.
        max_options: most options of a request, known or not.
        max_stops: most stop strings.
        max_stop: most characters of a stop string.
        max_template: most characters of a template.
        max_images: most images in one request.
        max_image: largest image.
        head_seconds: time for a head to arrive.
        body_seconds: time for a body to arrive.
        schema_seconds: time for a JSON Schema to become a grammar.
        answer_seconds: time for an answer.
        stall_seconds: how long a client may not read before its answer is given up.
        grace_seconds: how long running answers may continue when the server is stopped.
        marks: what the learner at this machine has ``done``, ``changed`` or
            ``run``, by step of the course; shown where :attr:`loopback` holds.

    Raises:
        ValueError: a limit below 1, or a folder that is none, or is that of one model.
    """

    models: Path
    host: str = "127.0.0.1"
    keys: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    writable: bool = False
    device: str = "auto"
    slots: int = 64
    compile: bool = False
    kernels: bool = False
    int8: bool = False
    reuse: bool | None = None
    max_queue: int = 512
    max_loaded: int = 3
    keep_alive: float = 300.0
    max_tokens: int = 8192
    max_prompt: int = 1 << 20
    max_choices: int = 128
    max_biases: int = 1024
    max_scores: int = 50_000
    max_head: int = 16 << 10
    max_headers: int = 100
    max_body: int = 32 << 20
    max_bodies: int = 128 << 20
    max_json: int = 8 << 20
    max_values: int = 100_000
    max_depth: int = 64
    max_messages: int = 10_000
    max_inputs: int = 512
    max_options: int = 100
    max_stops: int = 64
    max_stop: int = 1024
    max_template: int = 8192
    max_images: int = 64
    max_image: int = 10 << 20
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    schema_seconds: float = 5.0
    answer_seconds: float = 600.0
    stall_seconds: float = 60.0
    grace_seconds: float = 5.0
    marks: Callable[[], Mapping[int, str]] | None = None

    def __post_init__(self) -> None:
        if not self.models.is_dir():
            raise ValueError(f"{self.models} is not a folder; {_folder_meant(self.models)}")
        if (self.models / MANIFEST).is_file():
            above = self.models.parent if self.models.name else self.models.resolve().parent
            raise ValueError(
                f"{self.models} is the folder of one model; serve the folder above it: "
                f"gpu-learning serve {above}"
            )
        for name, value in vars(self).items():
            if (name == "slots" or name.startswith("max_")) and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def _folder_meant(models: Path) -> str:
    """The folder with models beside one that is not there, or where models come from."""
    names = {path.parents[1].name for path in models.parent.glob(f"*/*/{MANIFEST}")}
    if near := get_close_matches(models.name, sorted(names), n=1):
        return f"did you mean {models.with_name(near[0])}{os.sep}?"
    return f"gpu-learning export writes models to models/ (the current folder is {Path.cwd()})"


def read_keys(path: Path) -> tuple[str, ...]:
    """The API keys of a file, one per line; empty lines and those that begin with # do not count.

    Raises:
        ValueError: no key in it, one that no header can carry, or a file that others may read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        mode = path.stat().st_mode
    except OSError as error:
        raise ValueError(f"the key file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"the key file {path} is not UTF-8 (byte {error.start})") from error
    stripped = (line.strip() for line in lines)
    keys = tuple(line for line in stripped if line and not line.startswith("#"))
    if not keys:
        raise ValueError(f"{path} holds no key; write one per line, 16 characters or more")
    if any(len(key) < 16 or not key.isascii() or not key.isprintable() for key in keys):
        raise ValueError(f"a key in {path} is shorter than 16 characters or is not plain ASCII")
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        raise ValueError(f"others may read {path}: chmod 600 {path}")
    return keys
