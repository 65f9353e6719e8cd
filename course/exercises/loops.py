"""Whether a learner's function goes through a tensor in Python, where it is to do without."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

from course.exercises.compare import Wrong

_LOOPS = (ast.For, ast.While, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def refuse_loops(function: Callable[..., Any]) -> None:
    """Raises Wrong with the line of a function's first loop or comprehension."""
    try:
        lines, first = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError):  # made in another way than by def: nothing to read
        return
    found = [node.lineno for node in ast.walk(tree) if isinstance(node, _LOOPS)]
    if found:
        number = min(found)
        line = lines[number - 1].strip()
        raise Wrong(
            f"{function.__name__} has the right results, but by a loop (line {first + number - 1}: "
            f"{line}); the exercise is to do without, by a reduction or by broadcasting"
        )
