"""``gpu-learning chat``: talks to a model that this project's server or a real Ollama serves."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.parser import Parser

if TYPE_CHECKING:
    from serving.client import Client


HELP = """\
/clear           forget what was said
/system TEXT     set the system message; without TEXT, show it
/set NAME VALUE  set an option: temperature, top_k, top_p, num_predict, seed
/help, /?        this
/bye, Ctrl-D     end
Ctrl-C stops an answer; \"\"\" begins and ends a message of several lines."""
OPTIONS = {"temperature": float, "top_k": int, "top_p": float, "num_predict": int, "seed": int}
# What a model writes is shown, not obeyed: a terminal acts on control characters.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def main(argv: Sequence[str]) -> int:
    """Lists models, answers once, or talks; ``argv`` begins with the command's name."""
    parser = _parser()
    arguments = parser.parse_args(argv[1:])
    if not (arguments.list or arguments.model):
        parser.error("--model NAME is needed; --list shows the names")
    given = {name: getattr(arguments, name) for name in OPTIONS}
    options = {name: value for name, value in given.items() if value is not None}
    from serving.client import Client  # the help needs no extra

    with Client(arguments.host, _key(arguments.api_key_file)) as client:
        if arguments.list:
            _print_models(client)
        elif arguments.prompt or not sys.stdin.isatty():
            words = arguments.prompt or ["-"]
            prompt = " ".join(_stdin() if word == "-" else word for word in words)
            pieces = client.generate(arguments.model, prompt, options, arguments.system)
            if not _show(piece.response or "" for piece in pieces)[1]:
                return 130
        else:
            client.check(arguments.model)
            Talk(client, arguments.model, options, arguments.system).run()
    return 0


class Talk:
    """A chat in a terminal; an error costs the message that met it and not the talk."""

    def __init__(self, client: Client, model: str, options: dict, system: str | None) -> None:
        self.client = client
        self.model = model
        self.options = options
        self.system = system
        self.messages: list[dict[str, str]] = []

    def run(self) -> None:
        """Reads and answers until /bye or the end of the input."""
        with contextlib.suppress(ImportError):  # Windows has no such module and needs none
            import readline  # noqa: F401  input() gets its line editing from it
        print(f"{self.model} at {self.client.host}. /help lists the commands.")
        while True:
            try:
                line = _read()
            except EOFError:
                print()
                return
            except KeyboardInterrupt:
                print("\nCtrl-D or /bye ends.")
                continue
            if line.strip() in ("/bye", "/exit"):
                return
            if line.startswith("/"):
                print(self.command(line.strip()))
            elif line.strip():
                self.ask(line)

    def command(self, line: str) -> str:
        """Does what a line with a slash says; the reply to it."""
        name, _, rest = line.partition(" ")
        rest = rest.strip()
        if name == "/set" and rest.startswith("system "):  # as `ollama run` has it
            name, rest = "/system", rest.removeprefix("system ").strip()
        if name in ("/help", "/?"):
            return HELP
        if name == "/clear":
            self.messages.clear()
            return "Nothing was said."
        if name == "/system":
            self.system = rest.strip('"') or self.system
            return f"System message: {self.system}" if self.system else "No system message."
        if name == "/set":
            return self._set(rest.removeprefix("parameter ").split())
        return f"There is no {name}; /help lists the commands."

    def _set(self, words: list[str]) -> str:
        if len(words) != 2 or words[0] not in OPTIONS:
            return f"/set NAME VALUE, with one of {', '.join(OPTIONS)}"
        name, value = words
        try:
            self.options[name] = OPTIONS[name](value)
        except ValueError:
            return f"{value!r} is no value for {name}"
        return f"{name} is {self.options[name]}"

    def ask(self, text: str) -> None:
        """Sends a message with all that was said before, and shows the answer as it comes."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        question = {"role": "user", "content": text}
        try:
            pieces = self.client.chat(self.model, [*system, *self.messages, question], self.options)
            answer, whole = _show(piece.message.content or "" for piece in pieces)
        except (ConnectionError, ValueError) as error:
            print(f"gpu-learning: error: {error}", file=sys.stderr)
            return
        print()
        if not answer and not whole:
            return
        # An answer that was stopped has still been said.
        self.messages += [question, {"role": "assistant", "content": answer}]


def _show(pieces: Iterable[str]) -> tuple[str, bool]:
    """Prints pieces as they come; the text, and whether Ctrl-C let it come to its end."""
    text, whole = "", True
    safe = sys.stdout.isatty()
    try:
        for piece in pieces:
            text += piece
            print(_CONTROL.sub("\ufffd", piece) if safe else piece, end="", flush=True)
    except KeyboardInterrupt:
        whole = False
    finally:
        if text:
            print(flush=True)
    return text, whole


def _read() -> str:
    line = input(">>> ")
    if not line.startswith('"""'):
        return line
    text = line.removeprefix('"""')
    while not text.endswith('"""'):
        text += "\n" + input("... ")
    return text.removesuffix('"""')


def _stdin() -> str:
    content = sys.stdin.buffer.read()
    try:
        text = content.decode().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"standard input is not UTF-8 (byte {error.start})") from error
    if not text:
        raise ValueError('standard input is empty; give a prompt: chat --model NAME "the cat"')
    return text


def _key(path: Path | None) -> str | None:
    if path is None:
        return None
    # The file that the server is started with will do: keys by lines, and comments.
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    key = next((line for line in lines if line and not line.startswith("#")), "")
    if not key or not key.isascii() or not key.isprintable():
        raise ValueError(f"{path} holds no API key; write it on a line of its own")
    return key


def _print_models(client: Client) -> None:
    models = client.models()
    if not models:
        print(
            "no models yet; train one: gpu-learning fit -c configs/mini_gpt.yaml", file=sys.stderr
        )
        return
    width = max(4, *(len(model.name) for model in models))
    print(f"{'NAME':<{width}}  {'SIZE':>10}  {'PARAMETERS':>10}  FAMILY")
    for model in models:
        size = f"{model.size / 1e6:,.1f} MB"
        print(f"{model.name:<{width}}  {size:>10}  {model.parameters:>10}  {model.family}")


def _parser() -> Parser:
    parser = Parser(
        "gpu-learning chat",
        description="Talks to a model of a server that answers as Ollama does: gpu-learning serve, "
        "or Ollama itself. With a prompt or text on standard input it answers once.",
    )
    parser.add_argument("prompt", nargs="*", help="answer this and end; - is standard input")
    parser.add_argument("--model", metavar="NAME", help="name of a model that the server has")
    parser.add_argument("--list", action="store_true", help="show the server's models")
    parser.add_argument("--host", metavar="URL", help="OLLAMA_HOST, or 127.0.0.1:11434")
    parser.add_argument("--system", metavar="TEXT", help="system message")
    parser.add_argument("--temperature", type=float, help="0 takes the most likely token")
    parser.add_argument("--top-k", type=int, help="only the k most likely tokens")
    parser.add_argument("--top-p", type=float, help="only this share of probability")
    parser.add_argument("--num-predict", type=int, help="most tokens of an answer")
    parser.add_argument("--seed", type=int, help="the same seed returns the same answer")
    parser.add_argument("--api-key-file", type=Path, metavar="FILE", help="holds the server's key")
    parser.epilog = "An option that is not given has the server's default."
    return parser
