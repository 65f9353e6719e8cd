"""Where a step's time goes, from recordings that are made by hand: no GPU is needed for a GPU."""

import pytest

from training.profiling.division import LIMITS, Division, Measured, divide
from training.profiling.intervals import length, union, within, without
from training.profiling.trace import Event, Recording

STEP = 10_000.0  # microseconds
STEPS = 4
ELEMENTWISE = "void at::native::vectorized_elementwise_kernel<4, at::native::AddFunctor<float>>"
GEMM = "sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64"


def every_step(events: list[Event]) -> list[Event]:
    return [
        Event(event.name, event.start + STEP * step, event.duration, event.thread)
        for step in range(STEPS)
        for event in events
    ]


def recorded(**events: list[Event]) -> Recording:
    spans = [(STEP * step, STEP * (step + 1)) for step in range(STEPS)]
    return Recording(STEPS, spans, **{kind: every_step(ones) for kind, ones in events.items()})


def on_gpu(measured: Measured | None = None, **events: list[Event]) -> Division:
    return divide(recorded(**events), measured or Measured("cuda", STEP / 1e6, 0.0))


def row(name: str, count: int, first: float, every: float, duration: float) -> list[Event]:
    return [Event(name, first + every * number, duration) for number in range(count)]


def launched(kernels: list[Event], ahead: float = 20.0) -> dict[str, list[Event]]:
    """Kernels, each started by an operator whose launch lies ``ahead`` microseconds before it."""
    starts = [Event("cudaLaunchKernel", kernel.start - ahead, 5.0) for kernel in kernels]
    operators = [Event("aten::add", start.start - 3.0, 9.0) for start in starts]
    return {"kernels": kernels, "launches": starts, "operators": operators}


def test_gpu_slow_loader() -> None:
    events = launched(row(GEMM, 5, 8_100, 300, 250))
    division = on_gpu(**events, loading=[Event("load", 0, 8_000)])
    assert division.limit == "data"
    assert division.parts["data"] == pytest.approx(0.8, abs=0.02)
    assert division.busy == pytest.approx(5 * 250 / STEP)


def test_gpu_copy_of_the_batch() -> None:
    events = launched(row("Memcpy HtoD (Pageable -> Device)", 1, 100, 1, 7_000))
    assert on_gpu(**events).limit == "data"


def test_gpu_tiny_launches() -> None:
    division = on_gpu(**launched(row(ELEMENTWISE, 480, 30, 20, 2.0)))
    assert division.limit == "launches"
    assert division.parts["launches"] > 0.9
    assert (division.launches, division.kernels) == (480, 480)


def test_gpu_tiny_kernels_of_a_graph_that_keeps_the_gpu_busy() -> None:
    kernels = row(ELEMENTWISE, 2_400, 30, 4, 2.5)
    division = on_gpu(
        kernels=kernels,
        launches=[Event("cudaGraphLaunch", 5, 20)],
        waits=[Event("cudaStreamSynchronize", 30, 9_900)],
    )
    assert division.limit == "launches"
    assert (division.launches, division.kernels) == (1, 2_400)
    assert division.host_waits == pytest.approx(9_900 / 1e6)


def test_gpu_memory_bound() -> None:
    division = on_gpu(**launched(row(ELEMENTWISE, 30, 100, 320, 310)))
    assert division.limit == "memory"
    assert division.busy == pytest.approx(0.93)
    assert division.costly[0].name == ELEMENTWISE
    assert division.costly[0].share == pytest.approx(0.93)
    assert division.costly[0].calls == 30


def test_gpu_matmul_bound() -> None:
    kernels = row(GEMM, 10, 100, 900, 880) + row(ELEMENTWISE, 2, 9_300, 100, 90)
    division = on_gpu(**launched(kernels))
    assert division.limit == "arithmetic"
    assert division.parts["arithmetic"] == pytest.approx(0.88, abs=0.01)


def test_gpu_matrix_products_that_read_more_than_they_compute() -> None:
    measured = Measured("cuda", STEP / 1e6, 0.0, flops=2e9, bytes=2e9, product_bytes=1e9)
    assert on_gpu(measured, **launched(row(GEMM, 10, 100, 900, 880))).limit == "memory"


def test_gpu_that_waits_for_python() -> None:
    division = on_gpu(**launched(row(GEMM, 3, 9_000, 300, 250)))
    assert division.limit == "host"
    assert division.parts["host"] > 0.7


def test_gpu_time_is_that_without_the_profiler() -> None:
    """A profiler that makes the host twice as slow does not make the GPU look idle."""
    measured = Measured("cuda", STEP / 2e6, 0.0)
    division = on_gpu(measured, **launched(row(GEMM, 5, 100, 1_950, 950)))
    assert division.busy == pytest.approx(0.95)
    assert division.slowdown == pytest.approx(2.0)
    assert division.limit == "arithmetic"


def test_kernels_that_overlap_are_counted_once() -> None:
    kernels = row(GEMM, 1, 100, 1, 8_000) + row(ELEMENTWISE, 1, 100, 1, 8_000)
    division = on_gpu(**launched(kernels))
    assert division.busy == pytest.approx(0.8)
    assert sum(division.parts.values()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("ampere_bf16_s16816gemm_bf16_128x64_ldg8_f2f_stages_64x4_tn", "arithmetic"),
        ("nvjet_hsh_256x128_64x4_1x2_h_bz_coopA_NNT", "arithmetic"),
        ("void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816gemm_relu>", "arithmetic"),
        ("sm80_xmma_fprop_implicit_gemm_tf32f32_tf32f32_f32_nhwckrsc_nhwc", "arithmetic"),
        ("void pytorch_flash::flash_fwd_kernel<Flash_fwd_kernel_traits<64>>", "arithmetic"),
        ("fmha_cutlassF_bf16_aligned_64x64_rf_sm80(Params)", "arithmetic"),
        ("void cudnn::ops::nchwToNhwcKernel<float, float>", "memory"),
        ("triton_poi_fused_add_gelu_0", "memory"),
        ("triton_red_fused_native_layer_norm_2", "memory"),
        ("triton_tem_fused_mm_3", "arithmetic"),
        ("void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float>>", "memory"),
        ("void at::native::elementwise_kernel<128, convert_kernel>", "memory"),
        ("Memcpy DtoD (Device -> Device)", "memory"),
        ("Memcpy HtoD (Pinned -> Device)", "data"),
    ],
)
def test_kernels_by_their_names(name: str, limit: str) -> None:
    assert on_gpu(**launched(row(name, 1, 100, 1, 9_500))).limit == limit


def on_cpu(waited: float = 0.0, **events: list[Event]) -> Division:
    return divide(recorded(**events), Measured("cpu", STEP / 1e6, waited / 1e6))


def test_cpu_operators_are_divided_by_their_time_alone() -> None:
    operators = [
        Event("aten::linear", 100, 6_010),  # 10 us but for what it calls
        Event("aten::addmm", 105, 6_000),
        Event("aten::relu", 6_200, 2_000),
    ]
    division = on_cpu(operators=operators)
    assert division.parts["arithmetic"] == pytest.approx(0.6, abs=0.01)
    assert division.parts["memory"] == pytest.approx(0.2, abs=0.01)
    assert division.launches == 2
    assert [costly.name for costly in division.costly[:2]] == ["aten::addmm", "aten::relu"]
    assert division.costly[0].share == pytest.approx(0.6, abs=0.01)


def test_cpu_tiny_operators_with_the_python_between_them() -> None:
    assert on_cpu(operators=row("aten::add", 900, 10, 11, 4.0)).parts["launches"] > 0.9


def test_cpu_long_python() -> None:
    assert on_cpu(operators=row("aten::add", 10, 10, 950, 4.0)).limit == "host"


def test_cpu_operators_of_the_loader_are_its_own() -> None:
    division = on_cpu(
        6_000,
        loading=[Event("load", 0, 6_000)],
        operators=[Event("aten::mm", 10, 5_900), Event("aten::mm", 6_010, 3_900)],
    )
    assert division.limit == "data"
    assert division.parts["data"] == pytest.approx(0.6)
    assert division.parts["arithmetic"] == pytest.approx(0.39, abs=0.01)


def test_a_step_that_another_program_interrupted_does_not_count() -> None:
    calm = recorded(operators=row("aten::mm", 9, 10, 1_000, 900))
    events = list(calm.operators)
    events[4] = Event("aten::mm", events[4].start, 4_500.0)  # into those that follow
    disturbed = Recording(STEPS, calm.spans, operators=events)
    measured = Measured("cpu", STEP / 1e6, 0.0)
    assert divide(disturbed, measured).parts == pytest.approx(divide(calm, measured).parts)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_nothing_recorded_is_the_hosts(device: str) -> None:
    division = divide(recorded(), Measured(device, STEP / 1e6, 0.0))
    assert division.limit == "host"
    assert set(division.parts) == set(LIMITS)
    assert sum(division.parts.values()) == pytest.approx(1.0)
    assert division.costly == []


def test_intervals() -> None:
    assert union([(5, 7), (1, 3), (2, 4)]) == [(1, 4), (5, 7)]
    assert union([(1, 3), (4, 5), (9, 10)], bridge=1) == [(1, 5), (9, 10)]
    assert without([(0, 10)], [(1, 2), (4, 6), (9, 12)]) == [(0, 1), (2, 4), (6, 9)]
    assert without([(0, 1), (2, 3)], []) == [(0, 1), (2, 3)]
    assert without([(0, 4), (5, 8)], [(3, 6)]) == [(0, 3), (6, 8)]
    assert within([(0, 4), (5, 8)], [(3, 6)]) == [(3, 4), (5, 6)]
    assert length([(0, 4), (5, 8)]) == 7
