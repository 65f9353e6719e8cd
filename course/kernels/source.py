"""What a learner's kernel shows in its source: holes, mistakes, and lines of compile errors."""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from course.exercises.compare import Wrong


def compile_error(error: Exception, function: Callable[..., Any]) -> str:
    """What Triton's or numba's compiler said, with the learner's line; empty for other errors.

    Where numba names no line it is that of the kernel's ``def``.
    """
    lines, first = inspect.getsourcelines(function)
    begins = ast.parse(textwrap.dedent("".join(lines))).body[0].lineno
    package = type(error).__module__.partition(".")[0]
    if package == "triton" and hasattr(error, "node"):
        line = begins + getattr(error.node, "lineno", 1) - 1
        said = getattr(error, "error_message", None) or type(error).__name__
    elif package in ("numba", "numba_cuda"):
        places = re.findall(r'File "[^"]*", line (\d+)', str(error))
        line = int(places[-1]) - first + 1 if places else begins
        said = str(error)
    else:
        return ""
    said = " ".join(said.split())[:160]
    text = lines[line - 1].strip()[:60] if line <= len(lines) else ""
    return f"{said} (line {first + line - 1}: {text})"


def _nodes(function: Callable[..., Any]) -> Iterator[tuple[ast.AST, str]]:
    """Of a kernel's source, with what sentences say of the place."""
    lines, first = inspect.getsourcelines(function)
    for node in ast.walk(ast.parse(textwrap.dedent("".join(lines)))):
        if isinstance(node, ast.stmt | ast.expr):
            text = lines[node.lineno - 1].strip()[:60]
            yield node, f" (line {first + node.lineno - 1}: {text})"


def _arrays(function: Callable[..., Any], args: tuple[Any, ...], kinds: Any) -> set[str]:
    names = inspect.signature(function).parameters
    return {name for name, arg in zip(names, args, strict=False) if isinstance(arg, kinds)}


def refuse_holes(name: str, function: Callable[..., Any]) -> None:
    """A raise within a kernel does not reach the host, so a hole is looked for in the source."""
    for node, line in _nodes(function):
        if isinstance(node, ast.Raise) and "NotImplementedError" in ast.unparse(node):
            raise Wrong(f"{name} is not written yet{line}")


def refuse_rebinding(
    name: str, function: Callable[..., Any], args: tuple[Any, ...], kinds: Any
) -> None:
    """``out = x`` writes nothing, in numba as in Python; kinds are those of outputs."""
    outputs = _arrays(function, args, kinds)
    for node, line in _nodes(function):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            output = node.targets[0].id
            names = {one.id for one in ast.walk(node.value) if isinstance(one, ast.Name)}
            if output in outputs - names:
                raise Wrong(
                    f"{name} binds the name {output} to something else and writes nothing to the "
                    f"array{line}; write its elements, {output}[...] = ..."
                )


def refuse_subscripts(
    name: str, function: Callable[..., Any], args: tuple[Any, ...], kinds: Any
) -> None:
    """Triton's pointers have no elements; kinds are those of arguments that become pointers.

    ``[:, None]`` is for what a name is bound to later.
    """
    pointers = _arrays(function, args, kinds)
    for node, line in _nodes(function):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            index = ast.unparse(node.slice)
            if node.value.id in pointers and "None" not in index and ":" not in index:
                raise Wrong(
                    f"{name} indexes {node.value.id}, which is a pointer{line}; "
                    "tl.load(pointer + offsets, mask=...) reads, "
                    "tl.store(pointer + offsets, values, mask=...) writes"
                )
