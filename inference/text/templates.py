"""The prompt template of a model: ``{question}`` stands for the question."""

from __future__ import annotations

QUESTION = "{question}"
BRACES = '{{ "{{" }}'  # two braces in Ollama's template language, where they open an expression


def fill(template: str, question: str) -> str:
    """The prompt for one question."""
    return template.replace(QUESTION, question)


def as_ollama(template: str | None) -> str:
    """The same in Ollama's template language, a system message before it.

    Args:
        template: None for a model that continues a text.
    """
    if template is None:
        return "{{ .System }}{{ .Prompt }}"
    parts = template.replace("{{", BRACES).split(QUESTION)
    return "{{ if .System }}{{ .System }}\n{{ end }}" + "{{ .Prompt }}".join(parts)
