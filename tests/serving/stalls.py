"""Requests that are meant to stall a server or to fill its memory, one kind per function.

Each kind takes the server's port and an event, attacks until the event is set or its requests are
answered, and yields how the answers begin. Refusals and broken connections are what it is there
for, so none is an error.
"""

import base64
import contextlib
import json
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Sequence
from itertools import chain, count, repeat
from typing import Any

Kind = Callable[[int, threading.Event], list[bytes]]
ENDLESS = {"num_predict": 10**6, "num_ctx": 96}
# Answers by it need not end; the model ``json`` can write them.
WORDS = {"type": "array", "minItems": 1000, "items": {"type": "string", "minLength": 90}}


def _head(path: str, length: int, *more: str) -> bytes:
    lines = (f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {length}", *more)
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


def _post(path: str, content: bytes, *more: str) -> bytes:
    return _head(path, len(content), *more) + content


def _send(
    port: int, content: bytes, stop: threading.Event, read: bool, answers: list[bytes]
) -> None:
    """Sends a request and reads its answer, or leaves it unread until ``stop``."""
    first = b""
    with contextlib.suppress(OSError), socket.socket() as connection:
        if not read:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", port))
        connection.sendall(content)
        connection.settimeout(1)
        while not stop.is_set():
            if not read:
                stop.wait(0.1)
                continue
            with contextlib.suppress(TimeoutError):
                piece = connection.recv(1 << 16)
                if not piece:
                    return
                if not first:
                    first = piece
                    answers.append(piece[:200])


def _together(
    port: int, contents: Sequence[bytes], stop: threading.Event, read: bool = True
) -> list[bytes]:
    answers: list[bytes] = []
    threads = [
        threading.Thread(target=_send, args=(port, one, stop, read, answers)) for one in contents
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def body(path: str, content: bytes | dict[str, Any], *more: str, times: int = 2) -> Kind:
    """The same request ``times`` times at once."""
    plain = content if isinstance(content, bytes) else json.dumps(content).encode()
    request = _post(path, plain, "Connection: close", *more)
    return lambda port, stop: _together(port, [request] * times, stop)


def unread(path: str, content: dict[str, Any], times: int = 8) -> Kind:
    """Requests whose answers nobody reads."""
    request = _post(path, json.dumps(content).encode())
    return lambda port, stop: _together(port, [request] * times, stop, read=False)


def leaving(path: str, content: dict[str, Any], times: int = 8) -> Kind:
    """Clients that go away, again and again: at once, in the middle of the answer, or with a reset.

    Yields what they had read by then.
    """
    request = _post(path, json.dumps(content).encode())

    def attack(port: int, stop: threading.Event) -> list[bytes]:
        answers: list[bytes] = []
        with contextlib.suppress(OSError):  # of a server that ends
            for turn in count():
                with contextlib.ExitStack() as stack:
                    made = [stack.enter_context(socket.socket()) for _ in range(times)]
                    for one in made:
                        one.settimeout(5)
                        one.connect(("127.0.0.1", port))
                        one.sendall(request)
                        if turn % 3 == 2:  # closes with a reset instead of an end
                            linger = struct.pack("ii", 1, 0)
                            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    if turn % 3:
                        answers += [one.recv(1 << 16)[:200] for one in made]
                if stop.is_set():
                    break
        return answers

    return attack


def drip(start: bytes, pieces: Callable[[], Any], connections: int, pause: float) -> Kind:
    """Connections that send ``start`` and then a piece each ``pause`` seconds."""

    def attack(port: int, stop: threading.Event) -> list[bytes]:
        with contextlib.ExitStack() as stack:
            made = [stack.enter_context(socket.socket()) for _ in range(connections)]
            for one in made:
                one.connect(("127.0.0.1", port))
                one.settimeout(1)
                one.sendall(start)
            for piece in pieces():
                if stop.wait(pause) or not made:
                    break
                for one in list(made):
                    try:
                        one.sendall(piece)
                    except TimeoutError:
                        pass
                    except OSError:
                        made.remove(one)
        return []

    return attack


def _bomb(side: int) -> str:
    """A PNG of ``side`` by ``side`` gray pixels, in base64."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return b"".join(
            number.to_bytes(4, "big") if isinstance(number, int) else number
            for number in (len(content), name, content, zlib.crc32(name + content))
        )

    size = side.to_bytes(4, "big")
    rows = zlib.compressobj()
    packed = b"".join(rows.compress(b"\0" + b"\x40" * side) for _ in range(side)) + rows.flush()
    head = chunk(b"IHDR", size + size + b"\x08\0\0\0\0")
    whole = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    return base64.b64encode(whole).decode()


def _form(part: bytes, count: int) -> bytes:
    head = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\ndigits\r\n'
    return head + part * count + b"--x--\r\n"


def kinds() -> dict[str, Callable[[], Kind]]:
    """What makes them, by name."""
    form = "Content-Type: multipart/form-data; boundary=x"
    generate, chat = "/api/generate", "/api/chat"
    tiny = {"model": "tiny", "prompt": "the cat", "options": {"num_predict": 2}}
    turn = b'{"role":"user"},'
    last = b'{"role":"user","content":"the cat"}]}'
    part = b'{"type":"text","text":""},'
    options = b",".join(b'"unknown%d":1' % number for number in range(400_000))
    by_schema = {"model": "json", "prompt": "the cat", "format": WORDS, "options": ENDLESS}
    whole = {"format": WORDS, "options": ENDLESS, "stream": False}
    properties = {f"name{number}": {"enum": [number, "a" * 40]} for number in range(450)}
    many = {"format": {"type": "object", "properties": properties, "required": list(properties)}}
    stops = [("a" * 1020 + f"{number:04}") for number in range(64)]
    return {
        "a template of blanks": lambda: body(generate, tiny | {"template": "{{" + " " * 4000}),
        "a template of nested ifs": lambda: body(
            generate, tiny | {"template": "{{ if .System }}" * 9000}
        ),
        "a template that repeats": lambda: body(
            generate, tiny | {"template": "{{ .Prompt }}" * 600, "prompt": "a" * 1_000_000}
        ),
        "pieces of a long text": lambda: body(
            "/tokenize", {"model": "tiny", "content": "a" * (1 << 20), "with_pieces": True}
        ),
        "a conversation to count": lambda: body(
            "/v1/messages/count_tokens", b'{"model":"tiny","messages":[' + turn * 9_999 + last
        ),
        "many inputs": lambda: body("/api/embed", {"model": "tiny", "input": ["a"] * 100_000}),
        "inputs of the longest length": lambda: body(
            "/api/embed", {"model": "tiny", "input": ["a" * 2000] * 512}
        ),
        "many messages": lambda: body(
            chat, b'{"model":"tiny","messages":[' + turn * 480_000 + b'{"role":"user"}]}'
        ),
        "as many messages as are taken": lambda: body(
            chat, b'{"model":"tiny","messages":[' + turn * 9_990 + b'{"role":"user"}]}'
        ),
        "many parts of a message": lambda: body(
            "/v1/chat/completions",
            b'{"model":"tiny","messages":[{"role":"user","content":['
            + part * 300_000
            + b'{"type":"text","text":"a"}]}]}',
        ),
        "many unknown options": lambda: body(
            generate, b'{"model":"tiny","prompt":"a","options":{' + options + b"}}"
        ),
        "many values": lambda: body(
            generate, b'{"model":"tiny","format":[' + b"[]," * 2_700_000 + b"1]}"
        ),
        "deep values": lambda: body(generate, b"[" * 8_000_000),
        "escaped quotes": lambda: body(generate, b'{"model":"' + b'\\"' * 4_100_000 + b'"}'),
        "stop strings": lambda: body(
            generate,
            tiny | {"options": {"stop": stops, "num_predict": 900, "num_ctx": 96}},
            times=8,
        ),
        "as many log-probabilities as are made": lambda: body(
            "/v1/completions",
            {"model": "tiny", "prompt": ["the cat " * 12] * 24, "echo": True, "max_tokens": 0}
            | {"logprobs": 20},
            times=4,
        ),
        "an endless head": lambda: drip(
            b"GET / HTTP/1.1\r\nX: ", lambda: repeat(b"a" * (4 << 20)), 2, 0
        ),
        "many headers": lambda: drip(
            b"GET / HTTP/1.1\r\n", lambda: repeat(b"a: b\r\n" * 500_000), 2, 0
        ),
        "slow heads": lambda: drip(
            b"GET / HTTP/1.1\r\n", lambda: chain([b"Host: localhost\r\n"], repeat(b"a")), 200, 0.5
        ),
        "slow bodies": lambda: drip(_head(generate, 1000), lambda: repeat(b" "), 200, 0.5),
        "bodies that stay": lambda: drip(
            _head("/api/classify", 30 << 20), lambda: repeat(b" " * (1 << 20)), 40, 0.01
        ),
        "whole answers that nobody reads": lambda: unread(
            "/api/embed", {"model": "tiny", "input": ["a"] * 512}
        ),
        "streams that nobody reads": lambda: unread(generate, tiny | {"options": ENDLESS}),
        "schemas whose streams nobody reads": lambda: unread(generate, by_schema),
        "schemas whose answers nobody reads": lambda: unread(
            generate, by_schema | {"stream": False}
        ),
        "schemas whose streams are left": lambda: leaving(generate, by_schema),
        "schemas whose answers are left": lambda: leaving(
            chat, {"model": "json", "messages": [{"role": "user", "content": "a"}]} | whole
        ),
        "schemas that take long, and are left": lambda: leaving(generate, by_schema | many),
        "a form of headers": lambda: body(
            "/api/classify", _form(b"--x\r\n" + b"a: b\r\n" * 1_000_000, 4), form
        ),
        "a form of boundaries": lambda: body("/api/classify", _form(b"--x\r\n", 5_000_000), form),
        "base64 of the longest length": lambda: body(
            "/api/classify",
            b'{"model":"digits","images":["' + b"YWFh" * (7 << 20) + b'"]}',
            times=4,
        ),
        "the largest pictures": lambda: body(
            "/api/classify", {"model": "digits", "images": [_bomb(7000)] * 64}
        ),
        "requests in one piece": lambda: body(
            "/", _post("/api/show", b'{"model":"tiny"}') * 30_000
        ),
        "all tokens of a model": lambda: body(
            "/api/show", {"model": "tiny", "verbose": True}, times=64
        ),
    }
