"""Exports that are proved: the code behind ``gpu-learning export`` and ``callbacks.Export``."""

from exporting.format_names import DEFAULT
from exporting.images.export import export
from exporting.images.formats import FORMATS, check_formats
from exporting.images.source import (
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
