"""The program that a process starts for its requests: reads messages from its input, writes answers to its output.

A message is 4 bytes with the length of the JSON that follows. JSON with "payload" is followed by so many bytes.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from patchaug.readers.remote.engine import Engine

_HANDLERS = 32


def serve(engine: Engine, commands: BinaryIO, answers: BinaryIO) -> None:
    """Answer messages until the input ends.

    Args:
        engine: Makes the requests.
        commands: Where messages come from.
        answers: Where answers go to, each with the number of its message, in any order.
    """
    handlers, writing = ThreadPoolExecutor(_HANDLERS, "patchaug-answer"), threading.Lock()

    def answer(message: dict[str, Any]) -> None:
        head, parts = handle(engine, message)
        text = json.dumps({"id": message["id"], "payload": sum(map(len, parts)), **head}).encode()
        with writing:
            answers.write(struct.pack("<I", len(text)) + text)
            for part in parts:
                answers.write(part)
            answers.flush()

    while len(size := commands.read(4)) == 4:
        message = json.loads(commands.read(*struct.unpack("<I", size)))
        if message["do"] == "ahead":
            engine.ahead([tuple(item) for item in message["items"]])
        else:
            handlers.submit(answer, message)


def handle(engine: Engine, message: dict[str, Any]) -> tuple[dict[str, Any], list[memoryview | bytes]]:
    """Carry out one message; return its answer, and the bytes that follow."""
    if message["do"] == "list":
        try:
            return {"states": [{"rows": engine.list(*message["of"])}]}, []
        except Exception as error:
            return {"states": [engine.reason(error)]}, []
    states, parts = [], []
    try:
        found = engine.get([tuple(item) for item in message["items"]])
    except Exception as error:  # such as a store that cannot be opened
        return {"states": [engine.reason(error)] * len(message["items"])}, []
    for one in found:
        if isinstance(one, Exception):
            states.append(engine.reason(one))
        else:
            states.append({**one[0], "bytes": len(one[1])})
            parts.append(one[1])
    return {"states": states}, parts


def main() -> None:
    """Serve the process at the other end of the pipes, and end when it ends."""
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to the whole group; the other process decides when to end
        signal.signal(number, signal.SIG_IGN)
    for name in ("stores", "engine"):
        # By its file: importing the package would load numpy and much else, in a process for each worker.
        dotted = f"patchaug.readers.remote.{name}"
        spec = spec_from_file_location(dotted, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[dotted] = module_from_spec(spec)
        spec.loader.exec_module(module)
    answers = os.fdopen(os.dup(1), "wb", 1 << 20)
    os.dup2(2, 1)  # nothing else may write between the answers
    serve(module.Engine(float(sys.argv[1])), os.fdopen(0, "rb", 1 << 16, closefd=False), answers)
    os._exit(0)  # requests that nobody waits for any more


if __name__ == "__main__":
    main()
