"""The parent's end of ``python -m inference.probe``."""

import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

_ROOT = Path(__file__).parents[1]


class Crashed(ValueError):
    """A signal ended the process that ran the file."""


class Prober:
    """A fresh process without training code, for as long as the ``with`` block lasts."""

    def __enter__(self) -> "Prober":
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "inference.probe"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin
        assert self._process.stdout
        assert self._process.stderr
        if kind is not None:
            self._process.kill()
        self._process.communicate()

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """One request and its answer.

        Raises:
            Crashed: a signal ended the process.
            OSError: it could not read or write a file.
            ValueError: the request failed there, or the process died of it otherwise.
        """
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            _, said = self._process.communicate()
            code, said = self._process.returncode, " ".join(said.split())[-300:]
            reason = f": {said}" if said else ""
            if code < 0:
                raise Crashed(f"the process that ran it was ended by signal {-code}{reason}")
            raise ValueError(f"the process that ran it ended with code {code}{reason}")
        answer = json.loads(line)
        if "errno" in answer:
            raise OSError(answer["errno"], answer["error"])
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer
