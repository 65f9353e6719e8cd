"""Exercise to step 35, your kernels in your MiniGPT: LayerNorm's kernels as an
operator of PyTorch, in the modules of a net.

An operator is more than a function that launches a kernel. Its schema says
what it takes and returns; custom_op reads it from the annotations of a
function, here normalize. Without data it still has shapes, which torch.compile
and torch.export ask for. And it has a gradient, in two functions: one keeps
what the other needs. layer_norm and layer_norm_backward are the course's, of
step 31; take your own if you like.

Write all five, then: gpu-learning lessons check 35
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.library import custom_op

from course.kernels.rows import layer_norm, layer_norm_backward


def normalize(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """LayerNorm of x (rows, columns), and mean and 1 / std of each row."""
    return layer_norm(x, weight, bias, eps)


def shapes(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple:
    """Empty tensors like those that normalize returns; x has no data.

    The first is like x, the others are (rows,), in float32 whatever x is in.
    """
    # BEGIN SOLUTION
    mean, rstd = (x.new_empty(len(x), dtype=torch.float32) for _ in range(2))
    return torch.empty_like(x), mean, rstd
    # END SOLUTION


def keep(ctx: Any, inputs: tuple, output: tuple) -> None:
    """Saves for the backward pass, with ctx.save_for_backward(tensors).

    inputs are the arguments of normalize, output is what it returned.
    """
    # BEGIN SOLUTION
    x, weight, _, _ = inputs
    _, mean, rstd = output
    ctx.save_for_backward(x, weight, mean, rstd)
    # END SOLUTION


def gradients(ctx: Any, grad: Tensor, *others: Any) -> tuple:
    """One gradient for each argument of normalize, None for a number.

    grad is that by the first result, and ctx.saved_tensors what keep saved.
    layer_norm_backward(grad, x, weight, mean, rstd) returns three.
    """
    # BEGIN SOLUTION
    by_x, by_weight, by_bias = layer_norm_backward(grad, *ctx.saved_tensors)
    return by_x, by_weight, by_bias, None
    # END SOLUTION


def operator() -> Callable[..., Any]:
    """Registers normalize as exercise::layer_norm, and returns the operator.

    It changes none of its arguments. Register shapes and gradients with it:
    register_fake(...), and register_autograd(..., setup_context=...).
    """
    # BEGIN SOLUTION
    made = custom_op("exercise::layer_norm", normalize, mutates_args=())
    made.register_fake(shapes)
    made.register_autograd(gradients, setup_context=keep)
    return made
    # END SOLUTION


def use(net: nn.Module, made: Callable[..., Any]) -> int:
    """Lets each nn.LayerNorm in net compute with made; returns how many.

    made is an operator like the one above: x must have two dimensions, and
    the norms of a GPT get (B, T, C). Replace the modules' forward, so that
    modules and weights stay where they are. None at all is a ValueError.
    """
    # BEGIN SOLUTION
    norms = [m for m in net.modules() if isinstance(m, nn.LayerNorm)]
    if not norms:
        raise ValueError(f"there is no LayerNorm in {type(net).__name__}")
    for norm in norms:

        def forward(x: Tensor, norm: nn.LayerNorm = norm) -> Tensor:
            rows = x.flatten(0, -2)
            out, _, _ = made(rows, norm.weight, norm.bias, norm.eps)
            return out.view(x.shape)

        norm.forward = forward
    return len(norms)
    # END SOLUTION


# BEGIN HIDDEN TESTS
import copy  # noqa: E402

import torch.nn.functional as F  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402

from course.exercises.attempt import Attempt  # noqa: E402
from course.exercises.compare import Wrong  # noqa: E402
from course.kernels import launch  # noqa: E402

HINTS = (
    "shapes: x.new_empty(len(x), dtype=torch.float32) twice. keep: inputs are (x, weight, bias, "
    "eps), output (out, mean, rstd). gradients: of x, weight and bias, then None for eps.",
    'operator: made = custom_op("exercise::layer_norm", normalize, mutates_args=()); '
    "made.register_fake(shapes); made.register_autograd(gradients, setup_context=keep).",
    "use: for each norm define forward(x) that calls made(x.flatten(0, -2), norm.weight, "
    "norm.bias, norm.eps)[0].view(x.shape). A function in a loop sees the loop's variable as it "
    "is when it is called: take norm as a default argument.",
)
ABOUT = ("shapes keep gradients", "operator", "use")
EPS = 1e-5
MISTAKES = {
    "shapes": {
        "mean and 1 / std are in float32, whatever x is in": lambda x, *_: (
            torch.empty_like(x),
            x.new_empty(len(x)),
            x.new_empty(len(x)),
        ),
        "there is one mean per row, and not per column": lambda x, *_: (
            torch.empty_like(x),
            x.new_empty(x.shape[1], dtype=torch.float32),
            x.new_empty(x.shape[1], dtype=torch.float32),
        ),
        "mean and 1 / std of the rows are results, too": lambda x, *_: torch.empty_like(x),
    }
}


class Context:
    """What autograd hands to keep and gradients."""

    saved_tensors: tuple[Any, ...] = ()

    def save_for_backward(self, *tensors: Any) -> None:
        self.saved_tensors = tensors


def _inputs(rows: int, columns: int) -> list[Tensor]:
    shapes_ = ((rows, columns), (columns,), (columns,))
    return [torch.randn(shape, device=launch.device()) for shape in shapes_]


def _check_gradients(mine: Attempt) -> None:
    x, weight, bias = inputs = _inputs(5, 8)
    grad, context = torch.randn_like(x), Context()
    output = layer_norm(x, weight, bias, EPS)
    mine.call("keep", context, (x, weight, bias, EPS), output, shown="keep(ctx, inputs, output)")
    if not context.saved_tensors:
        raise Wrong("keep saves nothing for gradients; call ctx.save_for_backward(...)")
    got = mine.call("gradients", context, grad, None, None, shown="gradients(ctx, grad)")
    for tensor in inputs:
        tensor.requires_grad_()
    with torch.enable_grad():
        out = F.layer_norm(x, (8,), weight, bias, EPS)
    by_x, by_weight, by_bias = torch.autograd.grad(out, inputs, grad)
    mine.equal(got, (by_x, by_weight, by_bias, None), "the result of gradients", {
        "the arguments are x, weight, bias, eps, and the gradients stand in their order": (
            by_x, by_bias, by_weight, None,
        ),
        "eps is an argument, too; its gradient is None": (by_x, by_weight, by_bias),
    }, rtol=1e-4, atol=1e-5)  # fmt: skip


def _check_operator(mine: Attempt) -> None:
    try:
        made = mine.call("operator")
    except Wrong as wrong:
        if "non-functional" in str(wrong):
            raise Wrong(
                "operator says that its arguments are changed, and of such an operator there are "
                "no gradients; mutates_args=() for none"
            ) from wrong
        raise
    if not hasattr(torch.ops.exercise, "layer_norm"):
        raise Wrong("operator registers nothing under the name exercise::layer_norm")
    registered = torch.ops.exercise.layer_norm
    if made is None:
        raise Wrong("operator returns nothing; return what custom_op returned")
    x, weight, bias = inputs = _inputs(5, 8)
    want = F.layer_norm(x, (8,), weight, bias, EPS)
    got = mine.call(made, *inputs, EPS, shown="the operator")
    mine.equal(got[0], want, "the operator's first result", None, rtol=1e-4, atol=1e-5)
    with FakeTensorMode() as fake:
        without = [fake.from_tensor(tensor) for tensor in inputs]
        try:
            empty = registered(*without, EPS)
        except Exception as error:
            raise Wrong(
                "the operator cannot be called without data, as torch.compile does; register_fake"
            ) from error
    mine.equal([tuple(x.shape) for x in empty], [(5, 8), (5,), (5,)], "its shapes without data")
    for tensor in inputs:
        tensor.requires_grad_()
    with torch.enable_grad():
        out = mine.call(made, *inputs, EPS, shown="the operator")[0]
        try:
            with mine.guarded("the operator's backward pass"):
                got = torch.autograd.grad(out.square().sum(), inputs)
        except Wrong as wrong:
            if "no autograd formula" in str(wrong):
                raise Wrong("the operator has no gradient; register_autograd") from wrong
            raise
        out = F.layer_norm(x, (8,), weight, bias, EPS)
        want = torch.autograd.grad(out.square().sum(), inputs)
    mine.equal(got, want, "the operator's gradient", None, rtol=1e-4, atol=1e-4)


def _check_use(mine: Attempt) -> None:
    net = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8), nn.LayerNorm(8)).to(launch.device())
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    plain, x = copy.deepcopy(net), torch.randn(2, 3, 8, device=launch.device())
    calls: list[tuple[int, ...]] = []

    def made(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        calls.append(tuple(x.shape))
        if x.ndim != 2:
            raise ValueError(f"x must be (rows, columns), got {tuple(x.shape)}")
        return F.layer_norm(x, x.shape[1:], weight, bias, eps), x.mean(1), x.std(1)

    got = mine.call("use", net, made, shown="use(a net with two LayerNorms)")
    mine.equal(got, 2, "the result of use(a net with two LayerNorms)")
    if list(net.state_dict()) != list(plain.state_dict()):
        raise Wrong(
            f"after use the net's weights are {', '.join(net.state_dict())}, before it "
            f"{', '.join(plain.state_dict())}; replace forward, and leave the modules in place"
        )
    out = mine.call(net, x, shown="the net, called after use,")
    if len(calls) != 2:
        raise Wrong(f"after use the net calls the operator {len(calls)} times, expected 2")
    last = copy.deepcopy(plain)
    last[0].load_state_dict(plain[2].state_dict())
    flat = plain(x).flatten(0, -2)
    mine.equal(out, plain(x), "the result of the net after use", {
        "all norms have the weights of the last one: a function sees the loop's variable as it is "
        "when it is called": last(x),
        "the shape of x is lost; view(x.shape)": flat,
    }, rtol=1e-4, atol=1e-5)  # fmt: skip
    try:
        mine.find("use")(nn.Sequential(nn.Linear(2, 2)), made)
    except ValueError:
        return
    raise Wrong(
        "use(a net without LayerNorm) replaces nothing in silence; raise a ValueError that says so"
    )


def check(mine: Attempt) -> None:
    for dtype in (torch.float32, torch.float16):
        x, row = (torch.empty(s, dtype=dtype, device="meta") for s in ((5, 8), (8,)))
        mine.same("shapes", x, row, row, EPS)
    _check_gradients(mine)
    _check_operator(mine)
    _check_use(mine)


# END HIDDEN TESTS
