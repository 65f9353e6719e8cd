"""Where kernels run: on the GPU, or in the simulators of numba and Triton on a CPU.

Both packages decide that when they are imported, from ``NUMBA_ENABLE_CUDASIM=1`` and
``TRITON_INTERPRET=1``. So the choice is made before, without torch: it takes the CUDA driver alone.
A user who sets either variable gets the simulators on a machine with a GPU, too.
"""

import contextlib
import ctypes
import functools
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence

SIMULATORS = {"NUMBA_ENABLE_CUDASIM": "1", "TRITON_INTERPRET": "1"}
# A check's grids are small on purpose; fused multiply-adds are what Triton takes if not told.
_QUIET = {"NUMBA_CUDA_LOW_OCCUPANCY_WARNINGS": "0", "TRITON_DEFAULT_FP_FUSION": "1"}
# What a lesson of lessons.yaml may need: the module that is looked for, and its package.
PACKAGES = {"numba": ("numba_cuda", "numba-cuda"), "triton": ("triton", "triton")}
OLDEST = (7, 5)  # compute capability that numba-cuda for CUDA 13 and Triton 3.6 compile for
_MAJOR, _MINOR = 75, 76  # attributes of cuDeviceGetAttribute


class Unavailable(Exception):
    """A package that a lesson needs is missing; says which, and which lessons run without."""


def on_gpu() -> bool:
    """Whether kernels are compiled for a GPU; otherwise the simulators run them."""
    if any(os.environ.get(name) == value for name, value in SIMULATORS.items()):
        return False
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1"):
        return False
    capability = compute_capability()
    return capability is not None and capability >= OLDEST


@functools.cache
def compute_capability() -> tuple[int, int] | None:
    """Of the first GPU that the CUDA driver has; None without a driver or a GPU."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
    count, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return None
    for value, attribute in ((major, _MAJOR), (minor, _MINOR)):
        if driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, 0):
            return None
    return major.value, minor.value


def choose(needs: Sequence[str]) -> None:
    """Sets the variables of the simulators in this process where there is no GPU.

    Args:
        needs: keys of ``PACKAGES``; nothing is done where it is empty.

    Raises:
        Unavailable: a package is not installed.
    """
    if not needs:
        return
    require(needs)
    os.environ.update(_QUIET)
    if not on_gpu():
        _refuse_late_choice()
        os.environ.update(SIMULATORS)
        if "triton" in needs:
            from course.kernels import interpreter

            interpreter.mend()


def require(needs: Sequence[str]) -> None:
    """Raises Unavailable where a package is not installed."""
    for need in needs:
        module, package = PACKAGES[need]
        if importlib.util.find_spec(module) is None:
            raise Unavailable(f"needs {package}, which is not installed; {remedy(need)}")


def remedy(need: str) -> str:
    if need == "triton" and sys.platform != "linux":
        return "Triton is made for Linux alone; the lessons 4 to 28 run here"
    return "make setup EXTRAS=dev,kernels installs it; the lessons 4 to 26 run without it"


@contextlib.contextmanager
def applied() -> Iterator[None]:
    """The variables for processes that are started within; this one's are as before after it."""
    wanted = _QUIET if on_gpu() else _QUIET | SIMULATORS
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def where() -> str:
    """One sentence for a lesson to print."""
    if on_gpu():
        return "The kernels run on the GPU."
    capability = compute_capability()
    why = "there is no CUDA GPU"
    if any(os.environ.get(name) == value for name, value in SIMULATORS.items()) and capability:
        why = "NUMBA_ENABLE_CUDASIM or TRITON_INTERPRET asks for it"
    elif capability and capability < OLDEST:
        found, least = (".".join(map(str, pair)) for pair in (capability, OLDEST))
        why = f"the GPU's compute capability {found} is below {least}"
    return f"The kernels run in the simulators of numba and Triton: {why}."


def _refuse_late_choice() -> None:
    if "triton" in sys.modules and os.environ.get("TRITON_INTERPRET") != "1":
        raise AssertionError("choose the simulators before anything imports triton")
