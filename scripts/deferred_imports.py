"""Defers imports that Lightning makes and most runs never use.

``import lightning.pytorch`` spends most of its time on three of its dependencies: ``torchmetrics``
imports every metric of every domain, and with them scipy, torchvision and transformers;
``torch._dynamo`` is the compiler behind ``torch.compile``, with sympy; ``torch.distributed.tensor``
is for models sharded over GPUs. After :func:`install`

- ``torchmetrics`` and ``torchmetrics.functional`` import a name when it is asked for. Which module
  a name comes from is read off the ``from ... import`` lines of their own ``__init__``;
- the two others are imported when anything of them is used but what torch and Lightning need where
  nothing is compiled or sharded: that no tensor or module is an instance of their class, and that
  a function which must not be compiled is the function itself.

All of it can be used as without; it is imported later, or never. Source of the idea: PEP 562 and
https://scientific-python.org/specs/spec-0001/. ``GPU_LEARNING_EAGER_IMPORTS=1`` turns it off.
"""

import ast
import functools
import importlib
import os
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.abc import InspectLoader, Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import FunctionType, ModuleType
from typing import Any

EAGER = "GPU_LEARNING_EAGER_IMPORTS"
# torchmetrics.metric and torchmetrics.utilities import each other; this is the order that works.
BY_NAME = {"torchmetrics": "torchmetrics.utilities", "torchmetrics.functional": None}
DYNAMO = "torch._dynamo"
INSTANCES = {DYNAMO: "OptimizedModule", "torch.distributed.tensor": "DTensor"}


_LOCK = threading.RLock()


def install() -> None:
    """Defers from now on; without effect where Lightning was imported already, or if turned off."""
    if not os.environ.get(EAGER) and not {*BY_NAME, *INSTANCES} & set(sys.modules):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        parent = sys.modules.get(fullname.rpartition(".")[0])
        # Its own __init__ comes first, as always, and imports most of its submodules. Python would
        # then run this one again, unless it is not there until this spec brings it back.
        if isinstance(parent, _ByKind) and parent.load() and fullname in sys.modules:
            return ModuleSpec(fullname, _AlreadyLoaded(sys.modules.pop(fullname)))
        if fullname not in BY_NAME and fullname not in INSTANCES:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, InspectLoader):
            kind = _ByName if fullname in BY_NAME else _ByKind
            spec.loader = _DeferringLoader(spec.loader, kind)
        return spec


class _DeferringLoader(Loader):
    def __init__(self, loader: InspectLoader, kind: "type[_Deferred]") -> None:
        self.loader = loader
        self.kind = kind

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["_loader"] = self.loader
        module.__class__ = self.kind
        module.begin()  # type: ignore[attr-defined]


class _AlreadyLoaded(Loader):
    """For a submodule that was imported while its parent was: the same module again."""

    def __init__(self, module: ModuleType) -> None:
        self.module, self.spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__spec__"] = self.spec  # torch's config modules refuse other attributes


class _Deferred(ModuleType):
    """A package whose ``__init__`` has not run; an unknown attribute runs it."""

    def begin(self) -> None:
        """What is done at once."""

    def load(self) -> bool:
        """Runs the ``__init__``, unless it runs or has run already; whether it did."""
        with _LOCK:
            loader = self.__dict__.pop("_loader", None)
            if loader is None:
                return False
            loader.exec_module(self)
            self.__class__ = ModuleType
            return True

    def _now(self, name: str) -> Any:
        self.load()
        if name in self.__dict__:
            return self.__dict__[name]
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


class _ByName(_Deferred):
    """Imports of its own submodules wait for the name that they bring.

    So do the ``if`` blocks of torchmetrics, which patch numpy, PIL and scipy for old packages of
    other domains; they run with the whole ``__init__``.
    """

    def begin(self) -> None:
        source = self.__dict__["_loader"].get_source(self.__name__)
        names: dict[str, tuple[str, str | None]] = {}
        now: list[ast.stmt] = []
        for node in ast.parse(source).body:
            if not isinstance(node, ast.ImportFrom):
                now += [] if isinstance(node, ast.If) else [node]
            elif node.names[0].name == "*" or not (node.module or "").startswith("torchmetrics"):
                now.append(node)
            else:
                for alias in node.names:
                    whole = node.module == self.__name__  # from torchmetrics import functional
                    target = (f"{node.module}.{alias.name}", None) if whole else None
                    names[alias.asname or alias.name] = target or (str(node.module), alias.name)
        self.__dict__["_names"] = names
        exec(compile(ast.Module(now, []), str(self.__file__), "exec"), self.__dict__)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.__dict__["_names"]})

    def __getattr__(self, name: str) -> Any:
        names = self.__dict__["_names"]
        if name in names:
            if first := BY_NAME[self.__name__]:
                importlib.import_module(first)
            module, attribute = names[name]
            value = importlib.import_module(module)
            value = getattr(value, attribute) if attribute else value
            setattr(self, name, value)
            return value
        if name.startswith("__"):  # asked of every module, such as __wrapped__
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return self._now(name)


class _ByKind(_Deferred):
    """A package of which others ask at most whether something is an instance of its class."""

    def __getattr__(self, name: str) -> Any:
        if "_loader" in self.__dict__:  # not while it loads
            if name == INSTANCES[self.__name__]:
                return _class(self.__name__, name)
            if self.__name__ == DYNAMO and name in _FUNCTIONS:
                return _FUNCTIONS[name]
        return self._now(name)

    def load(self) -> bool:
        loaded = super().load()
        if loaded and self.__name__ == DYNAMO:
            # From here on torch asks the compiler itself how these functions are to be called.
            for function in _undecorated:
                vars(function).pop("__dynamo_disable", None)
        return loaded


_undecorated: list[Callable[..., Any]] = []


def _disable(function: Any = None, *args: Any, **kwargs: Any) -> Any:
    """Where nothing is compiled, a function that must not be compiled is the function itself."""
    if not isinstance(function, FunctionType):
        return _load(DYNAMO).disable(function, *args, **kwargs)
    if not kwargs.get("wrapping", True):  # torch/_compile.py keeps what it gets in __dynamo_disable
        _undecorated.append(function)
        return function
    disabled = None

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        nonlocal disabled
        if disabled is None:
            dynamo: Any = sys.modules[DYNAMO]
            if isinstance(dynamo, _Deferred):
                return function(*arguments, **options)
            disabled = dynamo.disable(function, *args, **kwargs)
        return disabled(*arguments, **options)

    return call


def _class(module: str, name: str) -> type:
    """Stands in for a class: while its module is not imported, nothing is an instance of it."""

    def real() -> Any:
        return getattr(importlib.import_module(module), name)

    class Kind(type):
        def __instancecheck__(cls, instance: Any) -> bool:
            return not isinstance(sys.modules[module], _Deferred) and isinstance(instance, real())

        def __subclasscheck__(cls, subclass: type) -> bool:
            return not isinstance(sys.modules[module], _Deferred) and issubclass(subclass, real())

        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            _load(module)
            return real()(*args, **kwargs)

        def __getattr__(cls, attribute: str) -> Any:
            _load(module)
            return getattr(real(), attribute)

    return Kind(name, (), {"__module__": module})


def _load(name: str) -> Any:
    module = sys.modules[name]
    if isinstance(module, _Deferred):
        module.load()
    return module


def _graph_break(msg: str = "") -> None:
    """Outside a compilation it does nothing, as torch's own."""


_FUNCTIONS = {"disable": _disable, "graph_break": _graph_break}
