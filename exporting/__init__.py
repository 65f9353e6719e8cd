"""Exports that are proved: the code behind ``gpu-learning export`` and ``callbacks.Export``."""

from exporting.export import export
from exporting.formats import DEFAULT, FORMATS, check_formats
from exporting.source import (
    Source,
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
    "fresh_copy",
    "make_source",
    "read_source",
]
