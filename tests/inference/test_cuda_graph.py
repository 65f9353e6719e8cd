"""A capture bears what other threads do, and a collection that is due."""

import gc
import threading

import pytest
import torch

from inference.cuda_graph import captured

pytestmark = pytest.mark.gpu
DEVICE = torch.device("cuda")


def test_another_thread_allocates_and_waits() -> None:
    number = torch.zeros(1, device=DEVICE)
    capturing, done = threading.Event(), threading.Event()

    def other() -> None:
        capturing.wait(10)
        torch.empty(1 << 20, pin_memory=True)
        torch.cuda.Event().synchronize()
        torch.empty(1 << 28, device=DEVICE)
        done.set()

    def work() -> None:
        number.add_(1)
        if torch.cuda.is_current_stream_capturing():
            capturing.set()
            assert done.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    graph = captured(work, DEVICE, None)
    thread.join()
    number.zero_()
    graph.replay()
    assert number.item() == 1


def test_a_graph_that_is_garbage_is_freed_later() -> None:
    number = torch.zeros(1, device=DEVICE)
    garbage: list = [captured(lambda: number.add_(1), DEVICE, None), torch.ones(9, device=DEVICE)]
    garbage.append(garbage)
    del garbage
    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        graph = captured(lambda: [number.add_(1) for _ in range(20)], DEVICE, None)
    finally:
        gc.set_threshold(*before)
    assert gc.isenabled()
    number.zero_()
    graph.replay()
    assert number.item() == 20
