"""The process around a command: its streams, its log, and what ends it early."""

import io
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


def make_streams_bear_all() -> None:
    """Let nothing that is printed be an error: no closed stream, no letter that it has not."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            # Opened before all else, so that it takes the closed stream's number.
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def show_log() -> None:
    """Let the core's log appear on stderr, one line a message."""
    log = logging.getLogger(__package__)
    if not log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
    log.setLevel(logging.INFO)


class Interrupt:
    """Ctrl-C's handler. During imports it waits: there it may be lost, or leave half a library."""

    def __init__(self) -> None:
        """Wait with it until :meth:`wait_no_more`."""
        self.came, self._waits = False, True

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Let it through, or note that it came."""
        del number, frame
        self.came = True
        if not self._waits:
            raise KeyboardInterrupt

    def wait_no_more(self) -> None:
        """Let it through from now on, and what came before, too."""
        self._waits = False
        if self.came:
            raise KeyboardInterrupt


@contextmanager
def signals(interrupt: Interrupt) -> Iterator[None]:
    """Let Ctrl-C, a polite kill and a closed terminal unwind the program.

    So half-written files are removed.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        for polite in handlers:  # a terminal that closes may say so twice
            signal.signal(polite, signal.SIG_IGN)
        raise SystemExit(128 + number)

    handlers: dict[int, Any] = {signal.SIGTERM: stop}
    hangup = getattr(signal, "SIGHUP", None)  # not on Windows
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:  # nohup ignores it
        handlers[hangup] = stop
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not ignored
        handlers[signal.SIGINT] = interrupt
    try:
        before = {number: signal.signal(number, stop) for number, stop in handlers.items()}
    except ValueError:  # not the main thread: whoever started it owns the signals
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
