"""The prompt that a question was given in at training, ``{question}`` in the question's place."""

from __future__ import annotations

QUESTION = "{question}"


def fill(template: str, question: str) -> str:
    """The prompt for one question."""
    return template.replace(QUESTION, question)


def as_ollama(template: str | None) -> str:
    """The same in Ollama's template language; None stands for a model that goes on with a text."""
    # Two braces open an expression there.
    parts = [] if template is None else template.replace("{{", '{{ "{{" }}').split(QUESTION)
    return "{{ .Prompt }}".join(parts) if parts else "{{ .Prompt }}"
