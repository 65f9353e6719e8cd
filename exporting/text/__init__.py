"""Exports of language models that are proved; what ``exporting`` is for classifiers."""

from exporting.format_names import TEXT_DEFAULT
from exporting.text.export import TEXT_FORMATS, check_text_formats, export_text
from exporting.text.source import TextSource, is_text_checkpoint, read_text_source

__all__ = [
    "TEXT_DEFAULT",
    "TEXT_FORMATS",
    "TextSource",
    "check_text_formats",
    "export_text",
    "is_text_checkpoint",
    "read_text_source",
]
