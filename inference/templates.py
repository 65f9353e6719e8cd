"""The prompt that a question was given in at training, ``{question}`` in the question's place."""

from __future__ import annotations

QUESTION = "{question}"


def fill(template: str, question: str) -> str:
    """The prompt for one question."""
    return template.replace(QUESTION, question)


def as_ollama(template: str | None) -> str:
    """The same in Ollama's template language, a system message before it.

    Args:
        template: None for a model that goes on with a text.
    """
    if template is None:
        return "{{ .System }}{{ .Prompt }}"
    # Two braces open an expression there.
    parts = template.replace("{{", '{{ "{{" }}').split(QUESTION)
    return "{{ if .System }}{{ .System }}\n{{ end }}" + "{{ .Prompt }}".join(parts)
