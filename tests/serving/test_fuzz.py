"""Malformed requests: no 500, no hang, and the server still answers. A fixed part of many more."""

import httpx
import pytest

from tests.serving.conftest import Running

pytest.importorskip("schemathesis", reason="the extra [dev] is not installed")
pytest.importorskip("hypothesis", reason="the extra [dev] is not installed")

from tests.serving.fuzz import checked, from_openapi, malformed


@pytest.mark.slow
def test_malformed_bodies(server: Running) -> None:
    with httpx.Client(base_url=server.url, timeout=20) as client:
        seen = malformed(client, 200, seed=1)
        assert checked(client)
    assert {400, 404} <= set(seen)
    assert not [status for status in seen if status >= 500]


def test_requests_made_from_our_own_openapi(server: Running) -> None:
    with httpx.Client(base_url=server.url, timeout=20) as client:
        seen = from_openapi(client, 120, seed=1)
        assert checked(client)
    assert sum(seen.values()) >= 50
    assert not [status for status in seen if status >= 500]
