"""Malformed requests: no 500, no hang, and the server still answers. A fixed part of many more."""

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.serving.conftest import Running, serving

pytest.importorskip("schemathesis", reason="the extra [dev] is not installed")
pytest.importorskip("hypothesis", reason="the extra [dev] is not installed")

from tests.serving.fuzz import PATHS, checked, from_openapi, malformed


@pytest.fixture(scope="module")
def writable(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server whose models may be copied and deleted."""
    root = tmp_path_factory.mktemp("fuzzed")
    for name in ("tiny", "json", "digits"):
        shutil.copytree(models / name, root / name)
    with serving(root, writable=True) as running:
        yield running


def _failed(seen: Counter[tuple[str, int]]) -> list[tuple[str, int]]:
    """Answers from 500 on, but 503 of a model that is not ready yet."""
    return [one for one in seen if one[1] >= 500 and one != ("/readyz/{model}", 503)]


@pytest.mark.slow
def test_malformed_bodies(writable: Running) -> None:
    with httpx.Client(base_url=writable.url, timeout=20) as client:
        seen = malformed(client, 400, seed=1)
        assert checked(client)
    statuses = {status for _, status in seen}
    assert {200, 400, 404} <= statuses
    assert {path for path, _ in seen} == set(PATHS)
    assert not _failed(seen)
    assert {"tiny", "json", "digits"} <= {one.name for one in writable.models.iterdir()}


@pytest.mark.slow
def test_requests_made_from_our_own_openapi(writable: Running) -> None:
    with httpx.Client(base_url=writable.url, timeout=20) as client:
        seen = from_openapi(client, 120, seed=1)
        assert checked(client)
    assert sum(seen.values()) >= 50
    assert not _failed(seen)
