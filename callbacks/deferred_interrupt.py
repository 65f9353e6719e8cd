"""Ctrl-C at a moment when the state of a run can be kept."""

import os
import signal
import threading


class DeferredInterrupt:
    """Remembers the first Ctrl-C until :meth:`raise_if_asked`; a second one interrupts at once.

    Installed in the main thread alone, and only over Python's own handler.
    """

    def __init__(self) -> None:
        self.asked = False

    def install(self) -> None:
        self.asked = False
        in_main_thread = threading.current_thread() is threading.main_thread()
        if in_main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._ask)

    def remove(self) -> None:
        if signal.getsignal(signal.SIGINT) == self._ask:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def raise_if_asked(self) -> None:
        if self.asked:
            raise KeyboardInterrupt

    def _ask(self, *_: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        # print() must not be called while the interrupted code prints.
        os.write(2, b"\ngpu-learning: ends after this step; Ctrl-C again ends at once\n")
