"""The code of the course's pages, run as a reader does: quotations are imported as captions say.

``python -m tests.helpers.snippets 27-threads`` runs one page in a process of its own: numba and
Triton decide when they are imported whether there is a GPU, which is no matter of a test process.
"""

import contextlib
import doctest
import io
import sys

from course import pages
from course.pages import Block, Page

SAME = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def check_code(page: Page) -> None:
    """Runs all snippets in one fresh namespace and compares what they print with the page."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in page.blocks:
        if block.language != "python":
            continue
        name = f"{page.path.name}:{block.line}"
        if block.shown_because:
            compile(block.text, name, "exec")
            continue
        printed = run(block, namespace, name)
        if block.output is None:
            assert not printed, f"{name} prints {printed!r}, which the page does not show"
        else:
            same = doctest.OutputChecker().check_output(block.output, printed, SAME)
            assert same, f"{name}\nshown:\n{block.output}\nprinted:\n{printed}"


def run(block: Block, namespace: dict[str, object], name: str) -> str:
    """What the block prints, or the exception that it is said to raise."""
    code = block.code
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        if not block.raises:
            exec(compile(code, name, "exec"), namespace)
            return printed.getvalue()
        try:
            exec(compile(code, name, "exec"), namespace)
        except Exception as error:
            return f"{type(error).__name__}: {error}\n"
    raise AssertionError(f"{name} shows an exception and there was none")


if __name__ == "__main__":
    check_code(next(page for page in pages.read() if page.path.stem == sys.argv[1]))
