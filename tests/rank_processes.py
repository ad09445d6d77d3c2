"""Start functions as the ranks of a process group on this machine, and collect what they return."""

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

PRELOAD = ["fastai.vision.all", "patchaug.testing", "patchaug.cli.training"]  # once, for all ranks
if find_spec("accelerate") is not None:
    PRELOAD.insert(1, "fastai.distributed")


def free_port() -> int:
    """A port that no process listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def _run(rank: int, world: int, port: int, sender: Any, function: Callable[..., Any], args: Sequence[Any]) -> None:
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(world),
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
    )  # fmt: skip
    import torch

    multiprocessing.set_start_method("fork", force=True)  # of the loaders' workers, as in any process
    torch.set_num_threads(1)
    try:
        sender.send((True, function(*args)))
    except BaseException as error:
        sender.send((False, f"{type(error).__name__}: {error}\n{traceback.format_exc()}"))
    os._exit(0)  # accelerate's group has nothing to wait for


def run_ranks(
    world: int, function: Callable[..., Any], *args: Any, timeout: float = 100, ends: bool = True
) -> list[Any]:
    """Call a function of a module in `world` processes, each a rank; return their results in the order of the ranks.

    Args:
        world: Number of processes.
        function: Module-level function.
        *args: Its arguments.
        timeout: Seconds until a rank that has not answered is an error.
        ends: Raise AssertionError where a rank raises; False returns the texts of errors instead.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    port, started = free_port(), []
    for rank in range(world):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_run, args=(rank, world, port, sender, function, args))
        process.start()
        sender.close()
        started.append((process, receiver))
    results, failed = [], []
    try:
        for rank, (_, receiver) in enumerate(started):
            assert receiver.poll(timeout), f"rank {rank} of {world} has not answered within {timeout} s"
            try:
                good, value = receiver.recv()
            except EOFError:
                good, value = False, "killed"
            if not good:
                failed.append(f"rank {rank} of {world}: {value}")
            results.append(value)
        assert not (failed and ends), "\n".join(failed)
    finally:
        for process, receiver in started:
            receiver.close()
            process.join(0.5)
            process.kill()
            process.join()
    return results
