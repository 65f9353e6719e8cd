"""Text to tokens and back in llama.cpp's form, with the name of the model; Ollama has no such."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from serving.answers import ask_tokenizer
from serving.artifact import GENERATE
from serving.loaded import Loaded
from serving.options import only_neutral
from serving.prompts import check_tokens
from serving.state import model_for, state, takes
from serving.wire import Wire, dump, read

router = APIRouter(tags=["llama.cpp"])
_PART = 1000  # tokens


class TokenizeRequest(Wire):
    """POST /tokenize; ``add_special`` changes nothing, as these models begin with no token."""

    model: str | None = None
    content: str = ""
    add_special: bool | None = None
    parse_special: bool | None = None
    with_pieces: bool | None = None


class DetokenizeRequest(Wire):
    """POST /detokenize"""

    model: str | None = None
    tokens: list[int] = Field(default_factory=list)


@router.post("/tokenize", openapi_extra=takes(TokenizeRequest))
async def tokenize(request: Request) -> Response:
    """The tokens of a text; with ``with_pieces``, what each stands for."""
    asked = await read(TokenizeRequest, request)
    artifact = model_for(request, asked.model, GENERATE, "tokenize")
    only_neutral(asked, {"parse_special": (True,)})

    def tokens(loaded: Loaded) -> bytes:
        ids = loaded.tokens(asked.content)
        if not asked.with_pieces:
            return _listed(ids, lambda token: token)
        assert loaded.batcher is not None
        pieces = loaded.batcher.generator.tokenizer.pieces
        return _listed(ids, lambda token: {"id": token, "piece": _piece(pieces[token])})

    found = await ask_tokenizer(state(request), artifact, tokens, len(asked.content))
    return Response(b'{"tokens":%b}' % found, media_type="application/json")


@router.post("/detokenize", openapi_extra=takes(DetokenizeRequest))
async def detokenize(request: Request) -> Response:
    """The text of tokens; bytes that are not UTF-8 become U+FFFD."""
    asked = await read(DetokenizeRequest, request)
    artifact = model_for(request, asked.model, GENERATE, "detokenize")

    def text(loaded: Loaded) -> str:
        ids = check_tokens(loaded, asked.tokens, "tokens")
        assert loaded.batcher is not None
        return loaded.batcher.generator.tokenizer.decode(ids)

    content = await ask_tokenizer(state(request), artifact, text, len(asked.tokens))
    return JSONResponse({"content": content})


def _listed(ids: list[int], entry: Callable[[int], Any]) -> bytes:
    """A JSON list, made a part at a time: a million entries would take memory and hold others."""
    starts = range(0, len(ids), _PART)
    parts = [dump([entry(token) for token in ids[at : at + _PART]])[1:-1] for at in starts]
    return b"[%b]" % b",".join(parts)


def _piece(piece: bytes) -> str | list[int]:
    """What a token stands for; part of a character only as its bytes."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)
