"""Exercise for step 24, GPT-2 learns: an adapter, and which tokens count.

LoRA leaves a weight W as it is and adds a product of two thin matrices to it:
W + alpha / r * B A. A is (r, in) and random, B is (out, r) and zero, so that
training begins with the model as it was. Only A and B learn: r * (in + out)
numbers in the place of in * out.

Of a question with its answer only the answer is to be learned. The target of a
position is the token after it; a target of -100 does not count, which is the
default of torch's cross entropy.

Write class and function, then: gpu-learning lessons check 24
"""

import torch
from torch import Tensor, nn


class LoRALinear(nn.Module):
    """A frozen linear layer with a trained adapter: (N, in) -> (N, out).

    Its parameters are those of ``base``, ``a`` of shape (r, in) and ``b`` of
    shape (out, r).

    Args:
        base: the linear layer, which is frozen here.
        r: rank of the adapter.
        alpha: the adapter is multiplied by alpha / r.
    """

    def __init__(self, base: nn.Linear, r: int, alpha: float) -> None:
        super().__init__()
        # BEGIN SOLUTION
        self.base = base.requires_grad_(False)
        self.a = nn.Parameter(torch.randn(r, base.in_features) / r)
        self.b = nn.Parameter(torch.zeros(base.out_features, r))
        self.scale = alpha / r
        # END SOLUTION

    def forward(self, x: Tensor) -> Tensor:
        # BEGIN SOLUTION
        return self.base(x) + self.scale * (x @ self.a.T @ self.b.T)
        # END SOLUTION


def targets(prompt: list[int], answer: list[int], length: int) -> Tensor:
    """The targets (length,), int64, of a row: the prompt, the answer, and
    padding after it.

    Position i has token i + 1 of the row where that is of the answer, and -100
    elsewhere.
    """
    # BEGIN SOLUTION
    row = torch.full((length,), -100)
    # The last token of the prompt foretells the first of the answer.
    first = len(prompt) - 1
    row[first : first + len(answer)] = torch.tensor(answer)
    return row
    # END SOLUTION


# BEGIN HIDDEN TESTS
import copy  # noqa: E402

from course.exercises.attempt import Attempt  # noqa: E402
from course.exercises.compare import Wrong  # noqa: E402

HINTS = (
    "base.requires_grad_(False) freezes a layer; nn.Parameter(tensor) makes a parameter.",
    "x @ self.a.T is (N, r), and that @ self.b.T is (N, out); add alpha / r times it to base(x).",
    "torch.full((length,), -100) is a row in which nothing counts. The first token of the answer "
    "is the target of the last token of the prompt: position len(prompt) - 1.",
)
ABOUT = ("LoRALinear", "LoRALinear", "targets")


def _row(prompt: list[int], answer: list[int], length: int, first: int) -> Tensor:
    row = torch.full((length,), -100)
    row[first : first + len(answer)] = torch.tensor(answer)
    return row


MISTAKES = {
    "targets": {
        "a target is the token after its position: everything is one too far right": (
            lambda prompt, answer, length: _row(prompt, answer, length, len(prompt))
        ),
        "the prompt is learned, too; its targets are -100": lambda prompt, answer, length: _row(
            [0], [*prompt[1:], *answer], length, 0
        ),
        "the padding counts; its targets are -100": lambda prompt, answer, length: torch.where(
            torch.arange(length) >= len(prompt) + len(answer) - 1,
            0,
            targets(prompt, answer, length),
        ),
        "the first token of the answer is not learned": lambda prompt, answer, length: _row(
            prompt, answer[1:], length, len(prompt)
        ),
    },
}


def check(mine: Attempt) -> None:
    for inputs, outputs, r, alpha in ((6, 4, 2, 8.0), (5, 5, 1, 3.0)):
        base = nn.Linear(inputs, outputs)
        what = f"LoRALinear(Linear, {r}, {alpha:g})"
        ours = LoRALinear(copy.deepcopy(base), r, alpha)
        theirs = mine.call("LoRALinear", base, r, alpha, shown=what)
        x = torch.randn(3, inputs)
        if isinstance(theirs, nn.Module):
            _look_at(mine, theirs, ours, x, what)
        with torch.no_grad():
            ours.b.normal_()
        mine.take_weights(theirs, ours, what)
        added = x @ ours.a.T @ ours.b.T
        mistakes = {
            "the adapter is not multiplied by alpha / r": ours.base(x) + added,
            "the adapter is multiplied by alpha; divide by r, too": ours.base(x) + alpha * added,
            "the adapter is missing": ours.base(x),
            "the frozen layer is missing": alpha / r * added,
        }
        shown = f"{what}(tensor (3, {inputs}))"
        mine.equal(mine.call(theirs, x, shown=shown), ours(x), shown, mistakes)
    mine.same("targets", [5, 6, 7], [8, 9], 8)
    mine.same("targets", [4], [1, 2, 3], 4)
    mine.same("targets", list(range(10, 15)), list(range(20, 26)), 12)


def _look_at(mine: Attempt, theirs: nn.Module, ours: LoRALinear, x: Tensor, what: str) -> None:
    """What holds before any training."""
    state = theirs.state_dict()
    if "a" in state and not state["a"].any():
        raise Wrong(f"a of {what} is 0, and so is b: neither would get a gradient; make a random")
    if "b" in state and state["b"].any():
        raise Wrong(f"b of {what} is not 0; training has to begin with the model as it was")
    if set(state) == set(ours.state_dict()):
        got = mine.call(theirs, x, shown=f"{what}, untrained,")
        mine.equal(got.detach(), ours.base(x).detach(), f"{what}, untrained,")


# END HIDDEN TESTS
