"""Requests to stop: which signals, how often, and what a handler may print."""

from __future__ import annotations

import io
import os
import signal
import sys

import pytest

from patchaug.core.stop_signals import on_stop_signal, print_in_handler

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")


class Signalled(io.RawIOBase):
    """A raw stream that gets a signal within each write, as a process may when its reader answers at once."""

    def __init__(self, number: signal.Signals) -> None:
        self.read_end, self.write_end = os.pipe()
        self.number = number

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.write_end

    def write(self, data) -> int:
        count = os.write(self.write_end, bytes(data))
        signal.raise_signal(self.number)
        return count

    def text(self) -> str:
        os.close(self.write_end)
        with os.fdopen(self.read_end) as stream:
            return stream.read()


def test_a_signal_within_a_write_to_stderr_is_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python refuses a second write through the same buffer: the line is written past it, and nothing is raised."""
    raw, names = Signalled(signal.SIGTERM), []
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BufferedWriter(raw), line_buffering=True))

    def request(name: str) -> None:
        names.append(name)
        print_in_handler(f"{name}: the run ends")

    with on_stop_signal(request):
        print("epoch 1", file=sys.stderr, flush=True)
        print("epoch 2", file=sys.stderr, flush=True)
    assert names == ["SIGTERM"]
    assert raw.text() == "epoch 1\nSIGTERM: the run ends\nepoch 2\n"


def test_without_a_terminal_nothing_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closed, gone, or absent."""
    for stream in (io.StringIO(), os.fdopen(os.open("/dev/full", os.O_WRONLY), "w"), None):
        monkeypatch.setattr(sys, "stderr", stream)
        if isinstance(stream, io.StringIO):
            stream.close()
        print_in_handler("SIGHUP")
        monkeypatch.undo()


def test_the_second_ctrl_c_interrupts() -> None:
    """The first one and SIGTERM do not; handlers are put back."""
    ignored = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # by `nohup pytest`, perhaps
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    for first in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        names: list[str] = []
        with on_stop_signal(names.append):
            signal.raise_signal(first)
            signal.raise_signal(signal.SIGTERM)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert names == [first.name]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
    signal.signal(signal.SIGHUP, ignored)


def test_an_ignored_signal_stays_ignored() -> None:
    """As for `nohup patchaug train`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        names: list[str] = []
        with on_stop_signal(names.append):
            signal.raise_signal(signal.SIGHUP)
        assert names == [] and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
