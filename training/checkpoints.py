"""Whether a checkpoint can be used by a run."""

import zipfile
from pathlib import Path
from typing import Any

import torch
import yaml

from training.checkpoint_names import check_is_there

# What a resumed run must have in common with the run that it continues.
_SAME = ("data", "optimizer", "lr_scheduler")
# What says where a run lies rather than how it is trained.
_APART = ("config", "ckpt_path", "model", "trainer.logger")


def differences(run: Path, config: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Options of a run's ``config.yaml`` and of a configuration that differ, as ``(then, now)``."""
    path = run / "config.yaml"
    if not path.is_file():
        return {}
    then, now = _flat(yaml.safe_load(path.read_text())), _flat(config)
    return {
        key: (then.get(key), now.get(key))
        for key in sorted(then.keys() | now.keys())
        if then.get(key) != now.get(key)
        and not any(key == apart or key.startswith(f"{apart}.") for apart in _APART)
    }


def check_same_run(checkpoint: Path, changed: dict[str, tuple[Any, Any]]) -> None:
    """Refuses to resume with other data or another optimizer.

    Raises:
        ValueError: names each option with both values.
    """
    wrong = {
        key: values
        for key, values in changed.items()
        if key.split(".")[0] in _SAME and key != "data.init_args.root"
    }
    if wrong:
        said = "; ".join(f"--{key} was {then}, not {now}" for key, (then, now) in wrong.items())
        raise ValueError(
            f"{checkpoint} belongs to a run with other settings: {said}. Resume with the same "
            "ones, or start a new run without --ckpt_path"
        )


def _flat(tree: Any, above: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict) or not tree:
        return {above: tree}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{above}.{key}" if above else str(key))
    return flat


# Arguments of a data module that change neither what is measured on nor which part of it.
_SAME_DATA = (
    *("batch_size", "eval_batch_size", "batches", "resident", "num_workers"),
    *("rotate", "shift", "zoom", "augment"),
)


def other_data(path: Path, data: Any) -> str:
    """What a checkpoint was trained on and ``data``, where these differ; otherwise empty.

    Args:
        path: of the checkpoint.
        data: ``class_path`` and ``init_args`` of the data module in use.
    """
    if path.is_dir() or not data:  # sharded
        return ""
    content = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
    then = dict(content.get("datamodule_hyper_parameters") or {})
    before, now = then.pop("_class_path", None), data.class_path
    if before is None:  # a Trainer without LightningCLI does not keep it
        return ""
    if before.rsplit(".", 1)[-1] != now.rsplit(".", 1)[-1]:
        return f"was trained on {before}; the data here is {now}"
    values = dict(data.get("init_args") or {})
    changed = [
        name
        for name, value in values.items()
        if name in then and name not in _SAME_DATA and then[name] != value
    ]
    if not changed:
        return ""
    first, second = (
        ", ".join(f"{name} {source[name]}" for name in changed) for source in (then, values)
    )
    return f"was trained on {now.rsplit('.', 1)[-1]} with {first}; the data here has {second}"


def hyperparameters(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments of the model and of the data module in a checkpoint; empty where it has none."""
    if path.is_dir():  # sharded
        return {}, {}
    content = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
    model, data = (
        {k: v for k, v in dict(content.get(key) or {}).items() if not k.startswith("_")}
        for key in ("hyper_parameters", "datamodule_hyper_parameters")
    )
    return model, data


def check_checkpoint(path: Path, class_path: str, resumes: bool) -> None:
    if path.is_dir() and (path / ".metadata").is_file():  # sharded, as FSDP writes them
        return
    check_is_there(path)
    try:
        # torch does not look at the checksums that a checkpoint's zip has.
        if (broken := zipfile.ZipFile(path).testzip()) is not None:
            raise ValueError(f"{broken} is not what was written")
        checkpoint = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
        made_by = str(checkpoint.get("hyper_parameters", {}).get("_class_path", class_path))
        for key in ("pytorch-lightning_version", "state_dict"):
            checkpoint[key]
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read as a checkpoint of this project: it is cut off, damaged or not "
            "a checkpoint. Take another one, or train again"
        ) from error
    parts = ("optimizer_states", "loops", "callbacks")
    if resumes and (missing := [part for part in parts if part not in checkpoint]):
        raise ValueError(
            f"{path} has no {' and no '.join(missing)}, without which a run cannot go on as it "
            "would have; take a checkpoint that a fit wrote, or start again without --ckpt_path"
        )
    if made_by.rsplit(".", 1)[-1] != class_path.rsplit(".", 1)[-1]:
        raise ValueError(
            f"{path} is a checkpoint of {made_by}, this configuration builds {class_path}; use the "
            "configuration it was trained with"
        )
