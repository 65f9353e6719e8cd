"""The file of a sweep: an experiment, a metric, and what to vary."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from training.config_files import missing, yaml_fault

_RANGE = ("low", "high", "log", "step")


@dataclass(frozen=True)
class Pruning:
    """When a trial is given up: below the median of the others at the same epoch.

    Args:
        startup_trials: trials that run to their end before any is given up.
        warmup_epochs: epochs that every trial runs.
    """

    startup_trials: int = 5
    warmup_epochs: int = 1


@dataclass(frozen=True)
class Sweep:
    """What a sweep file says.

    Args:
        configs: files of the experiment, as ``-c`` takes them.
        options: further options of every fit, by their dotted names.
        space: what varies, by dotted names.
        metric: a logged validation metric; each fit counts with its best epoch.
        mode: ``max`` or ``min``.
        trials: how many there are in all, whichever worker runs them.
        seeds: each trial is a fit with each of them, and counts with the mean.
        pruning: None to run every trial to its end.
    """

    configs: tuple[str, ...]
    space: Mapping[str, BaseDistribution]
    metric: str = "val/acc"
    mode: str = "max"
    trials: int = 20
    seeds: tuple[int, ...] = (0, 1, 2)
    options: Mapping[str, Any] = field(default_factory=dict)
    pruning: Pruning | None = field(default_factory=Pruning)

    def arguments(self, values: Mapping[str, Any], seed: int) -> list[str]:
        """Options of the fit with ``values`` of the space, as they would be typed."""
        typed = [part for config in self.configs for part in ("-c", config)]
        settings = {
            **self.options,
            **values,
            "checkpoint.monitor": self.metric,
            "checkpoint.mode": self.mode,
            "seed_everything": seed,
        }
        return typed + [f"--{name}={_typed(value)}" for name, value in settings.items()]

    def identity(self) -> dict[str, Any]:
        """What trials must have in common to be compared, as plain values."""
        kinds = {
            name: f"{type(one).__name__.removesuffix('Distribution')}{_plain(one)}"
            for name, one in self.space.items()
        }
        return {
            "config": ", ".join(self.configs),
            "metric": f"{self.metric} ({self.mode})",
            "seeds": str(list(self.seeds)),
            **{f"options: {name}": _typed(value) for name, value in self.options.items()},
            **{f"space: {name}": kind for name, kind in kinds.items()},
        }

    def corners(self) -> list[dict[str, Any]]:
        """Values of the space among which each limit and each choice occurs once."""
        sides = {name: _values(one) for name, one in self.space.items()}
        longest = max(map(len, sides.values()))
        return [
            {name: side[min(row, len(side) - 1)] for name, side in sides.items()}
            for row in range(longest)
        ]


def decoded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a trial as options take them; lists are stored as JSON."""
    return {
        name: json.loads(value) if isinstance(value, str) and value[:1] in "[{" else value
        for name, value in values.items()
    }


_KEYS = ("config", "space", "metric", "mode", "trials", "seeds", "options", "pruning")


def read_sweep(path: Path) -> Sweep:
    """Reads a sweep file.

    Raises:
        ValueError: what it must not be, with the key.
    """
    if not path.is_file():
        raise ValueError(f"there is no sweep file {missing(path)}")
    if fault := yaml_fault(path, f"a sweep is a mapping with the keys {', '.join(_KEYS)}"):
        raise ValueError(fault)
    try:
        return _sweep(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _sweep(tree: dict[Any, Any]) -> Sweep:
    if "model" in tree and "space" not in tree:
        raise ValueError(
            "this is an experiment; a sweep names it under its key config, as in "
            "configs/sweeps/digits_cnn.yaml"
        )
    _refuse_unknown(tree, _KEYS)
    for key in ("config", "space"):
        if key not in tree:
            raise ValueError(f"the key {key} is missing")
    space = tree["space"]
    if not isinstance(space, dict) or not space:
        raise ValueError(
            "space is empty; name what varies, such as model.init_args.lr: "
            "{low: 1.0e-4, high: 1.0e-1, log: true}"
        )
    options = tree.get("options") or {}
    if not isinstance(options, dict):
        raise ValueError(f"options must be a mapping of dotted names to values, got {options!r}")
    if both := sorted(set(space) & set(options)):
        raise ValueError(f"{both[0]} is in space and in options; leave it in one of them")
    for name in (*space, *options):
        if name in ("seed_everything", "checkpoint.monitor", "checkpoint.mode"):
            raise ValueError(f"{name} is set by the sweep: use the keys seeds, metric and mode")
    configs = tree["config"] if isinstance(tree["config"], list) else [tree["config"]]
    if not configs or not all(isinstance(config, str) for config in configs):
        raise ValueError("config must be a file or a list of files, as -c takes them")
    return Sweep(
        configs=tuple(configs),
        space={name: _distribution(name, entry) for name, entry in space.items()},
        options=options,
        pruning=_pruning(tree.get("pruning", {})),
        **_settings(tree),
    )


def _settings(tree: dict[str, Any]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    settings |= {key: tree[key] for key in ("metric", "mode") if key in tree}
    if not isinstance(settings.get("metric", "val/acc"), str):
        raise ValueError(f"metric must be the name of a logged value, got {tree['metric']!r}")
    if settings.get("mode", "max") not in ("max", "min"):
        raise ValueError(f"mode must be max or min, got {tree['mode']!r}")
    if "trials" in tree:
        settings["trials"] = _whole("trials", tree["trials"], 1)
    if "seeds" in tree:
        seeds = tree["seeds"]
        if not isinstance(seeds, list) or not seeds or len(set(map(str, seeds))) != len(seeds):
            raise ValueError(f"seeds must be a list of different whole numbers, got {seeds!r}")
        settings["seeds"] = tuple(_whole("seeds", seed, 0) for seed in seeds)
    return settings


def _pruning(entry: Any) -> Pruning | None:
    if entry is None:
        return None
    if not isinstance(entry, dict):
        raise ValueError(
            f"pruning must be null or {{startup_trials: 5, warmup_epochs: 1}}, got {entry!r}"
        )
    _refuse_unknown(entry, ("startup_trials", "warmup_epochs"))
    return Pruning(**{name: _whole(name, value, 0) for name, value in entry.items()})


def _distribution(name: str, entry: Any) -> BaseDistribution:
    if not isinstance(entry, dict):
        raise ValueError(
            f"space: {name} must be {{low: A, high: B}} or {{choices: [...]}}, got {entry!r}"
        )
    _refuse_unknown(entry, (*_RANGE, "choices"), f"space: {name}: ")
    if "choices" in entry:
        choices = entry["choices"]
        if len(entry) > 1 or not isinstance(choices, list) or not choices:
            raise ValueError(f"space: {name}: choices must be a list, and stand alone")
        stored = [
            json.dumps(one) if isinstance(one, list | dict) else one  # what a database can keep
            for one in choices
        ]
        if len({repr(one) for one in stored}) != len(stored):
            raise ValueError(f"space: {name}: choices must be different, got {choices}")
        return CategoricalDistribution(stored)
    return _range(name, entry)


def _range(name: str, entry: dict[str, Any]) -> BaseDistribution:
    for key in ("low", "high"):
        if isinstance(entry.get(key), bool) or not isinstance(entry.get(key), int | float):
            raise ValueError(
                f"space: {name}: {key} must be a number, got {entry.get(key)!r}"
                " (YAML takes 1e-3 for a string; write 1.0e-3)"
            )
    low, high, log, step = entry["low"], entry["high"], entry.get("log"), entry.get("step")
    if not isinstance(log, bool | None):
        raise ValueError(f"space: {name}: log must be true or false, got {log!r}")
    if low >= high:
        raise ValueError(f"space: {name}: low must be below high, got {low} and {high}")
    try:
        if isinstance(low, int) and isinstance(high, int) and not isinstance(step, float):
            return IntDistribution(low, high, log=bool(log), step=1 if step is None else step)
        return FloatDistribution(low, high, log=bool(log), step=step)
    except (TypeError, ValueError) as error:
        raise ValueError(f"space: {name}: {error}") from error


def _whole(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
    return value


def _refuse_unknown(tree: dict[Any, Any], known: tuple[str, ...], where: str = "") -> None:
    for key in tree:
        if key not in known:
            near = get_close_matches(str(key), known, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; it takes {', '.join(known)}"
            raise ValueError(f"{where}there is no key {key!r}{hint}")


def _values(distribution: BaseDistribution) -> list[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return list(decoded(dict(enumerate(distribution.choices))).values())  # type: ignore[arg-type]
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return [distribution.low, distribution.high]


def _plain(distribution: BaseDistribution) -> dict[str, Any]:
    return {key: value for key, value in vars(distribution).items() if value not in (None, False)}


def _typed(value: Any) -> str:
    """A value as YAML on one line; floats keep all their digits."""
    return value if isinstance(value, str) else json.dumps(value)
