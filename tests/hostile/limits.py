"""Run a function in a child process with little memory and little time, so that a bomb harms only the child."""

from __future__ import annotations

import faulthandler
import multiprocessing
import resource
import signal
from collections.abc import Callable
from typing import Any

from patchaug.errors import PatchaugError

MEMORY = 1 << 30  # bytes beyond what the parent has
SECONDS = 5  # processor time of the child, so that other processes do not shorten it
PATIENCE = 60  # seconds of wall time, for a child that waits


def _limited(function: Callable[..., Any], args: tuple[Any, ...], answer: Any, seconds: int, memory: int) -> None:
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + memory, now + memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))  # a forked child starts at 0
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    faulthandler.disable()  # an intended abort needs no traceback
    try:
        answer.send(("value", function(*args)))
    except PatchaugError as error:
        answer.send((type(error).__name__, str(error)))
    except BaseException as error:  # what must not happen is reported to the parent
        answer.send(("ESCAPED", f"{type(error).__name__}: {error}"))


def limited(
    function: Callable[..., Any], *args: Any, seconds: int = SECONDS, patience: float = PATIENCE, memory: int = MEMORY
) -> tuple[str, Any]:
    """Return ("value", result of the function), (name, text) of its PatchaugError, or what went wrong.

    "ESCAPED" is another exception, "SLOW" more than `seconds` of processor time, "HUNG" no answer within `patience`,
    "DIED" a process that ended by itself.
    """
    ours, theirs = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=_limited, args=(function, args, theirs, seconds, memory))
    child.start()
    theirs.close()
    try:
        if not ours.poll(patience):
            return "HUNG", f"no answer within {patience} s"
        found: tuple[str, Any] = ours.recv()
        return found
    except EOFError:
        child.join(patience)
        if child.exitcode == -signal.SIGXCPU:
            return "SLOW", f"more than {seconds} s of processor time"
        return "DIED", f"exit code {child.exitcode}"
    finally:
        child.kill()
        child.join()
