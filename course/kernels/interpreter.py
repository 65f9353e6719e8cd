"""Triton's interpreter of before 3.7 under NumPy 2.4, which refuses what it did.

``for start in range(0, n, BLOCK)`` takes the number out of an array of shape (1,) by ``int()``,
which NumPy 2.4 allows for shape () alone. Triton 3.7 squeezes the array; torch 2.11 comes with 3.6.
"""

from typing import Any


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
