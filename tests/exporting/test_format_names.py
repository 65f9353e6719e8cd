"""Names of formats without the code that writes them."""

import pytest

from exporting.format_names import IMAGE_FORMATS, TEXT_FORMATS, named_formats
from exporting.images import FORMATS
from exporting.text import TEXT_FORMATS as TEXT_WRITERS


def test_each_format_has_a_name_and_each_name_a_writer() -> None:
    assert tuple(FORMATS) == IMAGE_FORMATS
    assert tuple(TEXT_WRITERS) == TEXT_FORMATS


def test_formats_of_any_model_pass_and_others_do_not() -> None:
    assert named_formats("onnx, gguf,") == ["onnx", "gguf"]
    assert named_formats("") == []
    with pytest.raises(ValueError, match=r"no format 'ggfu'; did you mean gguf\? There are torch"):
        named_formats("onnx,ggfu")
