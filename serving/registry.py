"""The models folder, and which of its models are in memory."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from inference.manifest import MANIFEST, read_manifest
from serving.artifact import Artifact
from serving.errors import ApiError, busy, not_found, public_message
from serving.loaded import Loaded, load
from serving.memory import settle
from serving.notifier import Notifier
from serving.settings import Settings

_log = logging.getLogger(__name__)


class Registry:
    """Finds models by name, loads them when they are asked for and lets go of them later.

    A name is only ever compared with the names of the folders that are there, so that none leads
    out of the models folder. All methods belong to the event loop's thread.

    Args:
        settings: the server's.
        notifier: the batchers announce new text to it.
    """

    def __init__(self, settings: Settings, notifier: Notifier) -> None:
        self.settings = settings
        self.notifier = notifier
        self._found: dict[str, Path] = {}
        self._known: dict[str, tuple[tuple[int, int], Artifact | str]] = {}
        self._loaded: dict[str, Loaded] = {}
        self._loading: dict[str, asyncio.Task[Loaded]] = {}
        self._retired: set[asyncio.Task[None]] = set()
        self.closing = False

    def artifacts(self) -> list[Artifact]:
        """What the folder holds now, newest first; a damaged model is left out and logged."""
        found = [self._artifact(folder) for folder in self._folders().values()]
        good = [artifact for artifact in found if isinstance(artifact, Artifact)]
        return sorted(good, key=lambda artifact: artifact.modified_ns, reverse=True)

    def find(self, name: str) -> Artifact:
        """The model that a request names.

        Raises:
            ApiError: 404 where there is none, 500 where it is damaged.
        """
        artifact = self._artifact(self.folder(name))
        if isinstance(artifact, str):
            raise ApiError(500, artifact)
        return artifact

    def folder(self, name: str) -> Path:
        """The folder of the model that a request names; raises ApiError 404 where there is none."""
        plain, _, tag = name.partition(":")
        plain = plain.casefold()
        if tag.casefold() not in ("", "latest"):
            raise not_found(name)
        folder = self._found.get(plain)
        if folder is None or not self._holds_model(folder):
            folder = self._folders(plain).get(plain)
            if folder is None:
                raise not_found(name)
            self._found[plain] = folder
        return folder

    @contextlib.asynccontextmanager
    async def use(self, artifact: Artifact, keep_alive: float | None) -> AsyncIterator[Loaded]:
        """The model in memory, which stays there at least as long as this lasts.

        Raises:
            ApiError: 500 for a model that cannot be loaded, 503 where there is no room for it.
        """
        loaded = await self._get(artifact)
        loaded.users += 1
        if loaded.timer:
            loaded.timer.cancel()
        loaded.keep_alive = self.settings.keep_alive if keep_alive is None else keep_alive
        try:
            yield loaded
        finally:
            loaded.users -= 1
            self._plan(loaded)

    def running(self) -> list[Loaded]:
        """The models in memory, those that stay longest first."""
        return sorted(self._loaded.values(), key=lambda one: one.expires, reverse=True)

    async def unload(self, name: str) -> None:
        """Lets go of a model, once its last answer is done."""
        if loaded := self._loaded.get(name):
            loaded.keep_alive = 0
            self._plan(loaded)
            await asyncio.sleep(0)

    async def close(self, grace: float) -> None:
        """Gives running answers ``grace`` seconds, then ends them."""
        self.closing = True
        models = list(self._loaded.values())
        await asyncio.gather(*(asyncio.to_thread(one.close, grace) for one in models))

    def _folders(self, only: str | None = None) -> dict[str, Path]:
        """The folders of models by case-folded name; ``only`` the one of that name."""
        try:
            with os.scandir(self.settings.models) as entries:
                names = [entry.name for entry in entries if entry.name[0] not in "._"]
            names = [name for name in names if only in (None, name.casefold())]
        except OSError as error:
            raise ApiError(500, f"the models folder cannot be read: {error.strerror}") from error
        folders = [self.settings.models / name for name in sorted(names)]
        return {one.name.casefold(): one for one in folders if self._holds_model(one)}

    def _holds_model(self, folder: Path) -> bool:
        try:
            # A link may lead elsewhere; what it leads to is then not in the models folder.
            # By os.path: this is asked for each request, and Path takes several times as long.
            if os.path.islink(folder) and folder.resolve().parent != self.settings.models.resolve():
                return False
            folder.name.encode()  # JSON cannot carry a name that is not UTF-8
            return os.path.isfile(os.path.join(folder, MANIFEST))
        # A link that leads to itself, a folder of others, or such a name.
        except (OSError, RuntimeError, UnicodeEncodeError):
            return False

    def _artifact(self, folder: Path) -> Artifact | str:
        """The model of a folder, or what is wrong with it."""
        try:
            state = os.stat(os.path.join(folder, MANIFEST))
        except OSError as error:
            return f"{folder.name} cannot be read: {error.strerror}"
        stamp = (state.st_mtime_ns, state.st_size)
        known = self._known.get(folder.name)
        if known and known[0] == stamp:
            return known[1]
        try:
            artifact = Artifact.of(read_manifest(folder), state.st_mtime_ns)
        except (ValueError, OSError, RecursionError) as error:
            _log.warning("%r is left out: %s", folder.name, error)
            artifact = public_message(error, self.settings.models)
        self._known[folder.name] = (stamp, artifact)
        return artifact

    async def _get(self, artifact: Artifact) -> Loaded:
        if self.closing:
            raise ApiError(503, "the server is shutting down")
        loaded = self._loaded.get(artifact.name)
        if loaded and loaded.artifact.digest == artifact.digest:
            return loaded
        if loaded:  # exported again meanwhile; its running answers continue
            self._retire(loaded)
        task = self._loading.get(artifact.name)
        if task is None:
            task = asyncio.create_task(self._load(artifact))
            self._loading[artifact.name] = task
            task.add_done_callback(lambda _: self._loading.pop(artifact.name, None))
        # A client that goes away does not stop what others wait for.
        return await asyncio.shield(task)

    async def _load(self, artifact: Artifact) -> Loaded:
        self._make_room()
        began = time.perf_counter_ns()
        try:
            loaded = await asyncio.to_thread(load, artifact, self.settings, self.notifier)
        except (ValueError, OSError, RuntimeError, MemoryError, ImportError) as error:
            _log.warning("%r could not be loaded: %.1000r", artifact.name, str(error))
            what = public_message(error, self.settings.models)
            raise ApiError(500, f"{artifact.name} could not be loaded: {what}") from error
        settle()
        if (self.settings.compile or self.settings.kernels) and loaded.batcher:
            # Once more when the step was compiled, of which hundreds of thousands of objects stay.
            loaded.call(settle)
        loaded.load_ns = time.perf_counter_ns() - began
        loaded.keep_alive = self.settings.keep_alive
        self._loaded[artifact.name] = loaded
        # Whoever waited for it may be gone; otherwise this timer is stopped at once.
        loaded.timer = asyncio.get_running_loop().call_later(1.0, self._plan, loaded)
        return loaded

    def _make_room(self) -> None:
        idle = sorted((one for one in self._loaded.values() if not one.users), key=_expiry)
        while len(self._loaded) + len(self._loading) > self.settings.max_loaded:
            if not idle:
                raise busy()
            self._retire(idle.pop(0))

    def _plan(self, loaded: Loaded) -> None:
        """Sets when a model goes, from now on."""
        if loaded.timer:
            loaded.timer.cancel()
            loaded.timer = None
        loaded.expires = time.time() + loaded.keep_alive
        if loaded.users:
            return
        if self._loaded.get(loaded.artifact.name) is not loaded or loaded.keep_alive <= 0:
            self._retire(loaded)
        elif not math.isinf(loaded.keep_alive):
            loop = asyncio.get_running_loop()
            loaded.timer = loop.call_later(loaded.keep_alive, self._retire, loaded)

    def _retire(self, loaded: Loaded) -> None:
        """No new answers; closes it now, or when the last user is done."""
        if self._loaded.get(loaded.artifact.name) is loaded:
            del self._loaded[loaded.artifact.name]
        if loaded.timer:
            loaded.timer.cancel()
        if loaded.users or loaded.closed:
            return
        loaded.closed = True
        task = asyncio.create_task(_close(loaded))
        self._retired.add(task)
        task.add_done_callback(self._retired.discard)


async def _close(loaded: Loaded) -> None:
    await asyncio.to_thread(loaded.close, 0.0)
    del loaded
    settle()


def _expiry(loaded: Loaded) -> float:
    return loaded.expires


def describe(artifact: Artifact) -> dict[str, Any]:
    """An entry of /api/tags."""
    return {
        "name": artifact.full_name,
        "model": artifact.full_name,
        "modified_at": artifact.modified_at,
        "size": artifact.size,
        "digest": artifact.digest,
        "details": artifact.details,
        "capabilities": artifact.capabilities,
    }
