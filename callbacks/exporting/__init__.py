"""Exports that are proved: the code behind ``gpu-learning export`` and ``callbacks.Export``."""

from callbacks.exporting.export import export
from callbacks.exporting.formats import DEFAULT, FORMATS, check_formats
from callbacks.exporting.source import (
    Source,
    find_checkpoint,
    fresh_copy,
    make_source,
    read_source,
)

__all__ = [
    "DEFAULT",
    "FORMATS",
    "Source",
    "check_formats",
    "export",
    "find_checkpoint",
    "fresh_copy",
    "make_source",
    "read_source",
]
