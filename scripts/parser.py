"""The argument parser of the commands: a mistake is one sentence that suggests the nearest name."""

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """ArgumentParser that suggests options and choices, and prints one line of usage, not all.

    Python 3.14 has ``suggest_on_error``, for choices alone.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Or a misspelled option is taken for the one that it begins: --max-new-token.
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        """As ArgumentParser's; an unknown option is answered by the parser that was asked for."""
        given, rest = self.parse_known_args(args, namespace)
        if rest:
            self._chosen(given).refuse_unknown(rest)
        return given

    def refuse_unknown(self, words: Sequence[str]) -> NoReturn:
        """Ends the process for words that :meth:`parse_known_args` has left over."""
        wrong = next((word for word in words if word.startswith("-")), None)
        if wrong is None:
            self.error(f"unexpected argument {words[0]!r}")
        name = wrong.partition("=")[0]
        self.error(f"there is no option {name}{_suggest(name, self._option_string_actions)}")

    def error(self, message: str) -> NoReturn:
        """Prints the sentence and one line of usage; exit code 2."""
        if match := re.search(r"invalid choice: '?(.*?)'? \(choose from (.*)\)", message):
            choices = [choice.strip("' ") for choice in match[2].split(",")]
            near = _suggest(match[1], choices) or f"; choose from {', '.join(choices)}"
            where = message[: match.start()].removeprefix("argument ")
            message = f"{where}there is no {match[1]!r}{near}"
        if match := re.fullmatch(r"the following arguments are required: ([^,]+)", message):
            message += self._told(match[1])
        print(f"gpu-learning: error: {message}", file=sys.stderr)
        print(f"{self._brief()}; --help says more", file=sys.stderr)
        self.exit(2)

    def _told(self, missing: str) -> str:
        """What an argument is, from its help."""
        told = (one.help for one in self._actions if missing in (one.dest, one.metavar))
        return next((f" ({text})" for text in told if text), "")

    def _brief(self) -> str:
        """``usage: gpu-learning generate [OPTIONS] model [prompt]``."""
        if self.usage:
            return " ".join(self.format_usage().split())
        formatter = self._get_formatter()
        formatter.add_usage(
            None, [action for action in self._actions if not action.option_strings], [], ""
        )
        positional = " ".join(formatter.format_help().split()).removeprefix(self.prog)
        return f"usage: {self.prog} [OPTIONS]{positional}"

    def _chosen(self, given: Any) -> "Parser":
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                return action.choices.get(getattr(given, action.dest), self)
        return self


def _suggest(wrong: str, names: Iterable[str]) -> str:
    plain = {name.lstrip("-"): name for name in names}
    near = get_close_matches(wrong.lstrip("-"), plain, n=1)
    return f"; did you mean {plain[near[0]]}?" if near else ""
