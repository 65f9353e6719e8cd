"""An argument parser that answers a mistake in one sentence, with the nearest name that exists."""

import re
import sys
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from difflib import get_close_matches
from importlib import import_module
from inspect import ismodule, signature
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import get_loader, set_loader
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningArgumentParser

from training.config_files import missing
from training.origins import located
from training.values import wrong_value

# Lines of jsonargparse's report that frame the reason without being it.
_FRAME = (
    "Does not validate",
    "Errors",
    "Expected a <class 'NoneType'>",
    "Expected a <class 'str'>",
    "Given value",
    "Parser key",
    "Problem with",
    "Subtypes",
)


# The options that are parsed: the parser of a class's arguments knows only its own.
typed: ContextVar[Sequence[str]] = ContextVar("typed", default=())


# What torch's base class takes itself, which stands in until a class is named.
_NAMELESS = (("optimizer", "defaults", "Adam"), ("lr_scheduler", "last_epoch", "StepLR"))


class OneSentenceParser(LightningArgumentParser):
    """LightningArgumentParser without the page of usage that jsonargparse puts before an error."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Or a misspelled option is taken for the one that it begins: --trainer.max_epoch.
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        parser = getattr(ex, "subcommand_parser", None) or self
        options = [action.dest for action in parser._actions]
        said = explain(message, options, typed.get())
        print(f"gpu-learning: error: {said}", file=sys.stderr)
        self.exit(2)


def explain(message: str, options: Iterable[str] = (), given: Sequence[str] = ()) -> str:
    """One sentence for jsonargparse's ``message``; names like the wrong one are suggested.

    Args:
        message: what jsonargparse says, on one or many lines.
        options: dotted names that the parser knows.
        given: the options of the command line.
    """
    if match := re.search(r"[Oo]ption '(init_args|class_path)\b", message):
        return f"{match[1]} belongs under model: or data:, and is indented below it"
    if match := re.search(r"Option '([^']+)' is not accepted", message):
        return _not_accepted(match[1], list(options), given)
    if match := re.search(
        r"(?:does not accept option '|[Uu]nrecognized arguments: -*)([^\s=']+)", message
    ):
        # 'modle.class_path' is a mistake in its first part, 'trainer.max_epoch' in a later one.
        wrong, known = match[1], (options := list(options))
        if wrong.endswith((".yaml", ".yml")):
            return f"a configuration is named with -c: -c {wrong}"
        first, _, rest = wrong.partition(".")
        if rest and first in _class_names("lightning.pytorch.callbacks.Callback"):
            return (
                f"{first} is a callback: add it with --trainer.callbacks+={first}, then its "
                f"arguments are --trainer.callbacks.{rest}"
            )
        if not any(name == first or name.startswith(f"{first}.") for name in known):
            wrong, known = first, [name for name in known if "." not in name]
            if not rest and not get_close_matches(wrong, known, n=1):
                if takers := _takers(wrong, options):
                    return f"there is no option '{wrong}'; did you mean {' or '.join(takers)}?"
                return (
                    f"there is no option '{wrong}'; what the model takes is "
                    f"--model.init_args.{wrong}, the data --data.init_args.{wrong}, the Trainer "
                    f"--trainer.{wrong}"
                )
        return f"there is no option '{wrong}'{_suggest(wrong, known)}"
    if match := re.search(r"module '([^']+)' has no attribute '([^']+)'", message):
        module = import_module(match[1])
        names = [name for name in dir(module) if not name.startswith("_")]
        names = [name for name in names if not ismodule(getattr(module, name))]
        return f"{match[1]} has no '{match[2]}'{_suggest(match[2], names)}"
    if said := wrong_value(message, given):
        return said
    if match := re.search(r"Expected a dot import path string: (\S+)", message):
        base = re.search(r"<class '(\w+\.[\w.]+)'>", message)
        names = _class_names(base[1]) if base else []
        off = match[1].lower() in ("false", "none") and "<class 'NoneType'>" in message
        remedy = "; null takes it out" if off else _suggest(match[1], names)
        return f"there is no class '{match[1]}'{remedy}"
    if match := re.search(r"File does not exist: '([^']+)'", message):
        return f"there is no {missing(Path(match[1]))}"
    if message == "argument -c/--config: expected one argument":
        return "-c needs a file after it: -c configs/digits_cnn.yaml"
    if match := re.fullmatch(r"argument (-\S+): expected one argument", message):
        return f"{_without_value(match[1], given)} needs a value after it"
    if "arguments are required" in message and re.search(r"\b\w+\.(model|data)\b", message):
        return "a model and its data are needed: name an experiment, as -c configs/digits_cnn.yaml"
    if match := re.fullmatch(r"the following arguments are required: (\w+)", message):
        if parts := _named_parts(given):
            needs = " or ".join(f"{part}.{match[1]} VALUE" for part in parts)
            return f"a class that was named needs '{match[1]}': add after it {needs}"
        return (
            f"a class that was named needs '{match[1]}': of a callback it is given after it, as "
            f"--trainer.callbacks.{match[1]}=VALUE, otherwise as --model.{match[1]}=VALUE or "
            f"--data.{match[1]}=VALUE"
        )
    lines = [line.strip(" -") for line in message.splitlines()]
    telling = [line for line in lines if line and not line.startswith(_FRAME)]
    # Of a union's branches those that say only which type they expected explain nothing.
    telling = [line for line in telling if not line.startswith("Expected a <class")] or telling
    keys = re.findall(r'^\s*(?:- )?Parser key "([^"]+)"', message, flags=re.MULTILINE)
    where = f"{'.'.join(dict.fromkeys(keys))}: " if keys else ""
    reason = "; ".join(dict.fromkeys(telling or lines))
    reason = re.sub(r"Expected a <class '(\w+)'>", r"expected \1", reason)
    return where + reason


def _not_accepted(wrong: str, options: list[str], given: Sequence[str]) -> str:
    name, where = located(given, wrong)
    for part, own, example in _NAMELESS:
        if name.startswith(f"--{part}.") and set(options) == {"help", own}:
            return f"{name} needs its class before it: --{part} {example} {name} VALUE"
    if not name.startswith("--"):
        return f"option '{wrong}' is not accepted{_suggest(wrong, options)}{where}"
    above = name.removesuffix(wrong)
    return f"there is no option {name}{_suggest(wrong, options, above)}"


def _without_value(option: str, given: Sequence[str]) -> str:
    """The option as it was typed; jsonargparse names what is above it: --model of --model.lr."""
    for one, following in zip(given, [*given[1:], "--"], strict=True):
        if f"{one}.".startswith(f"{option}.") and following.startswith("--"):
            return one
    return option


def _named_parts(given: Sequence[str]) -> list[str]:
    """The parts of a run for which a class is typed: --model, --lr_scheduler, --trainer.callbacks.

    Their arguments are told from them by names that begin with theirs.
    """
    names = [option.partition("=")[0].rstrip("+") for option in given if option.startswith("--")]
    parts = ("model", "data", "optimizer", "lr_scheduler", "trainer.callbacks", "trainer.logger")
    return [f"--{part}" for part in parts if f"--{part}" in names]


def overridden(arguments: Sequence[str]) -> str:
    """A sentence where a file that comes after an option sets it again, or nothing.

    jsonargparse lets the later one win, which nobody expects of a file.
    """
    options: list[str] = []
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name, _, value = argument.partition("=")
        if name not in ("-c", "--config"):
            options += [name[2:]] if name.startswith("--") else []
            continue
        file = Path(value or following)
        text = file.read_text() if file.is_file() else ""
        keys = _keys(_load_bounded(text) if text else {})
        for option in options:
            plain = option.replace(".init_args", "")
            if any(key == plain or key.startswith(f"{plain}.") for key in keys):
                return f"{file} comes after --{option} and sets it, too; write -c {file} first"
    return ""


def _keys(tree: Any, above: str = "") -> list[str]:
    """Dotted names in a configuration, without ``init_args``, which the command line leaves out."""
    if not isinstance(tree, dict):
        return [above]
    return [
        name
        for key, value in tree.items()
        for name in _keys(value, above if key == "init_args" else f"{above}.{key}".strip("."))
    ]


def _class_names(path: str) -> list[str]:
    """Short names of the imported subclasses of the class at ``path``."""
    module, _, name = path.rpartition(".")
    return [kind.__name__ for kind in _subclasses(getattr(import_module(module), name))]


def _takers(wrong: str, options: Iterable[str]) -> list[str]:
    """Options of the Trainer, or of a model or data module that is imported, with this name."""
    takers = [
        f"--{part}.init_args.{wrong}"
        for part, base in (("model", LightningModule), ("data", LightningDataModule))
        if any(wrong in signature(kind.__init__).parameters for kind in _subclasses(base))
    ]
    own = (f"{wrong}_everything", f"trainer.{wrong}", f"trainer.max_{wrong}")
    return [f"--{name}" for name in own if name in options] + takers


def _subclasses(base: type) -> list[type]:
    found = [base]
    for kind in found:
        found += [other for other in kind.__subclasses__() if other not in found]
    return found


# What nanoGPT and transformers call an argument, where the most similar name is another one.
_ELSEWHERE = {
    **dict.fromkeys(("block_size", "n_positions", "seq_len", "max_length"), "context"),
    **dict.fromkeys(("n_embd", "d_model", "hidden_size"), "width"),
    **dict.fromkeys(("n_layer", "num_layers", "num_hidden_layers"), "layers"),
    **dict.fromkeys(("n_head", "num_heads", "num_attention_heads"), "heads"),
    "learning_rate": "lr",
}


def _suggest(wrong: str, names: Iterable[str], above: str = "") -> str:
    names = [name for name in dict.fromkeys(names) if name not in ("help", "config")]
    meant = _ELSEWHERE.get(wrong)
    if near := [meant] if meant in names else get_close_matches(wrong, names, n=1):
        return f"; did you mean '{above}{near[0]}'?"
    if 0 < len(names) <= 16:
        return f"; it takes {', '.join(names)}"
    return "; --help lists what there is"


_load = get_loader("yaml")
_MOST_VALUES = 100_000


def _load_bounded(text: str) -> Any:
    """Loads YAML as jsonargparse does, which copies what an alias stands for every time.

    Raises:
        ValueError: a key that holds itself, or aliases that multiply without a bound.
    """
    if "<<" in text:
        _refuse_merges(yaml.compose(text, yaml.SafeLoader), {})
    value = _load(text)
    _refuse_loops(value, [], _MOST_VALUES)
    return value


def _refuse_loops(value: Any, above: list[Any], left: int) -> int:
    """Returns how many more values there may be."""
    if left <= 0:
        raise ValueError(
            f"the YAML stands for more than {_MOST_VALUES:,} values, because aliases repeat what "
            "holds aliases; write out what it should hold"
        )
    if not isinstance(value, (dict, list)):
        return left - 1
    within = [*above, value]
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if any(inner is outer for outer in within):
            raise ValueError(
                f"'{key}' in the YAML is an alias of what it is itself part of, so there is no end "
                "to it; write out what it should hold"
            )
        left = _refuse_loops(inner, within, left)
    return left - 1


def _refuse_merges(node: Any, known: dict[int, int]) -> int:
    """Returns the pairs of a mapping with what ``<<`` copies into it, before anything is copied."""
    if id(node) in known or not isinstance(node, yaml.CollectionNode):
        return known.get(id(node), 0)
    known[id(node)] = pairs = 0  # for what is part of itself
    if isinstance(node, yaml.SequenceNode):
        pairs = sum(_refuse_merges(inner, known) for inner in node.value)
    else:
        for key, inner in node.value:
            merged = _refuse_merges(inner, known)
            pairs += merged if key.tag == "tag:yaml.org,2002:merge" else 1
    if pairs > _MOST_VALUES:
        raise ValueError(
            f"'<<' in the YAML copies more than {_MOST_VALUES:,} values; write out what it should "
            "hold"
        )
    known[id(node)] = pairs
    return pairs


set_loader("yaml", _load_bounded, (yaml.YAMLError,))
