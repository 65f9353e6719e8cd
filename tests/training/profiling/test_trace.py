"""Chrome traces as torch's profiler writes them."""

import json
from pathlib import Path

import pytest

from training.profiling.trace import Event, read_trace, self_times


def entry(category: str, name: str, start: float, duration: float, thread: int = 1) -> dict:
    return {"ph": "X", "cat": category, "name": name, "ts": start, "dur": duration, "tid": thread}


def write(path: Path, *entries: dict) -> Path:
    path.write_text(json.dumps({"schemaVersion": 1, "traceEvents": list(entries)}))
    return path


def test_a_trace_of_a_gpu(tmp_path: Path) -> None:
    """One event of every category that torch 2.11 and newer write on a CUDA machine."""
    path = write(
        tmp_path / "trace.json",
        {"ph": "M", "name": "process_name", "ts": 0, "pid": 1, "args": {"name": "python"}},
        entry("user_annotation", "gpu_learning::step", 100, 50),
        entry("user_annotation", "gpu_learning::step", 150, 60),
        entry("user_annotation", "gpu_learning::loading", 101, 9),
        entry("user_annotation", "ProfilerStep#1", 100, 110),
        entry("gpu_user_annotation", "gpu_learning::step", 105, 50, thread=7),
        entry("cpu_op", "aten::mm", 111, 8),
        entry("cpu_op", "aten::mm", 90, 8),  # before the first step
        entry("cuda_runtime", "cudaLaunchKernel", 113, 2),
        entry("cuda_runtime", "cudaGraphLaunch", 116, 2),
        entry("cuda_driver", "cuLaunchKernelEx", 118, 2),
        entry("cuda_runtime", "cudaMemcpyAsync", 121, 2),
        entry("cuda_runtime", "cudaStreamSynchronize", 124, 20),
        entry("cuda_runtime", "cudaEventQuery", 145, 1),
        entry("cuda_runtime", "cudaDeviceSynchronize", 215, 9),  # after the last step
        entry("kernel", "sm90_xmma_gemm", 120, 8, thread=7),
        entry("gpu_memcpy", "Memcpy DtoH (Device -> Pageable)", 130, 1, thread=7),
        entry("gpu_memset", "Memset (Device)", 132, 1, thread=7),
        entry("kernel", "late", 212, 3, thread=7),
        entry("overhead", "Activity Buffer Request", 140, 1),
        entry("python_function", "train.py(1): step", 100, 40),
        {"ph": "s", "id": 1, "cat": "ac2g", "name": "ac2g", "ts": 113, "tid": 1},
        {"ph": "i", "cat": "cpu_instant_event", "name": "[memory]", "ts": 114, "tid": 1},
    )
    recording = read_trace(path, steps=2)
    assert recording.spans == [(100, 150), (150, 210)]
    assert (recording.start, recording.end) == (100, 210)
    assert [event.name for event in recording.operators] == ["aten::mm"]
    assert [event.span for event in recording.loading] == [(101, 110)]
    assert [event.name for event in recording.launches] == [
        *("cudaLaunchKernel", "cudaGraphLaunch", "cuLaunchKernelEx", "cudaMemcpyAsync")
    ]
    assert [event.name for event in recording.waits] == ["cudaStreamSynchronize"]
    assert len(recording.kernels) == 4


def test_a_trace_of_something_else_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "trace.json", entry("cpu_op", "aten::mm", 111, 8))
    with pytest.raises(ValueError, match="not a trace of gpu-learning profile"):
        read_trace(path, steps=1)


def test_times_alone_within_each_thread() -> None:
    operators = [
        Event("aten::linear", 0, 10),
        Event("aten::addmm", 2, 7),
        Event("aten::copy_", 3, 1),
        Event("aten::relu", 10, 5),
        Event("backward", 1, 20, thread=2),
    ]
    times = {timed.event.name: (timed.alone, timed.nested) for timed in self_times(operators)}
    assert times == {
        "aten::linear": (3, False),
        "aten::addmm": (6, True),
        "aten::copy_": (1, True),
        "aten::relu": (5, False),
        "backward": (20, False),
    }
