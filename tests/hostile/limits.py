"""Runs a function in a child process with little memory and little time, so that a bomb harms only the child."""

from __future__ import annotations

import faulthandler
import multiprocessing
import resource
from collections.abc import Callable
from typing import Any

from patchaug.errors import PatchaugError

MEMORY = 1 << 30  # bytes beyond what the parent has
SECONDS = 20  # the promise is 5; the machine that tests may be busy


def _limited(function: Callable[..., Any], args: tuple[Any, ...], answer: Any) -> None:
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.disable()  # an abort on purpose needs no pages of frames
    try:
        answer.send(("value", function(*args)))
    except PatchaugError as error:
        answer.send((type(error).__name__, str(error)))
    except BaseException as error:  # what must not happen, told to the parent
        answer.send(("ESCAPED", f"{type(error).__name__}: {error}"))


def limited(function: Callable[..., Any], *args: Any, seconds: float = SECONDS) -> tuple[str, Any]:
    """("value", what the function returned), (name, text) of its PatchaugError, or what went wrong.

    "ESCAPED" is another exception, "HUNG" no answer in time, "DIED" a process that ended by itself.
    """
    ours, theirs = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=_limited, args=(function, args, theirs))
    child.start()
    theirs.close()
    try:
        if not ours.poll(seconds):
            return "HUNG", f"no answer within {seconds} s"
        found: tuple[str, Any] = ours.recv()
        return found
    except EOFError:
        child.join(seconds)
        return "DIED", f"exit code {child.exitcode}"
    finally:
        child.kill()
        child.join()
