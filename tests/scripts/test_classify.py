"""``gpu-learning classify``: lines for programs."""

import io
import json
import sys

import pytest

from scripts.classify import _line


@pytest.mark.parametrize(
    ("encoding", "name", "as_it_is"),
    [
        ("utf-8", "Grüne Äpfel", True),
        ("latin-1", "Grüne Äpfel", True),
        ("latin-1", "яблоко", False),
        ("ascii", "Grüne Äpfel", False),
        ("utf-8", "caf\udce9.png", False),  # a file name that is not UTF-8
    ],
)
def test_names_are_readable_where_the_output_can_have_them(
    encoding: str, name: str, as_it_is: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stdout = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stdout)
    print(_line({"label": name}), flush=True)
    written = stdout.buffer.getvalue().decode(encoding)
    assert (name in written) == as_it_is
    assert json.loads(written) == {"label": name}
