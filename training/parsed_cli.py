"""``TrainCLI`` up to the parsed configuration."""

from collections.abc import Sequence
from typing import Any

import yaml
from jsonargparse import Namespace

from training.checks import check_settings
from training.cli import KEYED_CALLBACKS, TrainCLI
from training.parser import OneSentenceParser


class ParsedCLI(TrainCLI):
    """Parses the options of a fit, checks its settings, and builds and runs nothing.

    Args:
        args: options of a fit, as they would be typed.
        parse: with false there are no options, and ``fit_parser`` is what is wanted.

    Raises:
        ValueError: settings that a fit refuses.
        SystemExit: options that the parser refuses; it has printed why.
    """

    def __init__(self, args: Sequence[str] = (), parse: bool = True) -> None:
        self._parse = parse
        super().__init__(["fit", *args])

    @property
    def fit_parser(self) -> OneSentenceParser:
        """The parser of ``gpu-learning fit``."""
        return self._subcommand_parsers["fit"]  # type: ignore[return-value]

    def plain(self) -> dict[str, Any]:
        """The configuration as plain values, as ``config.yaml`` of the run would hold it."""
        return yaml.safe_load(self.parser.dump(self.config, skip_none=False))["fit"]

    def parse_arguments(self, parser: OneSentenceParser, args: list[str]) -> None:  # type: ignore[override]
        if self._parse:
            super().parse_arguments(parser, args)
        else:
            self.config = Namespace(subcommand="fit", fit=Namespace())

    def before_instantiate_classes(self) -> None:
        if self._parse:
            check_settings(self.config["fit"], KEYED_CALLBACKS)

    def _parse_ckpt_path(self) -> None:
        """No checkpoint is looked up."""

    def _set_seed(self) -> None:
        """Nothing is drawn."""

    def instantiate_classes(self) -> None:
        """Nothing is built."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Nothing runs."""
