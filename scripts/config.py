"""``gpu-learning config explain``: every value of a run, and where it comes from."""

import json
from collections.abc import Sequence
from typing import Any

from scripts.parser import Parser
from training.config_files import check_config_files


def main(argv: Sequence[str]) -> int:
    """Prints one line per value, or with ``--json`` one JSON document."""
    parser = Parser(
        "gpu-learning config",
        description="explain prints every value that a fit would run with and where it comes "
        "from: the default of a signature, configs/trainer.yaml, a file of -c, the command line.",
        epilog="All other options are those of gpu-learning fit: -c configs/mnist_cnn.yaml ...",
        allow_abbrev=False,
    )
    parser.add_argument("action", choices=["explain"])
    parser.add_argument("--set", action="store_true", help="leave out defaults of signatures")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments, options = parser.parse_known_args(argv[1:])
    check_config_files(argv)

    from training.explain import explain_config
    from training.quiet import quiet

    quiet()
    values = explain_config(options)
    if arguments.set:
        values = [value for value in values if value.source is not None]
    if arguments.json:
        print(json.dumps([value.as_json() for value in values], indent=2))
        return 0
    rows = [(value.key, _said(value.value), _origin(value)) for value in values]
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    for key, said, origin in rows:
        print(f"{key:<{first}}  {said:<{min(second, 40)}}  {origin}")
    return 0


def _origin(value: Any) -> str:
    if not value.replaced:
        return value.origin
    before = ", ".join(f"{_said(old)} from {source}" for old, source in value.replaced)
    return f"{value.origin}, instead of {before}"


def _said(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value)
