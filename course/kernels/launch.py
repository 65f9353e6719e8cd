"""Launches a learner's kernel for a check: in arrays with guard zones, with sentences for errors.

On a GPU nothing tells of a write outside of an array. So each tensor lies within a larger one whose
margins must not change. Outputs begin as NaN, or as the smallest integer, and so do the margins of
inputs; those of outputs hold a number, so that a NaN that is written there is seen as well.
"""

import inspect
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from course.exercises.attempt import Attempt
from course.exercises.compare import Wrong, difference
from course.kernels import environment, source

_MARGIN = 4096  # elements before and after each tensor
_EDGE = -1536.0  # around an output; exact in 16 bits, too


@dataclass(frozen=True)
class Out:
    """A tensor that the kernel writes.

    Args:
        tensor: its shape and dtype.
        shared_by_blocks: all blocks add to its values, so that only atomic operations may write it.
    """

    tensor: Tensor
    shared_by_blocks: bool = False


def device() -> str:
    """Where the tensors of a launch are."""
    return "cuda" if environment.on_gpu() else "cpu"


def numba(mine: Attempt, name: str, blocks: Any, threads: Any, *args: Any) -> list[Tensor]:
    """Launches a kernel of numba-cuda; returns what it wrote.

    Args:
        mine: the learner's module.
        name: the kernel.
        blocks, threads: the launch configuration.
        args: the kernel's arguments: tensors of the CPU, :class:`Out`, numbers.

    Raises:
        Wrong: the kernel is not written, is refused, or reaches outside of its arrays.
    """
    kernel = mine.find(name)
    if not hasattr(kernel, "py_func"):
        raise Wrong(f"{name} is not a kernel; keep the decorator @cuda.jit")
    source.refuse_rebinding(name, kernel.py_func, args, Out)

    def start(given: list[Any]) -> None:
        from course.kernels import simulator

        simulator.begin()
        shared = [isinstance(arg, Out) and arg.shared_by_blocks for arg in args]
        kernel[blocks, threads](*map(simulator.as_array, given, shared))

    return _launch(mine, name, kernel.py_func, start, args, f"{name}[{blocks}, {threads}]")


def triton(mine: Attempt, name: str, grid: Any, *args: Any, **constants: Any) -> list[Tensor]:
    """Launches a kernel of Triton; returns what it wrote. See :func:`numba`.

    Args:
        grid: number of programs, or a tuple of them.
        constants: the kernel's ``tl.constexpr`` parameters.
    """
    kernel = mine.find(name)
    if not hasattr(kernel, "fn"):
        raise Wrong(f"{name} is not a kernel; keep the decorator @triton.jit")
    source.refuse_subscripts(name, kernel.fn, args, (Out, Tensor))
    shape = grid if isinstance(grid, tuple) else (grid,)

    def start(given: list[Any]) -> None:
        try:
            kernel[shape](*given, **constants)
        except Exception as error:
            # The interpreter wraps what the kernel raised into its own text.
            if type(error).__name__ == "InterpreterError" and error.__cause__:
                raise error.__cause__ from None
            raise

    return _launch(mine, name, kernel.fn, start, args, f"{name}[{shape}]")


def _launch(
    mine: Attempt,
    name: str,
    function: Callable[..., Any],
    start: Callable[[list[Any]], None],
    args: tuple[Any, ...],
    launched: str,
) -> list[Tensor]:
    source.refuse_holes(name, function)
    values = [arg.tensor if isinstance(arg, Out) else arg for arg in args]
    shown = f"{launched}({', '.join(map(_shown, values))})"
    parameters = list(inspect.signature(function).parameters)
    buffers: dict[int, _Guarded] = {}
    for index, arg in enumerate(args):
        if isinstance(arg, Out | Tensor):
            buffers[index] = _Guarded.around(arg)
    given = [buffers[i].view if i in buffers else value for i, value in enumerate(values)]
    with mine.guarded(shown):
        try:
            start(given)
            if device() == "cuda":
                torch.cuda.synchronize()
        except IndexError as error:
            if outside := re.match(r"tid=\[(.*)\] ctaid=\[(.*)\]: (.*)", str(error)):
                thread, block, said = outside.groups()
                raise Wrong(
                    f"{shown}: thread ({thread}) of block ({block}) reaches outside of an array: "
                    f"{said}{mine.line(error)}; compare the index with the array's shape first"
                ) from error
            raise
        except Exception as error:
            if type(error).__name__ == "PlainWrite":
                raise Wrong(
                    f"{shown} adds without an atomic operation to what all blocks add to, so that "
                    f"blocks overwrite each other's sums{mine.line(error)}; use cuda.atomic.add"
                ) from error
            if "FakeWithinKernelCUDAArray" in str(error):
                raise Wrong(
                    f"{shown} computes with a whole array{mine.line(error)}; a thread takes an "
                    "element of it, such as x[i]"
                ) from error
            if refused := source.compile_error(error, function):
                raise Wrong(f"{shown} does not compile: {refused}") from error
            raise
    for index, buffer in buffers.items():
        if not buffer.intact():
            raise Wrong(
                f"{shown} writes outside of {parameters[index]}; compare the index with the size "
                "first (numba: if; Triton: mask=)"
            )
        if not isinstance(args[index], Out) and not torch.equal(
            buffer.view.cpu().nan_to_num(), values[index].nan_to_num()
        ):
            raise Wrong(f"{shown} changes its input {parameters[index]}")
    return [buffers[i].view.cpu() for i, arg in enumerate(args) if isinstance(arg, Out)]


def compare(
    mine: Attempt,
    got: Tensor,
    want: Tensor,
    what: str,
    mistakes: dict[str, Tensor] | None = None,
    **tolerance: float,
) -> None:
    """Raises Wrong where a written tensor is not the expected one; see ``Attempt.equal``.

    Elements that no thread wrote are counted first.
    """
    left = (got == _nothing(got.dtype)) if not got.is_floating_point() else got.isnan()
    if (count := int((left & (got != want)).sum())) and not want.isnan().any():
        known = [sentence for sentence, result in (mistakes or {}).items() if same(got, result)]
        index = (left & (got != want)).nonzero()[0].tolist()
        why = known[0] if known else "is there a thread, or a program, for each of them?"
        raise Wrong(
            f"{what} leaves {count} of {got.numel()} elements unwritten or not a number, the first "
            f"at index {index}; {why}"
        )
    mine.equal(got, want, what, mistakes, **tolerance)


def one_per_thread(what: str) -> None:
    """Raises Wrong where the threads of the last launch did not write one element each.

    For numba, after :func:`compare`; on a GPU nothing is counted, and all is accepted.
    """
    from course.kernels import simulator

    elements, threads = simulator.written()
    if elements > 1:
        raise Wrong(
            f"{what} is right, but one thread writes {elements} of its elements; let each thread "
            "write the one that cuda.grid names"
        )
    if threads > 1:
        raise Wrong(
            f"{what} is right, but {threads} threads write the same element; a thread whose "
            "element does not exist writes nothing"
        )


def reason(
    mine: Attempt,
    got: Tensor,
    want: Tensor,
    what: str,
    likely: str,
    mistakes: dict[str, Tensor],
    **tolerance: float,
) -> None:
    """As :func:`compare`; ``likely`` is what is wrong where no known mistake is found."""
    if difference(got, want, what, **tolerance) and not any(
        same(got, result) for result in mistakes.values()
    ):
        mistakes = mistakes | {likely: got}
    compare(mine, got, want, what, mistakes, **tolerance)


def same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, 1e-4, 1e-5, equal_nan=True)


@dataclass(frozen=True)
class _Guarded:
    """A view into a larger tensor, and what is to be found around it."""

    whole: Tensor
    view: Tensor
    edge: float

    @classmethod
    def around(cls, arg: "Out | Tensor") -> "_Guarded":
        tensor = arg.tensor if isinstance(arg, Out) else arg
        edge = nothing = _nothing(tensor.dtype)
        if isinstance(arg, Out) and tensor.is_floating_point():
            edge = _EDGE
        whole = torch.full((tensor.numel() + 2 * _MARGIN,), edge, dtype=tensor.dtype)
        whole = whole.to(device())
        view = whole[_MARGIN : _MARGIN + tensor.numel()].view(tensor.shape)
        view.fill_(nothing)
        if not isinstance(arg, Out) or arg.shared_by_blocks:
            view.copy_(tensor)
        return cls(whole, view, edge)

    def intact(self) -> bool:
        edges = torch.cat([self.whole[:_MARGIN], self.whole[-_MARGIN:]])
        return bool((edges.isnan() if math.isnan(self.edge) else edges == self.edge).all())


def _shown(value: Any) -> str:
    return f"tensor {tuple(value.shape)}" if isinstance(value, Tensor) else f"{value:g}"


def _nothing(dtype: torch.dtype) -> float:
    return float("nan") if dtype.is_floating_point else torch.iinfo(dtype).min
