"""What a server is started with, and the limits that a request has to keep."""

import ipaddress
import stat
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """How a server behaves. Sizes are in bytes, times in seconds.

    Args:
        models: folder whose folders are the models.
        host: address that the server listens on; a loopback one has its Host header checked.
        keys: API keys, one of which every request must bring; none asks for none.
        device: ``auto``, ``cpu`` or ``cuda``.
        slots: texts of one model that are generated at once.
        compile: compile the step of language models, a minute for each at its first request.
        max_queue: requests of one model that may wait for a slot.
        max_loaded: models in memory; an idle one makes room for another.
        keep_alive: how long a model stays after its last request, where a request does not say.
        max_tokens: most tokens of one answer.
        max_prompt: most characters of one prompt, with its history.
        max_body: largest body of a request.
        max_images: most pictures in one request.
        max_image: largest picture.
        body_seconds: time for a body to arrive.
        answer_seconds: time for an answer.
        stall_seconds: how long a client may not read before its answer is given up.
        grace_seconds: how long running answers may go on when the server is stopped.

    Raises:
        ValueError: a limit below 1, or a folder that is none.
    """

    models: Path
    host: str = "127.0.0.1"
    keys: tuple[str, ...] = ()
    device: str = "auto"
    slots: int = 64
    compile: bool = False
    max_queue: int = 512
    max_loaded: int = 3
    keep_alive: float = 300.0
    max_tokens: int = 8192
    max_prompt: int = 1 << 20
    max_body: int = 32 << 20
    max_images: int = 64
    max_image: int = 10 << 20
    body_seconds: float = 30.0
    answer_seconds: float = 600.0
    stall_seconds: float = 60.0
    grace_seconds: float = 5.0

    def __post_init__(self) -> None:
        if not self.models.is_dir():
            raise ValueError(
                f"{self.models} is not a folder; gpu-learning export writes models to models/"
            )
        for name in ("slots", "max_queue", "max_loaded", "max_tokens", "max_body", "max_images"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def read_keys(path: Path) -> tuple[str, ...]:
    """The API keys of a file, one a line; empty lines and those that begin with # do not count.

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
        raise ValueError(f"{path} holds no key; write one a line, 16 characters or more")
    if any(len(key) < 16 or not key.isascii() or not key.isprintable() for key in keys):
        raise ValueError(f"a key in {path} is shorter than 16 characters or is not plain ASCII")
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        raise ValueError(f"others may read {path}: chmod 600 {path}")
    return keys
