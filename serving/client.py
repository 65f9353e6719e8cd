"""Asks an Ollama server, ours or Ollama's own; what goes wrong is said in one sentence."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

try:
    import httpx
    import ollama
except ImportError as error:
    raise ValueError(
        f"{error.name} is not installed; it comes with the extra serve: make setup EXTRAS=dev,serve"
    ) from error

START = "start one of them: gpu-learning serve models/, or Ollama's own: ollama serve"
CONNECT_SECONDS = 10


@dataclass(frozen=True)
class Entry:
    """One model that the server has; ``size`` in bytes."""

    name: str
    size: int
    family: str
    parameters: str


class Client:
    """The official ``ollama`` client with errors that name the remedy.

    Args:
        host: ``127.0.0.1:11434``, ``http://host:port`` or None for ``OLLAMA_HOST`` and then
            Ollama's own address.
        api_key: sent as a bearer token; None leaves it to ``OLLAMA_API_KEY``.

    Every method raises ConnectionError where no server answers or one goes away, and ValueError
    where it refuses. A ``with`` closes the connections.
    """

    def __init__(self, host: str | None = None, api_key: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else None
        given = host or os.environ.get("OLLAMA_HOST") or "127.0.0.1:11434"
        try:
            # An answer may take its time; a connection may not.
            timeout = httpx.Timeout(None, connect=CONNECT_SECONDS)
            self._ollama = ollama.Client(given, headers=headers, timeout=timeout)
        except (ValueError, httpx.InvalidURL) as error:
            raise ValueError(
                f"{given!r} is no address of a server ({error}); give HOST:PORT or a URL"
            ) from error
        self.host = given

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._ollama.close()

    def models(self) -> list[Entry]:
        """What the server has, in its order."""
        with self._explained():
            found = self._ollama.list().models
        return [
            Entry(
                model.model or "",
                int(model.size or 0),
                (model.details and model.details.family) or "",
                (model.details and model.details.parameter_size) or "",
            )
            for model in found
        ]

    def check(self, model: str) -> None:
        """Raises ValueError where the server has no such model, or it writes no text."""
        with self._explained(model):
            able = self._ollama.show(model).capabilities
        if able and "completion" not in able:
            raise ValueError(
                f"{model} writes no text ({', '.join(able)}); {self._there_are(but=model)}"
            )

    def generate(
        self, model: str, prompt: str, options: Mapping[str, Any], system: str | None = None
    ) -> Iterator[ollama.GenerateResponse]:
        """The continuation of a prompt, piece by piece."""
        # An empty system message would take the place of the model's own.
        extra: dict[str, Any] = {"system": system} if system else {}
        with self._explained(model):
            yield from self._ollama.generate(model, prompt, stream=True, options=options, **extra)

    def chat(
        self, model: str, messages: Sequence[Mapping[str, str]], options: Mapping[str, Any]
    ) -> Iterator[ollama.ChatResponse]:
        """The answer to the last message, piece by piece."""
        with self._explained(model):
            yield from self._ollama.chat(model, messages, stream=True, options=options)

    @contextmanager
    def _explained(self, model: str | None = None) -> Iterator[None]:
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout, ConnectionError) as error:
            # ollama turns the first of these into the last, but not where it streams.
            raise ConnectionError(f"no server answers at {self.host}; {START}") from error
        except httpx.TransportError as error:
            raise ConnectionError(
                f"the server at {self.host} went away in the middle of an answer ({error}); look "
                f"at its log, then {START}"
            ) from error
        except ollama.ResponseError as error:
            raise ValueError(self._refusal(error, model)) from error
        except (ValueError, AttributeError) as error:
            # No JSON, or JSON of another shape: pydantic's and json's errors are ValueErrors.
            raise ValueError(
                f"what answers at {self.host} is no Ollama server; --host or OLLAMA_HOST may "
                f"name another address, or {START}"
            ) from error

    def _refusal(self, error: ollama.ResponseError, model: str | None) -> str:
        reason = " ".join(error.error.split()) or "no reason given"
        if error.status_code == 404 and "not found" in reason and model is not None:
            return f"the server at {self.host} has no model {model!r}; {self._there_are(model)}"
        if error.status_code == 401:
            return (
                f"the server at {self.host} wants an API key ({reason}); give it by "
                "--api-key-file FILE or in OLLAMA_API_KEY"
            )
        if error.status_code == 403:
            return f"the server at {self.host} refuses this ({reason}); reach it as 127.0.0.1"
        if error.status_code == 503:
            return f"the server at {self.host} is busy ({reason}); try again in a moment"
        if error.status_code == -1:
            return f"the answer broke off: {reason}; the server's log may say more"
        if "does not support" in reason:
            return f"{reason}; {self._there_are(but=model)}"
        return f"the server at {self.host} answered {error.status_code}: {reason}"

    def _there_are(self, asked: str | None = None, but: str | None = None) -> str:
        """The nearest name and all names; ``but`` is the one that was no use."""
        try:
            names = [entry.name.removesuffix(":latest") for entry in self.models()]
        except (ConnectionError, ValueError):
            names = []
        who = "the server" if but else "it"
        if names := [name for name in names if name != but]:
            near = get_close_matches(asked or "", names, n=1)
            who = f"did you mean {near[0]}? It" if near else who
            return f"{who} has {', '.join(names)}"
        return (
            f"{who} has {'no other' if but else 'none yet'}; train one: gpu-learning fit -c "
            "configs/mini_gpt.yaml, or with Ollama: ollama pull NAME"
        )
