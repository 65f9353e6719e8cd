"""A learner's code in a process of its own, with limits on time, memory and network.

The processes are forks of one that has imported torch, so that a check takes a fraction of a
second; where there is no fork each imports torch itself, and so do those of kernels, as numba and
Triton read their environment variables once. Code that means harm is not held off: it runs with
the rights of whoever checks it.
"""

import json
import multiprocessing
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from course.catalogue import read
from course.exercises.source import FAIL, Exercise, Verdict, refuse
from course.kernels import environment

LIMIT = 10.0  # seconds that a learner's file may take
_GRACE = 5.0  # more, for code that does not notice the limit
_IMPORT = 600.0  # until torch is imported, on a machine that does other things, too
_MEMORY = 4 << 30  # bytes more than torch itself takes
_PRINTS = 10_000  # characters of the learner's prints that are kept


@dataclass(frozen=True)
class Checked:
    """Outcome of one file: status and sentence of its verdict, what its code printed, warnings
    that lines of it caused, and the function at fault, if it is known."""

    exercise: Exercise
    path: Path
    status: str
    sentence: str
    printed: str
    warned: tuple[str, ...] = ()
    function: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "step": self.exercise.lesson.step,
            "name": self.exercise.name,
            "file": str(self.path),
            "status": self.status,
            "sentence": self.sentence,
            "printed": self.printed,
            "warnings": list(self.warned),
        }


def prepare(exercises: Sequence[Exercise]) -> None:
    """Names what is imported once for all checks; to be called before the first one."""
    forked = [e for e in exercises if _method(e) == "forkserver"]
    if forked:
        modules = [f"course.exercises.step{e.stem}" for e in forked]
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["course.exercises.attempt", *modules])


def check(exercise: Exercise, path: Path, limit: float = LIMIT) -> Checked:
    """Judges one file in a process of its own, if it has to be run for that."""
    if verdict := refuse(exercise, path):
        return Checked(exercise, path, verdict.status, verdict.sentence, "")
    try:
        environment.require(exercise.lesson.needs)
    except environment.Unavailable as missing:
        return Checked(exercise, path, FAIL, f"{path.name} {missing}", "")
    context: Any = multiprocessing.get_context(_method(exercise))
    result, result_end = context.Pipe(duplex=False)
    prints, prints_end = context.Pipe(duplex=False)
    process = context.Process(
        target=_serve, args=(result_end, prints_end, exercise.name, str(path.absolute()), limit)
    )
    with environment.applied() if exercise.lesson.needs else nullcontext():
        process.start()
    result_end.close()
    prints_end.close()
    kept: list[str] = []
    reader = threading.Thread(target=_collect, args=(prints, kept), daemon=True)
    reader.start()
    try:
        verdict, warned = _await(result, process, path, limit)
    finally:
        process.kill()
        process.join()
    reader.join(timeout=_GRACE)  # a process that the learner's code left behind may hold the pipe
    said = "".join(kept)[:_PRINTS]
    status, sentence = verdict.status, verdict.sentence
    return Checked(exercise, path, status, sentence, said, tuple(warned), verdict.function)


def _method(exercise: Exercise) -> str:
    return "spawn" if exercise.lesson.needs or sys.platform == "win32" else "forkserver"


def _await(result: Connection, process: Any, path: Path, limit: float) -> tuple[Verdict, list[str]]:
    out_of_time = f"{path.name} runs longer than {limit:g} seconds and was stopped"
    try:
        if not result.poll(_IMPORT):
            raise RuntimeError(f"torch was not imported within {_IMPORT:g} seconds")
        result.recv_bytes()  # ready; from here on it is the learner's time
        if not result.poll(limit + _GRACE):
            return Verdict(FAIL, f"{out_of_time}; is there a loop that never ends?"), []
        answer = json.loads(result.recv_bytes())
    except EOFError:
        process.join()
        code = process.exitcode
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        sentence = f"{path.name} ends the whole process ({how}) before its check is done"
        return Verdict(FAIL, sentence), []
    verdict, warned = Verdict(**answer["verdict"]), answer["warnings"]
    if verdict.status == "out of time":
        sentence = f"{out_of_time}{verdict.sentence}; is there a loop that never ends?"
        return Verdict(FAIL, sentence, verdict.function), warned
    return verdict, warned


def _collect(prints: Connection, kept: list[str]) -> None:
    """Reads prints to their end and keeps the first ones."""
    size = 0
    with open(os.dup(prints.fileno()), encoding="utf-8", errors="replace") as stream:
        while part := stream.read(1024):
            if size < _PRINTS:
                kept.append(part)
            size += len(part)


def _serve(result: Connection, prints: Connection, name: str, file: str, limit: float) -> None:
    """In the new process."""
    for stream in (1, 2):
        os.dup2(prints.fileno(), stream)
    sys.stdout.reconfigure(line_buffering=True)  # what was printed before a kill is kept
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that waits
    from course.exercises import attempt

    exercise = next(Exercise(lesson) for lesson in read() if lesson.name == name)
    exercise.load()
    sys.dont_write_bytecode = True
    _limit_memory()
    sys.addaudithook(_no_network)
    result.send_bytes(b"ready")
    path = Path(file)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        try:
            _start_clock(limit)
            verdict = attempt.judge(exercise, path)
        except attempt.OutOfTime as stopped:
            line = attempt.line_in(path, stopped)
            verdict = Verdict("out of time", line, stopped.function)
        finally:
            _start_clock(0)
    sys.stdout.flush()
    warned = [_line(one) for one in caught if one.filename == file]
    answer = {"verdict": asdict(verdict), "warnings": warned}
    result.send_bytes(json.dumps(answer).encode())


def _line(warning: warnings.WarningMessage) -> str:
    """A warning in one line; torch ends its own with the place in C++ that it comes from."""
    said = re.sub(r" \(Triggered internally at .*", "", " ".join(str(warning.message).split()))
    return f"line {warning.lineno}: {said}"


def _start_clock(seconds: float) -> None:
    if not hasattr(signal, "setitimer"):
        return  # Windows: the process that waits ends this one

    def stop(*_: Any) -> None:
        from course.exercises.attempt import OutOfTime

        raise OutOfTime

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    status = Path("/proc/self/status")
    if not status.is_file():
        return
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmData"))
    most = int(line.split()[1]) * 1024 + _MEMORY
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def _no_network(event: str, _: tuple) -> None:
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        raise PermissionError("an exercise has no network; what it needs is in its arguments")
