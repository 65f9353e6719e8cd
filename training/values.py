"""What an option may hold, in one sentence about a value that it may not."""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from training.origins import located

_PLAIN = ("bool", "dict", "float", "int", "list", "str", "tuple")
_MANY = 16
# What other programs call a choice, where the most similar name is another one.
_MEANT = {
    **dict.fromkeys(("fp16", "float16", "half", "amp"), "16-mixed"),
    "bfloat16": "bf16-mixed",
    **dict.fromkeys(("fp32", "float32"), "32"),
    **dict.fromkeys(("fp64", "float64", "double"), "64"),
}
# What jsonargparse tries for a value that is neither a type's nor a choice.
_TRIED = ("Expected a path but", "Expected a dot import path")


def wrong_value(message: str, typed: Sequence[str] = ()) -> str:
    """``--model.lr: expected float, got fast`` for jsonargparse's report of a wrong type.

    Args:
        message: the report, on one or many lines.
        typed: the options of the command line, which say how the option is called there: the
            report names the arguments of a class without what is above them.

    Returns:
        The sentence; empty where the report is about anything else than plain types and choices.
    """
    given = re.search(r"\b(?:Given value|Got value): (.*)$", message, flags=re.MULTILINE)
    lines = [line.strip(" -") for line in message.splitlines()]
    expected = [line.partition(". Got value")[0] for line in lines if line.startswith("Expected")]
    expected = [line for line in expected if not line.startswith(_TRIED)]
    subtypes = next((line for line in lines if line.startswith("Subtypes: ")), "")
    # The report's union has the choices that are numbers, which its errors call a number.
    kinds, choices = _kinds(subtypes or " ".join(expected))
    if given is None or "NestedArg" in given[1] or not kinds + choices:
        return ""
    others = re.findall(r"<class '([\w.]+)'>", subtypes)
    framed = ("Expected", "Subtypes", "Parser key", "Does not validate", "Errors", "Given value")
    reasons = [line for line in lines if line and not line.startswith(framed)]
    if reasons or set(others) - {*_PLAIN, "NoneType", "torch.Tensor"}:
        return ""
    keys = re.findall(r'Parser key "([^"]+)"', message)
    key = ".".join(dict.fromkeys(keys))
    name, where = located(typed, keys[-1], given[1]) if keys else ("", "")
    if choices and not kinds:
        return choice(name or key, given[1], choices) + where
    said = f"expected {' or '.join([*kinds, *choices])}, got {given[1] or 'nothing'}"
    if re.match(r"list|tuple", kinds[0]) and re.fullmatch(r"[\w.,-]+", given[1]):
        said += f"; write [{given[1]}]"
    return f"{name or key}: {said}{where}" if name or key else said


def choice(name: str, value: str, choices: Iterable[str]) -> str:
    """``--trainer.precision must be one of 16, 32, got '31'; did you mean 32?``.

    Of many choices those are left out that only add to another one: ddp_spawn to ddp.
    """
    choices = sorted(dict.fromkeys(choices))
    meant = _MEANT.get(value.lower())
    near = [meant] if meant in choices else get_close_matches(value, choices, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    if len(choices) > _MANY:
        choices = [one for one in choices if not any(one.startswith(f"{x}_") for x in choices)]
    return f"{name} must be one of {', '.join(choices)}, got {value!r}{hint}".lstrip()


def _kinds(text: str) -> tuple[list[str], list[str]]:
    """Plain types and choices that a text of jsonargparse's names, without None."""
    kinds, choices = [], []
    pattern = (
        r"typing\.Literal\[([^\]]*)\]|<class '(\w+)'>"
        r"|\b((?:list|tuple|dict)\[[\w, .]*\]|tuple with \d+ elements?)"
    )
    for match in re.finditer(pattern, text):
        if match[1]:
            choices += [one.strip(" '") for one in match[1].split(",")]
        elif match[2] in _PLAIN or match[3]:
            kinds.append(match[2] or match[3])
    return list(dict.fromkeys(kinds)), list(dict.fromkeys(choices))
