"""``.pt2`` files before ``torch.export.load`` sees them: tensors and a graph of known operators.

``torch.export.load`` unpickles what an archive marks as pickled, calls whatever below ``torch`` a
node names, evaluates sizes as Python expressions and compiles guards from source: a crafted file
runs code. So the archive is read here, refused where it holds more than a graph of ATen operators
and plain tensors, and written again from what was checked; torch reads the copy alone.
"""

import io
import json
import re
import zipfile
from typing import Any

import torch

_ENTRIES = re.compile(
    r"(data/weights/(weight_\d+|model_weights_config\.json)"
    r"|data/constants/(tensor_\d+|model_constants_config\.json)"
    r"|models/model\.json|data/sample_inputs/model\.pt|archive_format|archive_version|byteorder"
    r"|\.data/(version|serialization_id)|\.format_version|\.storage_alignment|version)"
)
_INPUTS, _GRAPH = "data/sample_inputs/model.pt", "models/model.json"
# Operators of ATen compute with tensors; this one maps a file, and creates it.
_TARGET = re.compile(r"torch\.ops\.aten\.(?!from_file)\w+\.\w+")
_SIZES = re.compile(r"_operator\.(add|sub|mul|neg|floordiv|truediv|mod|eq|ne|lt|le|gt|ge|pow)")
_NESTED = re.compile(
    r"torch\.ops\.higher_order\.(cond|wrap_with_autocast|wrap_with_set_grad_enabled)"
)
# In the expression of a size: names of symbols, and functions of sympy and torch that only compute.
_WORDS = re.compile(r"[A-Za-z_]\w*")
_WORD = re.compile(
    r"[suz]f?\d+|Symbol|Integer|Rational|Add|Mul|Pow|Mod|Max|Min|FloorDiv|CeilDiv|CleanDiv|PythonMod"
    r"|IntTrueDiv|Eq|Ne|Lt|Le|Gt|Ge|Equality|Unequality|LessThan|GreaterThan|StrictLessThan"
    r"|StrictGreaterThan|And|Or|Not|positive|integer|nonnegative|True|False|evaluate"
)
_EXPRESSION = re.compile(r"[\w\s+\-*/%(),=<>&|~']*")


def checked_program(content: bytes) -> io.BytesIO:
    """The archive without example inputs, guards and notes, for ``torch.export.load``.

    Args:
        content: a file that ``torch.export.save`` wrote.

    Raises:
        ValueError: it is something else, or holds what can run code; says what.
    """
    entries = _entries(content)
    _check_pickles(entries)
    try:
        graph = json.loads(entries[_GRAPH])
    except (KeyError, ValueError, RecursionError) as error:
        raise ValueError(f"it holds no program in {_GRAPH}") from error
    entries[_GRAPH] = json.dumps(_checked(graph)).encode()
    entries[_INPUTS] = b""
    result = io.BytesIO()
    with zipfile.ZipFile(result, "w") as archive:
        for name, data in entries.items():
            archive.writestr(f"archive/{name}", data)
    result.seek(0)
    return result


def _entries(content: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
            sizes = sum(info.file_size for info in archive.infolist())
            if sizes > len(content):  # torch compresses nothing
                raise ValueError("its entries are compressed; torch.export.save compresses none")
            found = {name.partition("/")[2]: archive.read(name) for name in names}
    # zipfile raises NotImplementedError for a compression that it does not know.
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError) as error:
        raise ValueError(f"it is not an archive of torch.export.save ({error})") from error
    if len({name.partition("/")[0] for name in names}) != 1 or len(found) != len(names):
        raise ValueError("it is not an archive of torch.export.save")
    if strange := [name for name in found if not _ENTRIES.fullmatch(name)]:
        raise ValueError(f"it holds {strange[0]!r}, which is neither a tensor nor a graph")
    return found


def _check_pickles(entries: dict[str, bytes]) -> None:
    """What torch would unpickle must be tensors."""
    pickled = {_INPUTS} & set(entries)
    for kind in ("weights", "constants"):
        config = entries.get(f"data/{kind}/model_{kind}_config.json", b"{}")
        try:
            for tensor in json.loads(config).get("config", {}).values():
                name = f"data/{kind}/{tensor['path_name']}"
                if tensor["use_pickle"] is not False:
                    pickled.add(name)
                if not re.fullmatch(r"(weight|tensor)_\d+", tensor["path_name"]):
                    raise ValueError(f"it holds {name!r}, which is not a tensor")
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"its list of {kind} is damaged") from error
    for name in pickled:
        if data := entries.get(name):
            try:
                torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
            except Exception as error:  # the unpickler raises many kinds
                raise ValueError(
                    f"its {name} is a pickle of more than tensors, which could run code"
                ) from error


def _checked(node: Any) -> Any:
    """The graph without notes and guards; both are source code or paths of another machine."""
    if isinstance(node, list):
        return [_checked(item) for item in node]
    if not isinstance(node, dict):
        return node
    for key, value in node.items():
        if key == "target" and isinstance(value, str):
            if not any(kind.fullmatch(value) for kind in (_TARGET, _SIZES, _NESTED)):
                raise ValueError(f"it calls {value!r}, which is not an operator of ATen")
        elif key == "expr_str":
            words = _WORDS.findall(str(value))
            if not _EXPRESSION.fullmatch(str(value)) or not all(map(_WORD.fullmatch, words)):
                raise ValueError(f"a size in it is computed by {str(value)[:60]!r}")
        elif key in ("in_spec", "out_spec"):
            kinds = re.findall(r'"type": *"([^"]*)"', str(value))
            if not {*kinds} <= {"builtins.tuple", "builtins.list", "builtins.dict"}:
                raise ValueError(f"its inputs or outputs are {', '.join(kinds)}, not tensors")
    emptied: dict[str, Any] = {"metadata": {}, "guards_code": []}
    return {key: emptied[key] if key in emptied else _checked(node[key]) for key in node}
