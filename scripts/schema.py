"""``gpu-learning schema``: what may stand in an experiment's YAML, for editors."""

import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.parser import Parser


def main(argv: Sequence[str]) -> int:
    """Prints the schema, or writes it to ``--out``."""
    parser = Parser(
        "gpu-learning schema",
        description="Writes a JSON Schema (draft 2020-12) of the YAML files that -c takes: keys, "
        "types, choices, defaults and docs, for the arguments of each class.",
        epilog="An editor with a YAML language server completes and checks a file whose first "
        "line is: # yaml-language-server: $schema=schema.json",
        allow_abbrev=False,
    )
    parser.add_argument("--out", type=Path, help="file to write; standard output by default")
    parser.add_argument(
        "--import",
        dest="packages",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="a package of your own, whose classes are completed and checked as well; repeatable",
    )
    arguments = parser.parse_args(argv[1:])
    if arguments.out and not arguments.out.parent.is_dir():
        raise ValueError(f"there is no folder {arguments.out.parent}; make it first")

    from training.schema import experiment_schema, written

    text = written(experiment_schema(arguments.packages))
    if arguments.out is None:
        sys.stdout.write(text)
    else:
        arguments.out.write_text(text)
        print(f"{arguments.out}: {len(text):,} bytes", file=sys.stderr)
    return 0
