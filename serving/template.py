"""How messages become a prompt: the part of Ollama's template language that models here need.

``{{ .System }}``, ``{{ .Prompt }}`` and ``{{ .Response }}`` are filled in; between
``{{ if .System }}`` and ``{{ end }}``, perhaps with an ``{{ else }}``, text depends on one of them;
``{{ "{{" }}`` stands for two braces. Everything else is refused.
"""

from collections.abc import Iterable, Mapping
from itertools import groupby

from inference.text.templates import BRACES

_FIELDS = {".System": "System", ".Prompt": "Prompt", ".Response": "Response"}
# By their order within a round.
_ROLES = {"system": "System", "user": "Prompt", "assistant": "Response"}


class Template:
    """A template that was read, in a time that is linear in its length.

    Args:
        source: its text; where it has no ``{{ .Response }}``, that is put at its end.

    Raises:
        ValueError: something that is not known, or ``if`` and ``end`` that do not match.
    """

    def __init__(self, source: str = "{{ .Prompt }}") -> None:
        self.source = source
        self._parts = _parse(source)
        if not any(field == "Response" for _, field, _ in self._parts):
            self._parts.append(("", "Response", None))
        self._known = {field for _, field, _ in self._parts}
        self._known |= {condition[0] for _, _, condition in self._parts if condition}
        # A template without text of its own, for models that continue a text, adds none here.
        self._joint = "\n\n" if any(text for text, _, _ in self._parts) else ""

    def conversation(self, messages: Iterable[tuple[str, str]], longest: int) -> str:
        """The prompt for a model that is to continue after ``messages``: pairs of role and text.

        Each round of system, user and assistant is filled in by itself, the last one up to where
        the answer belongs, as Ollama does. No text is left out: what would take the place of
        earlier text begins a round.

        Raises:
            ValueError: the prompt has more than ``longest`` characters, or the template has no
                field for a message.
        """
        done: list[str] = []
        order = list(_ROLES.values())
        values = dict.fromkeys(order, "")
        for role, group in groupby(messages, key=lambda message: message[0]):
            field = _ROLES[role]
            if any(values[later] for later in order[order.index(field) :]):
                done += self._filled(values, whole=True)
                values = dict.fromkeys(order, "")
            # Neighbors of one role are one message.
            values[field] = self._joint.join(text for _, text in group)
            if values[field] and field not in self._known:
                raise ValueError(f"the template has no {{{{ .{field} }}}} for the {role} message")
        done += self._filled(values, whole=False)
        if sum(map(len, done)) > longest:  # before the pieces are copied
            raise ValueError(f"the prompt is longer than {longest:,} characters")
        return "".join(done)

    def _filled(self, values: Mapping[str, str], whole: bool) -> Iterable[str]:
        for text, field, condition in self._parts:
            if condition and bool(values[condition[0]]) != condition[1]:
                continue
            yield values[field] if field else text
            if field == "Response" and not whole:
                return


def _parse(source: str) -> list[tuple[str, str, tuple[str, bool] | None]]:
    """Parts of ``(text, field, condition)``; a condition is a field and whether it has a value."""
    parts: list[tuple[str, str, tuple[str, bool] | None]] = []
    condition: tuple[str, bool] | None = None
    for number, section in enumerate(source.split(BRACES)):
        text, *actions = section.split("{{")
        parts.append(("{{" * bool(number) + text, "", condition))
        for action in actions:
            name, closed, text = action.partition("}}")
            words = name.split()
            if closed and len(words) == 1 and words[0] in _FIELDS:
                parts.append(("", _FIELDS[words[0]], condition))
            elif closed and words[:1] == ["if"] and words[1:2] and condition is None:
                condition = _condition(name, words[1:])
            elif closed and words == ["else"] and condition and condition[1]:
                condition = (condition[0], False)
            elif closed and words == ["end"] and condition:
                condition = None
            else:
                raise _unknown(name)
            parts.append((text, "", condition))
    if condition:
        raise ValueError("the template has an if without its end")
    return parts


def _condition(action: str, words: list[str]) -> tuple[str, bool]:
    if len(words) != 1 or words[0] not in _FIELDS:
        raise _unknown(action)
    return _FIELDS[words[0]], True


def _unknown(action: str) -> ValueError:
    return ValueError(
        f"the template has {{{{ {action.strip()[:60]} }}}}, which this server does not fill in; it "
        "takes .System, .Prompt, .Response, and if, else and end around text, one if at a time"
    )
