"""Folders that are no set of images, each with what to do about it."""

import unicodedata
from pathlib import Path

import pytest

from datamodules.image_listing import list_files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "photos"


def put(root: Path, *names: str) -> Path:
    root.mkdir(exist_ok=True)
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def test_class_folders_are_walked_and_clutter_is_neither_image_nor_other(root: Path) -> None:
    put(root, "b/1.PNG", "b/deep/2.jpeg", "a/3.webp", "a/notes.txt", "a/.DS_Store")
    put(root, "b/Thumbs.db", ".git/config", "README.md")
    found = list_files(root)
    assert found.classes == ["a", "b"]
    assert [(file.path.name, file.label, file.split) for file in found.files] == [
        ("3.webp", 0, ""),
        ("1.PNG", 1, ""),
        ("2.jpeg", 1, ""),
    ]
    assert [path.name for path in found.others] == ["notes.txt"]


def test_folders_named_as_splits_are_splits(root: Path) -> None:
    put(root, "train/a/1.png", "train/b/2.png", "validation/a/3.png", "Test/b/4.png")
    found = list_files(root)
    assert {file.path.name: file.split for file in found.files} == {
        "1.png": "train",
        "2.png": "train",
        "3.png": "val",
        "4.png": "test",
    }


def test_a_class_may_be_called_train(root: Path) -> None:
    put(root, "train/1.png", "bus/2.png")
    assert list_files(root).classes == ["bus", "train"]


def test_names_are_labels_in_one_spelling(root: Path) -> None:
    """macOS writes an umlaut as two characters."""
    put(root, f"train/{unicodedata.normalize('NFD', 'Äpfel')}/1.png", "train/b/2.png")
    put(root, f"test/{unicodedata.normalize('NFC', 'Äpfel')}/3.png")
    found = list_files(root)
    assert found.classes == ["b", "Äpfel"]
    assert [file.label for file in found.files if file.split == "test"] == [1]


def test_classes_can_be_chosen_and_ordered(root: Path) -> None:
    put(root, "a/1.png", "b/2.png", "c/3.png")
    found = list_files(root, ["c", "a"])
    assert [(file.path.name, file.label) for file in found.files] == [("1.png", 1), ("3.png", 0)]
    assert found.left_out == ["b"]


@pytest.mark.parametrize(
    ("names", "classes", "message"),
    [
        ([], None, "holds no folders; put the images of each class into a folder"),
        (["1.png"], None, "holds no folders"),
        (["a/1.png"], None, "has one class, a, and a classifier needs two"),
        (["a/1.png", "b/.keep"], None, "folder .*/b holds no files; add images"),
        (["a/1.png", "b/x.txt", "b/y.heic"], None, "b holds only x.txt, y.heic; add images"),
        (["Cat/1.png", "cat/2.png"], None, "'Cat' and 'cat' .* differ only in case"),
        (["train/a/1.png", "train/b/2.png", "test/A/3.png"], None, "differ only in case"),
        (
            ["train/a/1.png", "train/b/2.png", "test/c/3.png"],
            None,
            "'c' is in test .* not in train",
        ),
        (["train/a/1.png", "train/b/2.png", "extra/a/3.png"], None, "and extra is none; name them"),
        (["a/1.png", "b/2.png"], ["a", "x"], "no class x; it has a, b. Name some"),
        (["a/1.png", "b/2.png"], ["a"], "one class"),
    ],
)
def test_what_is_refused(
    root: Path, names: list[str], classes: list[str] | None, message: str
) -> None:
    put(root, *names)
    with pytest.raises(ValueError, match=message):
        list_files(root, classes)


def test_a_root_that_is_no_folder(root: Path) -> None:
    with pytest.raises(ValueError, match=r"does not exist; name a folder .* --data.init_args.root"):
        list_files(root)
    with pytest.raises(ValueError, match="is a file"):
        list_files(put(root, "one") / "one")
