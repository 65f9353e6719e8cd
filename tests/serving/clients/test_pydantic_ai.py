"""Pydantic AI through OpenAI's API; an agent of it, run to its end."""

import asyncio

import openai
import pytest

from tests.serving.clients.conftest import QUESTION, TOKENS, Expected, Pet

pydantic_ai = pytest.importorskip("pydantic_ai", reason="needs the extra clients")
models = pytest.importorskip("pydantic_ai.models.openai", reason="needs the extra clients")
providers = pytest.importorskip("pydantic_ai.providers.openai", reason="needs the extra clients")

PACKAGE = "pydantic-ai-slim"
GREEDY = {"temperature": 0, "max_tokens": TOKENS}


async def _run(expected: Expected, model: str = "json", **given):
    """What an agent returns whose connections end with it."""
    async with _client(expected) as client:
        return (await _agent(client, model, **given).run(QUESTION)).output


def _client(expected: Expected) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{expected.url}/v1", api_key="none", max_retries=0)


def _agent(client: openai.AsyncOpenAI, model: str = "json", **given):
    provider = providers.OpenAIProvider(openai_client=client)
    return pydantic_ai.Agent(models.OpenAIChatModel(model, provider=provider), **given)


def test_chat(expected: Expected) -> None:
    assert asyncio.run(_run(expected, model_settings=GREEDY)) == expected.text


def test_stream(expected: Expected) -> None:
    async def pieces() -> list[str]:
        async with _client(expected) as client:
            agent = _agent(client, model_settings=GREEDY)
            async with agent.run_stream(QUESTION) as answer:
                return [piece async for piece in answer.stream_text(delta=True, debounce_by=None)]

    found = asyncio.run(pieces())
    assert len(found) > 2
    assert "".join(found) == expected.text


def test_schema(expected: Expected) -> None:
    # The default of Agent(output_type=Pet) is a tool, which no model here can call.
    native = pydantic_ai.NativeOutput(Pet)
    answer = asyncio.run(_run(expected, output_type=native, model_settings={"seed": 1}))
    assert isinstance(answer, Pet)


def test_tools_are_refused(expected: Expected) -> None:
    with pytest.raises(pydantic_ai.ModelHTTPError, match="tools") as found:
        asyncio.run(_run(expected, output_type=Pet))
    assert found.value.status_code == 400


def test_unknown_model(expected: Expected) -> None:
    with pytest.raises(pydantic_ai.ModelHTTPError, match="model 'nobody' not found") as found:
        asyncio.run(_run(expected, "nobody"))
    assert found.value.status_code == 404
