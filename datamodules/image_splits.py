"""Which split each image of a folder belongs to, and which images are there twice."""

from collections.abc import Mapping, Sequence

import torch

from datamodules.image_listing import ImageFile, plural, some


def assign_splits(
    files: Sequence[ImageFile],
    digests: Sequence[bytes],
    classes: Sequence[str],
    shares: Mapping[str, float],
    seed: int,
) -> list[str]:
    """``train``, ``val`` or ``test`` for each file.

    A split that has a folder keeps its files. One that has none is cut from the training images of
    each class, by the seed; images with equal digests go into the same split, so that no copy of
    a training image is tested.

    Args:
        files: whole files.
        digests: equal for images that are equal.
        classes: names, for messages.
        shares: of ``val`` and ``test``; each at least one image unless it is 0.
        seed: of the cut.

    Raises:
        ValueError: a class that has fewer different images than splits, or none for training.
    """
    splits = [file.split or "train" for file in files]
    wanted = {name: share for name, share in shares.items() if name not in splits and share}
    assigned: dict[bytes, str] = {}
    for label, name in enumerate(classes):
        rows = [r for r, file in enumerate(files) if file.label == label and splits[r] == "train"]
        if not rows:
            raise ValueError(
                f"none of the training images of {name!r} can be read; replace them, or remove the "
                "folder"
            )
        # A digest of several classes stays where the first of them put it.
        groups = [d for d in dict.fromkeys(digests[row] for row in rows) if d not in assigned]
        counts = {split: max(1, round(share * len(groups))) for split, share in wanted.items()}
        if sum(counts.values()) >= len(groups):
            raise ValueError(
                f"the class {name!r} has {len(groups)} different images, and training, "
                f"{' and '.join(wanted) or 'no other split'} need one each at least; add images, "
                "or set --data.init_args.val_size or --data.init_args.test_size lower"
            )
        generator = torch.Generator().manual_seed(seed * 1_000_003 + label)
        order = torch.randperm(len(groups), generator=generator).tolist()
        for split in ["train"] * (len(groups) - sum(counts.values())):
            assigned[groups[order.pop()]] = split
        for split, count in counts.items():
            for _ in range(count):
                assigned[groups[order.pop()]] = split
    return [
        assigned[digest] if split == "train" else split
        for split, digest in zip(splits, digests, strict=True)
    ]


def report_copies(
    files: Sequence[ImageFile],
    digests: Sequence[bytes],
    splits: Sequence[str],
    classes: Sequence[str],
) -> list[tuple[str, bool]]:
    """Sentences about images that are there more than once, and whether that does harm."""
    first: dict[bytes, int] = {}
    for wanted in ("train", "val", "test"):  # the one that was seen first, in training
        for row, split in enumerate(splits):
            if split == wanted:
                first.setdefault(digests[row], row)
    copies = [(row, first[digest]) for row, digest in enumerate(digests) if first[digest] != row]
    across = [(a, b) for a, b in copies if splits[a] != splits[b]]
    torn = [(a, b) for a, b in copies if files[a].label != files[b].label]
    said = []
    if copies:
        kept = "" if across else "; in the same split"
        same = f"{plural(len(copies), 'duplicate')} of other images{_pairs(files, copies)}{kept}"
        said.append((same, False))
    if across:
        names = " and ".join(sorted({splits[row] for row, _ in across}))
        count = plural(len(across), "duplicate")
        wrong = f"{count} across splits, in {names}{_pairs(files, across)}; scores are too high"
        said.append((f"{wrong}, delete one of each", True))
    if torn:
        labels = [f"{classes[files[a].label]} and {classes[files[b].label]}" for a, b in torn]
        count = plural(len(torn), "image")
        wrong = f"{count} in two classes ({some(dict.fromkeys(labels))}){_pairs(files, torn)}"
        said.append((f"{wrong}; delete the wrong one", True))
    return said


def _pairs(files: Sequence[ImageFile], pairs: Sequence[tuple[int, int]]) -> str:
    return f": {some(f'{files[a].path} = {files[b].path}' for a, b in pairs)}"
