"""Says that torch is being imported, for which a command seems to hang for seconds."""

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType

SENTENCE = "starting torch, which takes a few seconds"


def announce_torch() -> None:
    """From now on the first import of torch is announced on standard error, once per process.

    Commands differ in when they import it, and an option such as ``--help`` or a mistake in one may
    end them before. Of processes that Lightning or torchrun started, the first one speaks.
    """
    if "torch" in sys.modules or os.environ.get("LOCAL_RANK", "0") != "0":
        return
    if not any(isinstance(finder, _Announcer) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Announcer())


class _Announcer(MetaPathFinder):
    """Finds nothing, so that the next finder does."""

    said = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        if fullname == "torch" and not self.said:
            self.said = True
            print(SENTENCE, file=sys.stderr, flush=True)
