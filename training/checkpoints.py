"""Checkpoints of an experiment: where they are, and whether one can be used."""

import zipfile
from pathlib import Path
from typing import Any

import torch


def experiment_folder(config: Any) -> Path:
    """Folder of the experiment's runs, ``logs/<name>``."""
    logger = config.trainer.logger
    if not hasattr(logger, "init_args"):
        raise ValueError(
            "--ckpt_path last and best are looked up in the logger's folder, and the logger is "
            "off; give the file's path instead"
        )
    return Path(logger.init_args.save_dir) / logger.init_args.name


def newest_checkpoint(folder: Path, name: str) -> Path:
    found = sorted(folder.glob(f"*/checkpoints/{name}.ckpt"), key=lambda p: p.stat().st_mtime)
    if not found:
        raise ValueError(f"there is no {name}.ckpt under {folder}; train first: gpu-learning fit")
    return found[-1]


def check_checkpoint(path: Path, class_path: str, resumes: bool) -> None:
    if path.is_dir() and (path / ".metadata").is_file():  # sharded, as FSDP writes them
        return
    if not path.is_file():
        raise ValueError(f"the checkpoint {path} does not exist, or is no file")
    try:
        # torch does not look at the checksums that a checkpoint's zip has.
        if (broken := zipfile.ZipFile(path).testzip()) is not None:
            raise ValueError(f"{broken} is not what was written")
        checkpoint = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
        made_by = str(checkpoint["hyper_parameters"].get("_class_path", class_path))
        for key in ("pytorch-lightning_version", "state_dict"):
            checkpoint[key]
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read as a checkpoint of this project "
            f"({type(error).__name__}); it is damaged or something else. "
            "Take another one, or train anew"
        ) from error
    parts = ("optimizer_states", "loops", "callbacks")
    if resumes and (missing := [part for part in parts if part not in checkpoint]):
        raise ValueError(
            f"{path} has no {' and no '.join(missing)}, without which a run cannot go on as it "
            "would have; take a checkpoint that a fit wrote, or start anew without --ckpt_path"
        )
    if made_by.rsplit(".", 1)[-1] != class_path.rsplit(".", 1)[-1]:
        raise ValueError(
            f"{path} is a checkpoint of {made_by}, this configuration builds {class_path}; use the "
            "configuration it was trained with"
        )
