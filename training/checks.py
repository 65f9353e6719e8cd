"""Whether the parts of a run belong together."""

from collections.abc import Iterable
from typing import Any


def check_parts(model: Any, data: Any, callbacks: Iterable[Any]) -> None:
    """Compares what the parts say that an example is; one that says nothing fits all."""
    gives = getattr(data, "gives", None)
    for part in (model, *callbacks):
        reads = getattr(part, "reads", None)
        if reads and gives and reads != gives:
            other = "take that callback out" if part is not model else "take a model that does"
            raise ValueError(
                f"{type(part).__name__} is for {reads}, and {type(data).__name__} gives {gives}; "
                f"name a data module that gives {reads} with --data, or {other}"
            )
    classes, outputs = getattr(data, "classes", None), getattr(model, "num_classes", None)
    if classes and outputs and len(classes) > outputs:
        raise ValueError(
            f"{type(data).__name__} gives {len(classes)} classes, {type(model).__name__} tells "
            f"{outputs} apart; set --model.init_args.num_classes {len(classes)}, or choose some "
            "with --data.init_args.classes"
        )
