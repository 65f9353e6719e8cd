"""Runs the clients that are installed and prints the table of docs/serving.md.

``python -m tests.serving.clients``; ends with pytest's exit code.
"""

import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from tests.serving.clients.test_javascript import FOLDER

CHECKS = ("chat", "stream", "embeddings", "schema", "unknown_model")


class Table:
    """Collects the outcome of every check: a cell is "yes" if all tests of it passed."""

    def __init__(self) -> None:
        self.packages: dict[str, tuple[str, str]] = {}
        self.outcomes: dict[tuple[str, str], dict[str, set[str]]] = defaultdict(
            lambda: defaultdict(set)
        )

    def pytest_itemcollected(self, item: pytest.Function) -> None:
        given = getattr(item, "callspec", None)
        package = given.params.get("package") if given else None
        if package:
            self.packages[item.nodeid] = ("npm", package)
        else:
            self.packages[item.nodeid] = ("PyPI", item.module.PACKAGE)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        check = report.nodeid.split("::test_")[1].split("[")[0]
        if report.skipped or report.failed or report.when == "call":
            self.outcomes[self.packages[report.nodeid]][check].add(report.outcome)

    def lines(self) -> list[str]:
        """Markdown; a client that was skipped has no row."""
        head = ["client", "version", *(check.replace("_", " ") for check in CHECKS)]
        rows = [head, ["---"] * len(head)]
        for source, package in self.outcomes:
            found = self.outcomes[source, package]
            if {"skipped"} in found.values():
                continue
            cells = [_cell(found.get(check, set())) for check in CHECKS]
            rows.append([f"`{package}` ({source})", _version(source, package), *cells])
        return [f"| {' | '.join(row)} |" for row in rows]


def _cell(outcomes: set[str]) -> str:
    if not outcomes:
        return ""
    return "yes" if outcomes == {"passed"} else "**no**"


def _version(source: str, package: str) -> str:
    if source == "PyPI":
        try:
            return version(package)
        except PackageNotFoundError:  # a command in an environment of its own
            python = Path(shutil.which(package) or "").with_name("python")
            code = f"from importlib.metadata import version; print(version({package!r}))"
            return subprocess.check_output([python, "-c", code], text=True).strip()
    manifest = Path(str(FOLDER)) / "node_modules" / package / "package.json"
    return json.loads(manifest.read_text())["version"]


def main() -> int:
    # Some clients bring plugins of pytest's, which are not what is tested.
    os.environ.setdefault("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    table = Table()
    code = pytest.main(["-q", str(Path(__file__).parent), *sys.argv[1:]], plugins=[table])
    print("", *table.lines(), sep="\n")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
