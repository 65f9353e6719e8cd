"""Where kernels run, and what is said where they cannot."""

import os

import pytest

from course.kernels import environment
from course.kernels.environment import SIMULATORS, Unavailable


def test_without_a_visible_gpu_the_simulators_run() -> None:
    assert not environment.on_gpu()  # conftest hides those of this machine
    assert environment.where().startswith("The kernels run in the simulators of numba and Triton: ")


def test_a_variable_asks_for_the_simulators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "compute_capability", lambda: (9, 0))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in SIMULATORS:
        monkeypatch.delenv(name, raising=False)
    assert environment.on_gpu()
    assert environment.where() == "The kernels run on the GPU."
    for name in SIMULATORS:
        with monkeypatch.context() as patch:
            patch.setenv(name, "1")
            assert not environment.on_gpu()
            assert "asks for it" in environment.where()


def test_an_old_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "compute_capability", lambda: (6, 1))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in SIMULATORS:
        monkeypatch.delenv(name, raising=False)
    assert not environment.on_gpu()
    assert environment.where().endswith("the GPU's compute capability 6.1 is below 7.5.")


def test_the_variables_are_as_before_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    before = dict(os.environ)
    with environment.applied():
        assert SIMULATORS.items() <= os.environ.items()
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("need", "platform", "says"),
    [
        (
            "numba",
            "linux",
            "needs numba-cuda, which is not installed; make setup EXTRAS=dev,kernels",
        ),
        ("triton", "darwin", "Triton is made for Linux alone; the lessons 4 to 28 run here"),
    ],
)
def test_a_missing_package_is_named(
    need: str, platform: str, says: str, monkeypatch: pytest.MonkeyPatch, gpu_learning
) -> None:
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(environment.sys, "platform", platform)
    with pytest.raises(Unavailable) as missing:
        environment.require([need])
    assert says in str(missing.value)


def test_a_lesson_without_its_package_is_skipped(
    monkeypatch: pytest.MonkeyPatch, gpu_learning
) -> None:
    monkeypatch.setitem(environment.PACKAGES, "numba", ("no_such_module", "numba-cuda"))
    code, out, _ = gpu_learning("lessons", "verify", "27")
    assert code == 0
    assert "skipped (needs numba-cuda, which is not installed" in out
