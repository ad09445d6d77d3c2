"""This process's connection to its program for requests; a forked child starts one of its own."""

from __future__ import annotations

import atexit
import json
import math
import os
import select
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from patchaug.errors import OptionError, ReadError

SECONDS = 60.0  # time after which a request is given up, all tries together
VARIABLE = "PATCHAUG_REMOTE_SECONDS"
_GRACE = 5.0  # seconds that the program may be late with its own answer
_PIPE = 1 << 20

Answer = tuple[dict[str, Any], memoryview]


class Connection(Protocol):
    """Where requests go."""

    def ask(self, message: dict[str, Any]) -> tuple[dict[str, Any], memoryview]:
        """Send a message and wait for its answer: the JSON, and the bytes."""

    def tell(self, message: dict[str, Any]) -> None:
        """Send a message that has no answer."""

    def close(self) -> None:
        """End it."""


class _LostError(Exception):
    """The program has ended, or does not answer."""


class _Program:
    """A started program, and the answers that have come for threads of this process."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        file = Path(__file__).with_name("program.py")
        paths = os.pathsep.join(entry for entry in sys.path if entry)
        commands, self._to = os.pipe()  # numbers rather than files, which a forked child would close at its end
        self._from, answers = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(file), repr(seconds)], stdin=commands, stdout=answers,
                env={**os.environ, "PYTHONPATH": paths},
            )  # fmt: skip
        except OSError as error:
            self.leave()
            raise ReadError(f"the process for requests cannot be started ({error.strerror or error})") from None
        finally:
            os.close(commands)
            os.close(answers)
        _widen(self._from)
        self._writing, self._changed = threading.Lock(), threading.Condition()
        self._reading = False
        self._answers: dict[int, Answer] = {}
        self._number = 0
        self._lost = False

    def tell(self, message: dict[str, Any]) -> None:
        """Send a message."""
        text = json.dumps(message).encode()
        try:
            with self._writing:
                _write(self._to, struct.pack("<I", len(text)) + text)
        except OSError:
            self._lost = True
            raise _LostError from None

    def ask(self, message: dict[str, Any]) -> Answer:
        """Send a message and wait for its answer; one of the waiting threads reads for all of them."""
        with self._changed:
            self._number += 1
            number = self._number
        self.tell({**message, "id": number})
        until = time.monotonic() + self.seconds + _GRACE
        while True:
            with self._changed:
                if number in self._answers:
                    return self._answers.pop(number)
                if self._lost or time.monotonic() > until:
                    raise _LostError
                if self._reading:
                    self._changed.wait(1.0)
                    continue
                self._reading = True
            answer = None
            try:
                answer = self._receive(until)
            finally:
                with self._changed:
                    self._reading = False
                    if answer is None:
                        self._lost = True  # also where Ctrl-C came in the middle of an answer
                    else:
                        self._answers[answer[0].pop("id")] = answer
                    self._changed.notify_all()

    def _receive(self, until: float) -> Answer | None:
        head = self._read(4, until)
        text = None if head is None else self._read(struct.unpack("<I", head)[0], until)
        if text is None:
            return None
        found = json.loads(bytes(text))
        payload = self._read(found.pop("payload", 0), until)
        return None if payload is None else (found, payload)

    def _read(self, count: int, until: float) -> memoryview | None:
        """Read so many bytes; None where the program ends or does not go on."""
        buffer = bytearray(count)
        view, at = memoryview(buffer), 0
        poll = select.poll()
        poll.register(self._from, select.POLLIN)
        while at < count:
            wait = max(until - time.monotonic(), 0)
            if not poll.poll(math.ceil(wait * 1000)):
                return None
            read = os.readv(self._from, [view[at:]])
            if not read:
                return None
            at += read
        return view

    def close(self) -> None:
        """End the program: what it still waits for is of no use."""
        self._lost = True
        self._process.kill()
        self._process.wait()
        self.leave()

    def leave(self) -> None:
        """Close this process's ends of the pipes; in a forked child that is all, the program is the parent's."""
        ends, self._to, self._from = (self._to, self._from), -1, -1
        for fd in ends:
            if fd >= 0:
                os.close(fd)


class _Direct:
    """Requests from this process itself, where nothing forks."""

    def __init__(self, seconds: float) -> None:
        from patchaug.readers.remote.engine import Engine

        self._engine = Engine(seconds)

    def tell(self, message: dict[str, Any]) -> None:
        """Start to read ahead."""
        self._engine.ahead([tuple(item) for item in message["items"]])

    def ask(self, message: dict[str, Any]) -> Answer:
        """Carry out a message."""
        from patchaug.readers.remote.program import handle

        head, parts = handle(self._engine, message)
        return head, memoryview(b"".join(parts))

    def close(self) -> None:
        """Do nothing: threads end with the process."""


class _State:
    """The connection of this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connection: Connection | None = None


_state = _State()
_inherited: list[_State] = []  # never collected in the child, where locks inside may be held for ever


def ask(message: dict[str, Any]) -> Answer:
    """Send a message to the program of this process and wait for its answer.

    Args:
        message: "do", and what that needs; see `patchaug.readers.remote.program.handle`.

    Returns:
        What it answers, and the bytes that belong to it.

    Raises:
        OptionError: obstore is not installed, or the limit of time is no number.
        ReadError: The program ended, or did not answer.
    """
    for last in (False, True):
        connection = _connection()
        try:
            return connection.ask(message)
        except _LostError:
            disconnect(connection)
            if last:
                raise ReadError(
                    f"requests to a store got no answer within {limit():g} s, or their process was ended; check the "
                    f"network and the memory that is free, or raise {VARIABLE}"
                ) from None
    raise AssertionError("unreachable")


def tell(message: dict[str, Any]) -> None:
    """Send a message that has no answer. What fails is asked for later, and raises an error then."""
    connection = _connection()
    try:
        connection.tell(message)
    except _LostError:
        disconnect(connection)


def limit() -> float:
    """Return the seconds after which a request is given up.

    Raises:
        OptionError: The environment variable is no number of seconds.
    """
    text = os.environ.get(VARIABLE, "")
    try:
        seconds = float(text) if text else SECONDS
    except ValueError:
        seconds = -1.0
    if not 0.1 <= seconds <= 3600:
        raise OptionError(f"{VARIABLE} must be a number of seconds in 0.1..3600, got {text!r}")
    return seconds


def disconnect(connection: Connection | None = None) -> None:
    """End a connection, by default that of this process; the next request makes another, with the environment then."""
    with _state.lock:
        if _state.connection is not None and connection in (None, _state.connection):
            connection, _state.connection = _state.connection, None
        else:
            return
    connection.close()


def _connection() -> Connection:
    state = _state
    with state.lock:
        if state.connection is None:
            if find_spec("obstore") is None:
                raise OptionError('URLs need obstore, which is not installed: pip install "patchaug[remote]"')
            state.connection = _Direct(limit()) if sys.platform == "win32" else _Program(limit())
        return state.connection


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _widen(fd: int) -> None:
    if sys.platform == "linux":
        import fcntl

        with suppress(OSError, AttributeError):  # the user may have no more room for pipes
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE)


def _start_anew() -> None:
    global _state
    inherited, _state = _state, _State()
    _inherited.append(inherited)
    if isinstance(inherited.connection, _Program):
        inherited.connection.leave()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
atexit.register(disconnect)
