"""Folders of class folders: which image files there are, and of which class and split."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from inference.images.preprocessing import SUFFIXES

SPLITS = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
_LISTED = 5  # names in a message
# Written by file managers into every folder that was looked at.
_CLUTTER = {"thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class ImageFile:
    """One file; ``split`` is that of its folder, empty where the folder has none."""

    path: Path
    label: int
    split: str


@dataclass(frozen=True)
class Listing:
    """Classes in the order of their labels, image files, and the files that are something else."""

    classes: list[str]
    files: list[ImageFile]
    others: list[Path]
    left_out: list[str]


def list_files(root: Path, wanted: Sequence[str] | None = None) -> Listing:
    """Finds the image files of ``root/CLASS/...`` or ``root/SPLIT/CLASS/...``.

    Args:
        root: the folder.
        wanted: names of the classes, in the order of their labels; all, sorted, if None.

    Raises:
        ValueError: no such folder, fewer than two classes, a class without an image or only
            outside of ``train``, or names that cannot be told apart; each with its remedy.
    """
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise ValueError(
            f"the image folder {root} {what}; name a folder that holds one folder per class with "
            "--data.init_args.root"
        )
    folders = _class_folders(root)
    names = _names(root, folders)
    if wanted is not None and (missing := [name for name in wanted if name not in names]):
        raise ValueError(
            f"{root} has no class {some(missing)}; it has {some(names)}. Name some of them with "
            "--data.init_args.classes, or leave that out"
        )
    classes = list(wanted) if wanted is not None else names
    if len(classes) < 2:
        raise ValueError(
            f"{root} has one class, {some(classes)}, and a classifier needs two at least: put the "
            "images of each class into a folder of its own beside it"
        )
    files: list[ImageFile] = []
    others: list[Path] = []
    for split, name, folder in folders:
        if name in classes:
            images, rest = _images(folder)
            files += [ImageFile(path, classes.index(name), split) for path in images]
            others += rest
    left_out = [name for name in names if name not in classes]
    _check_classes(root, classes, files, folders, others)
    return Listing(classes, files, others, left_out)


def _class_folders(root: Path) -> list[tuple[str, str, Path]]:
    """Split, class and folder of each class folder."""
    inside = _folders(root)
    train = [path for path in inside if path.name.lower() == "train"]
    if not train or not _folders(train[0]):
        if not inside:
            raise ValueError(
                f"{root} holds no folders; put the images of each class into a folder of its own, "
                f"such as {root / 'cat' / '1.jpg'} and {root / 'dog' / '1.jpg'}"
            )
        return [("", unicodedata.normalize("NFC", path.name), path) for path in inside]
    strange = [path.name for path in inside if path.name.lower() not in SPLITS]
    if strange:
        raise ValueError(
            f"{root} holds train, so its folders are splits, and {some(strange)} is none; name "
            "them train, val and test, or move the others away"
        )
    return [
        (SPLITS[path.name.lower()], unicodedata.normalize("NFC", folder.name), folder)
        for path in inside
        for folder in _folders(path)
    ]


def _names(root: Path, folders: Iterable[tuple[str, str, Path]]) -> list[str]:
    """Sorted names of the classes, which become labels in manifests and on screens."""
    names: dict[str, str] = {}
    for _, name, folder in folders:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"the name of the folder {str(folder)!r} is not UTF-8; rename it"
            ) from error
        other = names.setdefault(name.casefold(), name)
        if other != name:
            raise ValueError(
                f"the class folders {other!r} and {name!r} of {root} differ only in case, so a "
                "system such as Windows or macOS takes them for one; rename one of them, or put "
                "their images together"
            )
    return sorted(names.values())


def _check_classes(
    root: Path,
    classes: list[str],
    files: list[ImageFile],
    folders: list[tuple[str, str, Path]],
    others: list[Path],
) -> None:
    kinds = f"{', '.join(sorted(SUFFIXES))}"
    for label, name in enumerate(classes):
        splits = {file.split for file in files if file.label == label}
        if not splits:
            place = next(folder for _, one, folder in folders if one == name)
            there = [path.name for path in others if place in path.parents]
            holds = f"only {some(there)}" if there else "no files"
            raise ValueError(
                f"the class folder {place} holds {holds}; add images ({kinds}), convert what is "
                "there, or remove the folder"
            )
        if splits <= {"val", "test"}:
            raise ValueError(
                f"the class {name!r} is in {some(sorted(splits))} of {root} and not in train, so "
                "nothing could learn it; add training images, or remove its folder there"
            )


def _folders(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if path.is_dir() and path.name[0] not in "._")


def _images(folder: Path) -> tuple[list[Path], list[Path]]:
    """Image files below a folder by their suffix, and the others; hidden files are neither."""
    images, others = [], []
    for place, inside, names in os.walk(folder, followlinks=False):
        inside[:] = sorted(name for name in inside if name[0] != ".")
        for name in sorted(names):
            if name[0] == "." or name.lower() in _CLUTTER:
                continue
            path = Path(place, name)
            (images if path.suffix.lower() in SUFFIXES else others).append(path)
    return images, others


def plural(count: int, noun: str) -> str:
    """``1 image``, ``2 images``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def some(names: Iterable[object]) -> str:
    """The first names of a list and how many more there are."""
    names = [str(name) for name in names]
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def report_others(others: Sequence[Path]) -> str:
    """A sentence about files that are not images, or nothing."""
    if not others:
        return ""
    kinds = Counter(path.suffix.lower() or "no suffix" for path in others)
    counted = ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common(_LISTED))
    return (
        f"{plural(len(others), 'file')} without the suffix of an image ({counted}), left out: "
        f"{some(others)}; convert those that are images to PNG or JPEG, or move them away"
    )
