"""The first difference between a learner's result and the expected one, in one sentence."""

import math
from typing import Any

import torch
from torch import Tensor, nn

RTOL, ATOL = 1e-4, 1e-5
_FAR_BELOW = -1000.0  # of this or less, a number stands for minus infinity


class Wrong(Exception):
    """What a learner's code does otherwise than the exercise asks, in one sentence."""


def difference(
    got: Any, want: Any, what: str, rtol: float = RTOL, atol: float = ATOL
) -> str | None:
    """A sentence about the first difference, or None.

    Types come first, then shape, dtype, device, gradient and values; lists, tuples, dictionaries
    and modules are compared item by item.

    Args:
        got: the learner's result.
        want: the expected one.
        what: how the sentence calls ``got``.
        rtol, atol: as :func:`torch.isclose` takes them.
    """
    if got is None and want is not None:
        return f"{what} is None; is a return missing?"
    if isinstance(want, nn.Module):
        return _modules(got, want, what, rtol, atol)
    if isinstance(want, Tensor):
        return _tensors(got, want, what, rtol, atol)
    if isinstance(want, dict):
        return _dictionaries(got, want, what, rtol, atol)
    if isinstance(want, list | tuple):
        return _sequences(got, want, what, rtol, atol)
    fits = type(got) is type(want) or (isinstance(want, float) and type(got) is int)
    if not fits:
        remedy = "; .item() makes a number of a tensor" if isinstance(got, Tensor) else ""
        return f"{what} is {kind(got)}, expected {kind(want)}{remedy}"
    if isinstance(want, float) and isinstance(got, float | int):
        same = torch.isclose(_scalar(got), _scalar(want), rtol, atol, equal_nan=True).item()
        return None if same else f"{what} is {_numbers(got, want)}"
    return None if got == want else f"{what} is {got!r}, expected {want!r}"


def kind(value: Any) -> str:
    """A value's type with its article."""
    if value is None:
        return "None"
    name = "tensor" if isinstance(value, Tensor) else type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIO' else 'a'} {name}"


def _scalar(value: float) -> Tensor:
    return torch.tensor(float(value), dtype=torch.float64)


def _numbers(got: float, want: float) -> str:
    """Two numbers with as many digits as tell them apart."""
    for digits in (4, 8, 17):
        shown = f"{got:.{digits}g}", f"{want:.{digits}g}"
        if shown[0] != shown[1]:
            break
    return f"{shown[0]}, expected {shown[1]}"


def _tensors(got: Any, want: Tensor, what: str, rtol: float, atol: float) -> str | None:
    if not isinstance(got, Tensor):
        return f"{what} is {kind(got)}, expected a tensor"
    if got.shape != want.shape:
        return f"{what} has shape {tuple(got.shape)}, expected {tuple(want.shape)}"
    if got.dtype != want.dtype:
        return f"{what} has dtype {got.dtype}, expected {want.dtype}"
    if got.device != want.device:
        return f"{what} is on device {got.device}, expected {want.device}"
    if want.requires_grad and not got.requires_grad:
        return (
            f"{what} has no gradient: detach, no_grad, .data or .item() cuts it off from its inputs"
        )
    if got.requires_grad and not want.requires_grad:
        return f"{what} carries a gradient and should not; compute it under torch.no_grad()"
    if want.device.type == "meta":  # shapes without values
        return None
    wrong = ~torch.isclose(got.double(), want.double(), rtol, atol, equal_nan=True)
    if not wrong.any():
        return None
    index = wrong.nonzero()[0].tolist()
    one, other = got[tuple(index)].item(), want[tuple(index)].item()
    said = f"{what} is {_numbers(one, other)}" + (f", at index {index}" if index else "")
    if other == -math.inf and -math.inf < one <= _FAR_BELOW:
        said += "; a number far below the others is not minus infinity: take -math.inf"
    return said


def _sequences(got: Any, want: Any, what: str, rtol: float, atol: float) -> str | None:
    if type(got) is not type(want):
        return f"{what} is {kind(got)}, expected {kind(want)}"
    for position, (one, other) in enumerate(zip(got, want, strict=False)):
        if found := difference(one, other, f"item {position} of {what}", rtol, atol):
            return found
    if len(got) != len(want):
        return f"{what} has {len(got)} items, expected {len(want)}"
    return None


def _dictionaries(got: Any, want: dict, what: str, rtol: float, atol: float) -> str | None:
    if not isinstance(got, dict):
        return f"{what} is {kind(got)}, expected a dictionary"
    for key in want:
        if key not in got:
            return f"{what} has no entry {key!r}"
        if found := difference(got[key], want[key], f"entry {key!r} of {what}", rtol, atol):
            return found
    more = [key for key in got if key not in want]
    return f"{what} has an entry {more[0]!r} too many" if more else None


def _modules(got: Any, want: nn.Module, what: str, rtol: float, atol: float) -> str | None:
    """By names of parameters and buffers, shapes, what is trained, values."""
    if not isinstance(got, nn.Module):
        return f"{what} is {kind(got)}, expected an nn.Module"
    ours, theirs = got.state_dict(), want.state_dict()
    for name in theirs:
        if name not in ours:
            has = ", ".join(ours) or "none at all; only an attribute that is a module counts"
            return f"{what} has no parameter {name!r}; it has {has}"
    if more := [name for name in ours if name not in theirs]:
        return f"{what} has a parameter {more[0]!r} too many"
    trained = {name: p.requires_grad for name, p in want.named_parameters()}
    for name, parameter in got.named_parameters():
        if parameter.shape != theirs[name].shape:
            shapes = f"{tuple(parameter.shape)}, expected {tuple(theirs[name].shape)}"
            return f"{name} of {what} has shape {shapes}"
        if parameter.requires_grad != trained[name]:
            state = "is trained and should be frozen"
            if trained[name]:
                state = "is frozen and should be trained"
            return f"{name} of {what} {state} (requires_grad is {parameter.requires_grad})"
    for name in theirs:
        if found := difference(ours[name], theirs[name], f"{name} of {what}", rtol, atol):
            return found
    if got.training != want.training:
        mode = "eval" if want.training else "training"
        call = "train" if want.training else "eval"
        return f"{what} is in {mode} mode; call its {call}()"
    return None
