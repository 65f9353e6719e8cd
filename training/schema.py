"""A JSON Schema of the experiments' YAML files, from the parser that reads them.

Types, docs, defaults and the classes that fit are those that jsonargparse derives from signatures
and docstrings. What the parser knows beyond that is added here: a file holds differences from
``configs/trainer.yaml``, so that nothing is required; ``key+`` appends to a list; the arguments of
a class that the base names can be given alone. Each class is an ``if`` on its ``class_path``, so
that a mistake is reported where it is, not as "none of 40 alternatives".
"""

import importlib
import json
import re
import sys
from collections.abc import Iterable
from importlib.metadata import version
from inspect import isclass
from typing import Any

import torch
import yaml

# Private to jsonargparse, which writes this kind of schema since 4.53: pyproject.toml has an upper
# bound. Its own walks into every subclass of torch.nn.Module, and ends with a TypeError there.
from jsonargparse._completions_jsonschema import ParserJsonschema
from jsonargparse._typehints import get_all_subclass_paths
from lightning.fabric.plugins import CheckpointIO, ClusterEnvironment, Precision
from lightning.pytorch import Callback, LightningDataModule, LightningModule
from lightning.pytorch.accelerators import Accelerator
from lightning.pytorch.cli import LRSchedulerTypeTuple
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins import LayerSync
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.strategies import Strategy

from training.cli import BASE_CONFIG, KEYED_CALLBACKS
from training.parsed_cli import ParsedCLI

OURS = ("callbacks", "datamodules", "lightning_modules", "training")
THEIRS = ("lightning", "torch")
_MODULES = (*OURS[:-1], "training.checkpoint_io", "training.strategies")
# Of an argument of any other class, such as a torch.nn.Module, nothing is said but that it is one.
_EXPANDED = (
    *(LightningModule, LightningDataModule, Callback, Logger, Strategy, Accelerator, Profiler),
    *(Precision, CheckpointIO, ClusterEnvironment, LayerSync),
    *(torch.optim.Optimizer, *LRSchedulerTypeTuple),
)
_DERIVED_FROM = ("jsonargparse", "lightning", "torch")
# A class of a package that the schema was not written for, as a path.
_OTHER_PATH = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$"


def experiment_schema(packages: Iterable[str] = ()) -> dict[str, Any]:
    """The schema (draft 2020-12) of the files that ``-c`` takes.

    Args:
        packages: packages of the user's whose modules, data modules and callbacks belong in it.

    Raises:
        ValueError: a package that cannot be imported.
    """
    mine = [name.partition(".")[0] for name in packages]
    for name in (*_MODULES, *packages):
        _import_all(name)
    classes = _Classes((*OURS, *THEIRS, *mine))
    schema = _without_schema_keys(classes.generate(ParsedCLI(parse=False).fit_parser))
    schema.pop("required", None)
    base = yaml.safe_load(BASE_CONFIG.read_text())
    known = schema.pop("$defs")
    schema["properties"] |= _keyed(schema["properties"], known, base)
    trainer = schema["properties"]["trainer"]
    alone = _arguments_alone(known, base["trainer"]["logger"]["class_path"])
    trainer["properties"]["logger"] = _alone_or(alone, trainer["properties"]["logger"])
    for key in [key for key, value in trainer["properties"].items() if _is_list(value)]:
        trainer["properties"][f"{key}+"] = {
            **trainer["properties"][key],
            "description": f"Appended to {key}.",
        }
    _set_defaults(schema, base)
    wrote = ", ".join(f"{name} {version(name)}" for name in _DERIVED_FROM)
    head = {
        "$schema": schema.pop("$schema"),
        "$comment": f"written by gpu-learning schema with {wrote}",
        "title": "An experiment of gpu-learning",
    }
    return _json_values({**head, **schema, "$defs": dict(sorted(known.items()))})


def _import_all(name: str) -> None:
    try:
        module = importlib.import_module(name)
        for lazy in getattr(module, "__all__", ()):
            getattr(module, lazy)
    except ImportError as error:
        raise ValueError(
            f"the package {name} cannot be imported ({error}); run this in the folder that holds "
            "it, or install it"
        ) from error


class _Classes(ParserJsonschema):
    """Writes one definition for each base class, and one for the arguments of each class.

    Args:
        packages: packages whose classes are known; any path of another package is accepted.
    """

    def __init__(self, packages: tuple[str, ...]) -> None:
        super().__init__()
        self.packages = packages

    def subclass_def(self, class_type: Any, action: Any) -> dict[str, Any]:
        if not (isclass(class_type) and issubclass(class_type, _EXPANDED)):
            return {"type": ["string", "object"]}
        paths = [
            path
            for path in get_all_subclass_paths(class_type)
            if path.partition(".")[0] in self.packages and _is_there(path)
        ]
        shorts = [path.rpartition(".")[2] for path in paths]
        names, branches = [], []
        for path, short in zip(paths, shorts, strict=True):
            accepted = [path, short] if shorts.count(short) == 1 else [path]
            names += accepted
            when = {"properties": {"class_path": {"enum": accepted}}, "required": ["class_path"]}
            branches.append({"if": when, "then": self._arguments(path, action)})
        other = f"^(?!({'|'.join(self.packages)})\\.){_OTHER_PATH}"
        named = {"anyOf": [{"enum": names}, {"type": "string", "pattern": other}]}
        return {
            "type": ["string", "object"],
            "properties": {
                "class_path": named,
                "init_args": {"type": "object"},
                "dict_kwargs": {"type": "object"},
            },
            "additionalProperties": False,
            # A later file may change arguments of the class that an earlier one names.
            "anyOf": [
                {"type": "string"},
                {"required": ["class_path"]},
                {"required": ["init_args"]},
            ],
            "allOf": [{"if": {"type": "string"}, "then": named}, *branches],
        }

    def _arguments(self, path: str, action: Any) -> dict[str, Any]:
        spec = self.class_path_schema(path, action)
        arguments = spec["properties"]["init_args"]
        if "description" in spec:
            arguments["description"] = spec["description"]
        lists = [key for key, value in arguments.get("properties", {}).items() if _is_list(value)]
        if lists:
            arguments["patternProperties"] = {
                f"^{re.escape(key)}\\+$": arguments["properties"][key] for key in lists
            }
        self.defs[path] = arguments
        then: dict[str, Any] = {"properties": {"init_args": {"$ref": f"#/$defs/{path}"}}}
        return then | ({"required": ["init_args"]} if "init_args" in spec["required"] else {})


def _is_there(path: str) -> bool:
    """Not so for classes that a fit in this process made of others, LightningAdam for one."""
    module, _, name = path.rpartition(".")
    return hasattr(sys.modules.get(module), name)


def _arguments_alone(known: dict[str, Any], path: str) -> dict[str, Any]:
    """Any arguments of the class at ``path`` that the base names, in ``init_args`` or without."""
    own = {key: value for key, value in known[path].items() if key != "required"}
    return own | {"properties": {**own["properties"], "init_args": own}}


def _keyed(properties: dict[str, Any], known: dict[str, Any], base: Any) -> dict[str, Any]:
    """Keys of the callbacks of every run: null, a class, or arguments of the base's class."""
    keys = {}
    for key, kind in KEYED_CALLBACKS.items():
        alone = _arguments_alone(known, base[key]["class_path"])
        other = {"anyOf": [{"type": "null"}, {"$ref": f"#/$defs/{kind.__name__}"}]}
        described = {"description": properties[key].get("description", "")}
        keys[key] = described | _alone_or(alone, other)
    return keys


def _alone_or(alone: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    without_class = {"type": "object", "not": {"required": ["class_path"]}}
    return {"if": without_class, "then": alone, "else": other}


def _is_list(schema: dict[str, Any]) -> bool:
    schema = schema.get("else", schema)
    branches = [schema, *schema.get("anyOf", [])]
    return any("array" in _types(one) and "prefixItems" not in one for one in branches)


def _types(schema: dict[str, Any]) -> list[str]:
    kinds = schema.get("type", [])
    return [kinds] if isinstance(kinds, str) else kinds


def _without_schema_keys(tree: Any) -> Any:
    """Without the key ``$schema`` that jsonargparse allows in every object."""
    if isinstance(tree, list):
        return [_without_schema_keys(one) for one in tree]
    if not isinstance(tree, dict):
        return tree
    tree = {key: _without_schema_keys(value) for key, value in tree.items()}
    if isinstance(tree.get("properties"), dict):
        tree["properties"].pop("$schema", None)
    return tree


def _set_defaults(schema: dict[str, Any], base: Any) -> None:
    """Plain values of ``configs/trainer.yaml`` are what a file that leaves them out means."""
    for key, value in base.items():
        known = schema["properties"][key]
        if isinstance(value, dict) and "class_path" not in value:
            _set_defaults(known, value)
        elif not isinstance(value, dict | list):
            known["default"] = value


def _json_values(tree: Any) -> Any:
    """Infinity and NaN, which JSON does not know, as YAML writes them."""
    if isinstance(tree, dict):
        return {key: _json_values(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_json_values(value) for value in tree]
    if isinstance(tree, float) and (tree != tree or abs(tree) > sys.float_info.max):
        return {"inf": ".inf", "-inf": "-.inf"}.get(str(tree), ".nan")
    return tree


def written(schema: dict[str, Any]) -> str:
    """The schema as the text of its file."""
    return json.dumps(schema, indent=1, allow_nan=False) + "\n"
