"""The sentence about the first difference."""

from typing import Any

import pytest
import torch
from torch import nn

from course.exercises.compare import difference

ONES = torch.ones(2, 3)


@pytest.mark.parametrize(
    ("got", "want", "says"),
    [
        (None, ONES, "f(x) is None; is a return missing?"),
        ([1.0], ONES, "f(x) is a list, expected a tensor"),
        (torch.ones(3, 2), ONES, "f(x) has shape (3, 2), expected (2, 3)"),
        (ONES.double(), ONES, "f(x) has dtype torch.float64, expected torch.float32"),
        (ONES.to("meta"), ONES, "f(x) is on device meta, expected cpu"),
        (ONES * 2, ONES, "f(x) is 2, expected 1, at index [0, 0]"),
        (
            torch.arange(6).view(2, 3),
            torch.tensor([[0, 1, 2], [3, 4, 6]]),
            "f(x) is 5, expected 6, at index [1, 2]",
        ),
        (torch.tensor(0.123456), torch.tensor(0.1239), "f(x) is 0.1235, expected 0.1239"),
        (torch.tensor(1e6), torch.tensor(1.001e6), "f(x) is 1e+06, expected 1.001e+06"),
        (torch.tensor(float("nan")), torch.tensor(1.0), "f(x) is nan, expected 1"),
        (ONES, ONES.clone().requires_grad_(), "f(x) has no gradient: detach, no_grad, .data or "),
        (ONES.clone().requires_grad_(), ONES, "f(x) carries a gradient and should not; "),
        (ONES.sum(), 6.0, "f(x) is a tensor, expected a float; .item() makes a number of a tensor"),
        (5.5, 6.0, "f(x) is 5.5, expected 6"),
        (6.0, 6, "f(x) is a float, expected an int"),
        (True, 1, "f(x) is a bool, expected an int"),
        ("a", "b", "f(x) is 'a', expected 'b'"),
        ((1, 2), [1, 2], "f(x) is a tuple, expected a list"),
        ([1, 3], [1, 2], "item 1 of f(x) is 3, expected 2"),
        ([1], [1, 2], "f(x) has 1 items, expected 2"),
        ([1, 2, 3], [1, 2], "f(x) has 3 items, expected 2"),
        ([None], [1], "item 0 of f(x) is None; is a return missing?"),
        ({"a": 1}, {"a": 2}, "entry 'a' of f(x) is 1, expected 2"),
        ({"a": 1}, {"a": 1, "b": 2}, "f(x) has no entry 'b'"),
        ({"a": 1, "b": 2}, {"a": 1}, "f(x) has an entry 'b' too many"),
        (5, {"a": 1}, "f(x) is an int, expected a dictionary"),
        (5, nn.Linear(1, 1), "f(x) is an int, expected an nn.Module"),
        (nn.ReLU(), nn.Linear(1, 1), "f(x) has no parameter 'weight'; it has none at all; only "),
        (nn.Linear(1, 1), nn.ReLU(), "f(x) has a parameter 'weight' too many"),
        (nn.Linear(1, 2), nn.Linear(1, 1), "weight of f(x) has shape (2, 1), expected (1, 1)"),
    ],
)
def test_difference(got: Any, want: Any, says: str) -> None:
    found = difference(got, want, "f(x)")
    assert found is not None
    assert found.startswith(says)


@pytest.mark.parametrize(
    "value",
    [
        ONES,
        ONES * float("nan"),
        torch.tensor([float("inf"), -float("inf")]),
        torch.tensor([True]),
        ONES.to("meta"),
        [1, (2.0, "a"), {"b": None}],
        nn.Linear(2, 2).eval(),
        torch.device("cpu"),
    ],
)
def test_no_difference(value: Any) -> None:
    assert difference(value, value, "f(x)") is None


def test_a_number_may_be_an_int_where_a_float_is_expected() -> None:
    assert difference(6, 6.0, "f(x)") is None
    assert difference(1.000001, 1.0, "f(x)") is None


def test_nothing_expected() -> None:
    assert difference(None, None, "f(x)") is None
    assert difference(1, None, "f(x)") == "f(x) is an int, expected None"


def test_the_mode_of_a_module() -> None:
    net, other = nn.Dropout(), nn.Dropout().eval()
    assert difference(net, other, "f(x)") == "f(x) is in training mode; call its eval()"
    assert difference(other, net, "f(x)") == "f(x) is in eval mode; call its train()"
