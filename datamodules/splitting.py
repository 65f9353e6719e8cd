"""Examples to train on and examples to hold out."""

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import torch

T = TypeVar("T")


def split(
    examples: Sequence[T], val_size: int, seed: int, group: Callable[[T], Hashable]
) -> tuple[list[T], list[T]]:
    """Examples to train on, in random order, and others to hold out.

    Examples of one group are never in both; so fewer than ``val_size`` are held out where the next
    groups are too large.

    Raises:
        ValueError: nothing would be left to train on, or every group is larger than ``val_size``.
    """
    if val_size >= len(examples):
        raise ValueError(
            f"val_size={val_size} leaves none of the {len(examples)} examples to train on; set "
            "--data.init_args.val_size 0, or to fewer than there are"
        )
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed)).tolist()
    mixed = [examples[number] for number in order]
    groups: dict[Hashable, list[T]] = {}
    for example in mixed:
        groups.setdefault(group(example), []).append(example)
    val, train_groups = [], set()
    for key, members in groups.items():
        if len(val) + len(members) <= val_size:
            val += members
        else:
            train_groups.add(key)
    if val_size and not val:
        raise ValueError(
            f"each question occurs more than val_size={val_size} times, and equal ones are held "
            f"out together; set --data.init_args.val_size {min(map(len, groups.values()))} or more"
        )
    train = [example for example in mixed if group(example) in train_groups]
    if not train:
        raise ValueError(f"val_size={val_size} leaves none of the {len(examples)} examples")
    return train, val
