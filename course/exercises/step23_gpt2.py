"""Exercise for step 23, GPT-2 writes: one token at a time.

The model reads the tokens and returns the logits of the token after each of
them: those at the last position are for the next token. Greedy decoding takes
the most likely one, appends it and asks again, until the token that means
"end" comes or there are enough. The model has a ``context``: it reads that
many tokens at most, and of a longer text the last ones.

Write the function, then: gpu-learning lessons check 23
"""

from collections.abc import Callable

import torch
from torch import Tensor


def generate(
    model: Callable[[Tensor], Tensor],
    ids: list[int],
    most: int,
    context: int,
    end: int,
) -> list[int]:
    """The new tokens after ``ids``, without those of ``ids`` and without
    ``end``.

    Args:
        model: tokens (1, T), int64, T at most ``context`` -> logits (1, T, V).
        ids: the tokens of the prompt, at least one.
        most: how many new tokens at most.
        context: how many tokens the model can read.
        end: the token that ends the text.
    """
    # BEGIN SOLUTION
    new: list[int] = []
    while len(new) < most:
        window = torch.tensor([[*ids, *new][-context:]])
        token = int(model(window)[0, -1].argmax())
        if token == end:
            break
        new.append(token)
    return new
    # END SOLUTION


# BEGIN HIDDEN TESTS
from course.exercises.attempt import Attempt  # noqa: E402
from course.exercises.compare import Wrong  # noqa: E402
from lightning_modules.nets.gpt import GPT, GPT2_SWITCHES, GPTConfig  # noqa: E402

HINTS = (
    "A loop of at most `most` rounds: ask the model, take logits[0, -1].argmax(), append it.",
    "[-context:] of a list keeps its last tokens; torch.tensor([numbers]) has shape (1, T).",
    "Stop with break when the token is end, before you append it. Build a list of your own; ids "
    "belongs to whoever called.",
)


class _Model:
    """A small GPT-2 that counts: it refuses what it cannot read."""

    def __init__(self, net: GPT, context: int) -> None:
        self.net, self.context = net, context

    def __call__(self, ids: Tensor) -> Tensor:
        if not isinstance(ids, Tensor) or ids.ndim != 2 or len(ids) != 1:
            shape = f"shape {tuple(ids.shape)}" if isinstance(ids, Tensor) else type(ids).__name__
            raise Wrong(f"generate passes the model tokens of {shape}; they have shape (1, T)")
        if ids.shape[1] > self.context:
            raise Wrong(
                f"generate passes the model {ids.shape[1]} tokens and its context is "
                f"{self.context}; keep the last ones"
            )
        with torch.no_grad():
            return self.net(ids)


def _next(model: _Model, ids: list[int], position: int) -> int:
    return int(model(torch.tensor([ids[-model.context :]]))[0, position].argmax())


def _first_position(model: _Model, ids: list[int], most: int, context: int, end: int) -> list[int]:
    new: list[int] = []
    while len(new) < most and (token := _next(model, [*ids, *new], 0)) != end:
        new.append(token)
    return new


def _beginning(model: _Model, ids: list[int], most: int, context: int, end: int) -> list[int]:
    new: list[int] = []
    for _ in range(most):
        token = int(model(torch.tensor([[*ids, *new][:context]]))[0, -1].argmax())
        if token == end:
            break
        new.append(token)
    return new


def _ended(model: _Model, ids: list[int], most: int, context: int, end: int) -> list[int]:
    new = generate(model, ids, most, context, end)
    return [*new, end] if len(new) < most else new


MISTAKES = {
    "generate": {
        "the prompt is part of it; return the new tokens alone": (
            lambda model, ids, most, context, end: ids + generate(model, ids, most, context, end)
        ),
        "the token that ends the text is part of it; leave it out": _ended,
        "it does not stop at the end token": lambda model, ids, most, context, end: generate(
            model, ids, most, context, -1
        ),
        "these are the logits of the first position; take the last, -1": _first_position,
        "the model reads the first tokens of a long text; give it the last": _beginning,
        "that is one token too many": lambda model, ids, most, context, end: generate(
            model, ids, most + 1, context, end
        ),
        "that is one token too few": lambda model, ids, most, context, end: generate(
            model, ids, most - 1, context, end
        ),
    },
}


def check(mine: Attempt) -> None:
    vocabulary, context = 23, 6
    switches = {**GPT2_SWITCHES, "tied": False}
    net = GPT(GPTConfig(vocabulary, context, 16, **switches)).eval()
    for parameter in net.parameters():  # so that the text does not repeat one token
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=1.0)
    model = _Model(net, context)
    for prompt in ([3], [1, 2, 3, 4], torch.randint(0, vocabulary, (9,)).tolist()):
        mine.same("generate", model, prompt, 8, context, -1)
        text = generate(model, prompt, 8, context, -1)
        mine.same("generate", model, prompt, 8, context, text[3])


# END HIDDEN TESTS
