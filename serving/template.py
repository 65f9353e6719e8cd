"""How messages become a prompt: the part of Ollama's template language that models here need.

Known are ``{{ .System }}``, ``{{ .Prompt }}``, ``{{ .Response }}`` and ``{{ .Suffix }}``,
``{{ if .X }} ... {{ else }} ... {{ end }}``, strings such as ``{{ "{{" }}``, and dashes that trim
white space: ``{{- .Prompt -}}``.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_FIELD = re.compile(r"\.(System|Prompt|Response|Suffix)")
_STRING = re.compile(r'"([^"\\]*)"')


@dataclass
class _If:
    name: str
    yes: list["_Node"] = field(default_factory=list)
    no: list["_Node"] = field(default_factory=list)


@dataclass(frozen=True)
class _Field:
    name: str


_Node = str | _Field | _If


class Template:
    """A template that was read.

    Args:
        source: its text; where it has no ``{{ .Response }}``, that is put at its end.

    Raises:
        ValueError: something that is not known, or ``if`` and ``end`` that do not match.
    """

    def __init__(self, source: str = "{{ .Prompt }}") -> None:
        self.source = source
        self._nodes = _parse(source)
        if "Response" not in set(_names(self._nodes)):
            self._nodes.append(_Field("Response"))

    def conversation(self, messages: Iterable[tuple[str, str]]) -> str:
        """The prompt for a model that is to go on after ``messages``: pairs of role and text.

        Each round of system, user and assistant is filled in by itself, the last one up to where
        the answer belongs, as Ollama does.
        """
        done: list[str] = []
        values = {"System": "", "Prompt": "", "Response": ""}
        for role, content in _joined(messages):
            if role == "system":
                if values["Prompt"] or values["Response"]:
                    done.append(self._fill(values))
                    values = dict.fromkeys(values, "")
                values["System"] = content
            elif role == "user":
                if values["Response"]:
                    done.append(self._fill(values))
                    values = dict.fromkeys(values, "")
                values["Prompt"] = content
            elif role == "assistant":
                values["Response"] = content
        out: list[str] = []
        _render(self._nodes, values, out, to_response=True)
        return "".join(done) + "".join(out)

    def _fill(self, values: Mapping[str, str]) -> str:
        out: list[str] = []
        _render(self._nodes, values, out, to_response=False)
        return "".join(out)


def _joined(messages: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Neighbours of one role become one message."""
    joined: list[tuple[str, str]] = []
    for role, content in messages:
        if joined and joined[-1][0] == role:
            joined[-1] = (role, f"{joined[-1][1]}\n\n{content}")
        else:
            joined.append((role, content))
    return joined


def _parse(source: str) -> list[_Node]:
    root: list[_Node] = []
    # Each open list with the if that it belongs to.
    stack: list[tuple[list[_Node], _If | None]] = [(root, None)]
    place, trim = 0, False
    for match in re.finditer(r"\{\{(-\s)?\s*(.*?)\s*(\s-)?\}\}", source, re.DOTALL):
        text = source[place : match.start()]
        text = text.lstrip() if trim else text
        text = text.rstrip() if match[1] else text
        place, trim = match.end(), bool(match[3])
        if text:
            stack[-1][0].append(text)
        _take(match[2], stack)
    text = source[place:].lstrip() if trim else source[place:]
    if text:
        stack[-1][0].append(text)
    if len(stack) > 1:
        raise ValueError("the template has an if without its end")
    return root


def _take(action: str, stack: list[tuple[list[_Node], "_If | None"]]) -> None:
    nodes, opened = stack[-1]
    if found := _FIELD.fullmatch(action):
        nodes.append(_Field(found[1]))
    elif found := _STRING.fullmatch(action):
        nodes.append(found[1])
    elif action.startswith("if ") and (found := _FIELD.fullmatch(action[3:].strip())):
        branch = _If(found[1])
        nodes.append(branch)
        stack.append((branch.yes, branch))
    elif action == "else" and opened is not None and nodes is opened.yes:
        stack[-1] = (opened.no, opened)
    elif action == "end" and opened is not None:
        stack.pop()
    else:
        raise ValueError(
            f"the template has {{{{ {action[:60]} }}}}, which is not known here; .System, .Prompt, "
            ".Response, .Suffix, if, else and end are"
        )


def _names(nodes: Iterable[_Node]) -> Iterable[str]:
    for node in nodes:
        if isinstance(node, _Field):
            yield node.name
        elif isinstance(node, _If):
            yield from (node.name, *_names(node.yes), *_names(node.no))


def _render(
    nodes: Iterable[_Node], values: Mapping[str, str], out: list[str], to_response: bool
) -> bool:
    """Appends to ``out``; true when all that follows is cut off."""
    for node in nodes:
        if isinstance(node, str):
            out.append(node)
        elif isinstance(node, _Field):
            out.append(values.get(node.name, ""))
            if to_response and node.name == "Response":
                return True
        else:
            branch = node.yes if values.get(node.name) else node.no
            if _render(branch, values, out, to_response):
                return True
    return False
