"""Commands in forks of a process that has imported everything and computed nothing.

A fork of the test process itself would inherit its CUDA context and autograd's threads, with which
nothing can be trained.
"""

import multiprocessing
import os
import sys
import warnings
from pathlib import Path

import torch

from scripts.cli import main


def in_a_fork(arguments: list[str], log: Path) -> int:
    """Exit status of a ``gpu-learning`` command, negative for a signal; ``log`` has its output."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.helpers.forks", "training.cli"])
    process = context.Process(target=_run, args=(arguments, Path.cwd(), log))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _run(arguments: list[str], folder: Path, log: Path) -> None:
    os.chdir(folder)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    code = 70
    try:
        warnings.simplefilter("ignore")
        torch.set_num_threads(1)
        code = main(arguments)
    except BaseException as error:
        print(repr(error), file=sys.stderr)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
