"""The operators as torch.compile sees them for a GPU, which takes none; in a process of its own.

``python -m tests.helpers.traced_operators`` prints a JSON object: launches in the graph of each
operator, traced with tensors that are said to be on a GPU and have no memory, and the nodes of an
exported LayerNorm.
"""

import json
import os
from typing import Any

import torch
from torch import Tensor
from torch._functorch.aot_autograd import aot_function
from torch._subclasses.fake_tensor import FakeTensorMode

from course.kernels import environment


def launches(operator: Any, *arguments: Any) -> int:
    """Number of kernels that the operator's graph launches."""
    graphs: list[torch.fx.GraphModule] = []

    def keep(graph: torch.fx.GraphModule, _: Any) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    aot_function(lambda *given: operator(*given), fw_compiler=keep)(*arguments)
    (graph,) = graphs
    return sum("triton_kernel_wrapper" in str(node.target) for node in graph.graph.nodes)


class Norm(torch.nn.Module):
    def forward(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        from course.kernels import ops

        return ops.layer_norm(x, weight, bias, 1e-5)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, device="cuda")


def main() -> None:
    os.environ.pop("TRITON_INTERPRET", None)
    environment.on_gpu = lambda: True  # what decides how operators are registered
    from course.kernels import ops, residual, rows

    # They ask the GPU for its multiprocessors.
    rows.programs_on = residual.programs_on = lambda device, each=4: 4
    assert ops is not None
    named = torch.ops.gpu_learning
    with FakeTensorMode(), torch.no_grad():
        x, row, stats = random(5, 16), random(16), random(5)
        q, lse = random(1, 2, 70, 16), random(1, 2, 70)
        targets = torch.zeros(5, dtype=torch.long, device="cuda")
        counts = {
            "layer_norm": launches(named.layer_norm, x, row, row, 1e-5),
            "layer_norm_backward": launches(named.layer_norm_backward, x, x, row, stats, stats),
            "bias_gelu": launches(named.bias_gelu, x, row, True),
            "bias_gelu_backward": launches(named.bias_gelu_backward, x, x, row, True),
            "attention": launches(named.attention, q, q, q),
            "attention_backward": launches(named.attention_backward, q, q, q, q, q, lse),
            "residual_norm": launches(
                named.residual_norm, x, x, row, row, targets[:1], 0, 0.1, 1e-5
            ),
            "residual_norm_backward": launches(
                *(named.residual_norm_backward, x, x, x, row, targets[:1], stats, stats),
                *(0, 0.1, True),
            ),
            "linear_cross_entropy": launches(
                named.linear_cross_entropy, x, random(20, 16), targets, 2
            ),
        }
    with FakeTensorMode():
        exported = torch.export.export(Norm(), (random(5, 16), random(16), random(16)))
    nodes = [str(node.target) for node in exported.graph.nodes]
    print(json.dumps({"launches": counts, "exported": nodes}))


if __name__ == "__main__":
    main()
