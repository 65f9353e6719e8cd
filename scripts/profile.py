"""``gpu-learning profile``: where the time of a training step goes, and what limits it."""

import json
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout

from scripts.parser import Parser
from training.config_files import check_config_files


def main(argv: Sequence[str]) -> int:
    """Prints the table, or with ``--json`` one JSON document."""
    parser = Parser(
        "gpu-learning profile",
        description=__doc__,
        epilog="All other options are those of gpu-learning fit: -c configs/mnist_cnn.yaml ...",
        allow_abbrev=False,
    )
    parser.add_argument("--steps", type=int, default=20, help="how many are recorded (default 20)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments, options = parser.parse_known_args(argv[1:])
    if arguments.steps < 1:
        parser.error(f"--steps must be at least 1, got {arguments.steps}")
    check_config_files(argv)
    # torch's profiler tells every start and stop; read when torch is loaded.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")

    from training.profiling.cli import ProfileCLI
    from training.quiet import quiet

    quiet()
    with redirect_stdout(sys.stderr):  # what the run says is not the report
        cli = ProfileCLI(options, arguments.steps)
    if cli.trainer.is_global_zero:
        profile = cli.profile
        print(json.dumps(profile.as_json(), indent=2) if arguments.json else profile.table())
    return 0
