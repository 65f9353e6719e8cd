"""Triton's interpreter, mended where NumPy refuses what it does, and watched where it loads.

Before 3.7 it needs mending under NumPy 2.4:
``for start in range(0, n, BLOCK)`` takes the number out of an array of shape (1,) by ``int()``,
which NumPy 2.4 allows for shape () alone. Triton 3.7 squeezes the array; torch 2.11 comes with 3.6.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from course.kernels import environment


def mend() -> None:
    """Makes scalars of the interpreter usable as integers; nothing from Triton 3.7 on."""
    import triton
    from triton.runtime import interpreter

    major, minor = (int(part) for part in triton.__version__.split(".")[:2])
    if (major, minor) >= (3, 7) or getattr(interpreter, "_mended", False):
        return
    patch = interpreter._patch_lang_tensor

    def patch_lang_tensor(tensor: Any, scope: Any) -> None:
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = patch_lang_tensor
    interpreter._mended = True


@contextlib.contextmanager
def empty_loads() -> Iterator[list[Any]]:
    """Collects the loads meanwhile whose mask leaves nothing to read; none on a GPU."""
    found: list[Any] = []
    if environment.on_gpu():
        yield found
        return
    from triton.runtime.interpreter import InterpreterBuilder

    before = InterpreterBuilder.create_masked_load

    def load(self: Any, ptrs: Any, mask: Any, *rest: Any, **options: Any) -> Any:
        if not mask.data.any():
            found.append(ptrs)
        return before(self, ptrs, mask, *rest, **options)

    InterpreterBuilder.create_masked_load = load
    try:
        yield found
    finally:
        InterpreterBuilder.create_masked_load = before
