"""One line of ``gpu-learning doctor``'s report."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

OK, NOTE, FAIL = "ok", "note", "fail"


@dataclass
class Finding:
    """One line of the report; ``remedy`` says what to do where ``state`` is not ok."""

    part: str
    state: str
    text: str
    remedy: str = ""


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
