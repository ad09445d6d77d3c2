"""Read slides with workers while something goes wrong, 30 times each; print the table of docs/security.md.

    python benchmarks/faults.py [--times 30] [--rows "worker SIGKILL;file cut"]

Each trial is a process that reads coordinate-coded slides through `PatchLoader` with two workers and compares each
patch with its window. A fault comes at a random moment. Within 30 s the trial must end in one line that names the file
(or by the signal that it was sent), or go on with right pixels; never with other pixels. Then no process, shared
memory or file may be left. Trials are forked from one warm process, so that each takes a
fraction of a second. A small /dev/shm needs root: it is mounted in a namespace of its own.
"""

from __future__ import annotations

import argparse
import ctypes
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import torch

from patchaug import EpochSampler, PatchaugError, PatchDataset, Uniform, open_slide
from patchaug.data.patch_loader import PatchLoader
from patchaug.testing import coordinate_image, write_pyramid

SIDE, SIZE, SLIDES, PATIENCE = 512, 64, 4, 30.0
TRUTHS = [coordinate_image(SIDE, SIDE) ^ np.uint8(17 * number) for number in range(SLIDES + 1)]  # the last: another's


class Outcome(NamedTuple):
    """What came of a trial: "right", "error", "signal" or what is wrong; its text and its seconds."""

    kind: str
    text: str
    seconds: float


Fault = Callable[[int, Path, random.Random], None]  # process of the trial, its folder


def read(folder: Path, pipe: Connection, prepare: Callable[[], None], timeout: float, windows: int) -> None:
    """Read windows in a trial, and report."""
    os.setsid()
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    devnull = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(devnull, stream)
    try:
        prepare()
        slides = [open_slide(path, 0, ram=RAM) for path in sorted(folder.glob("s*.tif"))]
        data = PatchDataset(slides, Uniform(SIZE, per_slide=windows // len(slides) // 4), seed=os.getpid())
        loader = PatchLoader(data, batch_size=4, sampler=EpochSampler(data), num_workers=2, timeout=timeout)
        done = 0
        for _ in range(4):
            for batch in loader:
                for image in batch.image.numpy():
                    check(data, done, image)
                    done += 1
                if done == 4:
                    pipe.send(("reads", ""))
                time.sleep(0.002)  # a training step
        pipe.send(("right", f"{done} windows"))
    except PatchaugError as error:
        pipe.send(("error", str(error)))
    except (KeyboardInterrupt, SystemExit) as error:
        pipe.send(("signal", type(error).__name__))
    except BaseException as error:
        where = " > ".join(f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-5:])
        pipe.send(("WRONG", f"{type(error).__name__}: {' '.join(str(error).split())[:300]} in {where}"))


RAM: int = 0


def check(data: PatchDataset, index: int, image: np.ndarray) -> None:
    """Compare a patch with its window."""
    draw = data.plan[index]
    number = int(data.plan.slides[draw.slide].name[1:-4])
    window = draw.window
    expected = TRUTHS[number][window.y : window.bottom, window.x : window.right]
    if not np.array_equal(image, expected):
        raise RuntimeError(f"other pixels at index {index}")


def trial(fault: Fault | None, random_: random.Random, *, prepare: Callable[[], None], timeout: float) -> Outcome:
    """Start a trial, let the fault happen, and look at what is left."""
    before = set(Path("/dev/shm").iterdir())
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        folder = Path(name)
        for number in range(SLIDES):
            write_pyramid(folder / f"s{number}.tif", [TRUTHS[number]])
        files = {path.name for path in folder.iterdir()}
        ours, theirs = multiprocessing.Pipe(duplex=False)
        context = multiprocessing.get_context("fork")
        process = context.Process(target=read, args=(folder, theirs, prepare, timeout, 320))
        process.start()
        theirs.close()
        start = time.monotonic()
        kind, text = "", ""
        try:
            while ours.poll(max(PATIENCE - (time.monotonic() - start), 0)):
                kind, text = ours.recv()
                if kind != "reads":
                    break
                if fault is not None:
                    time.sleep(random_.uniform(0, 0.05))
                    start = time.monotonic()
                    with suppress(ProcessLookupError, psutil.NoSuchProcess):
                        fault(process.pid or 0, folder, random_)
            else:
                kind, text = "WRONG", f"hangs for {PATIENCE:.0f} s"
        except EOFError:
            process.join(PATIENCE)
            code = process.exitcode or 0
            kind, text = ("signal", signal.Signals(-code).name) if code < 0 else ("WRONG", f"exit code {code}")
        seconds = time.monotonic() - start
        left = leftovers(process.pid or 0)
        if kind == "WRONG":
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid or 0, signal.SIGKILL)
        process.join(PATIENCE)
        process.kill()
        strange = {path.name for path in folder.iterdir()} - files - {"other.tif"}
        left += sorted(strange)
    new = {path.name for path in set(Path("/dev/shm").iterdir()) - before}
    left += sorted(name for name in new if f"_{process.pid}_" in name or "patchaug" in name)
    if left and not kind.startswith("WRONG"):
        kind, text = "WRONG", f"left behind: {left[:3]}, after {kind} {text[:80]}"
    nothing_read = "no worker was reading" in text or text.startswith("DataLoader: ")
    named = nothing_read or any(f"s{n}.tif" in text for n in range(SLIDES))
    if kind == "error" and (text.count("\n") > 1 or not named):
        kind = "WRONG"
    return Outcome(kind, text, seconds)


def leftovers(group: int) -> list[str]:
    """List the processes of a group that outlive a trial by ten seconds."""
    for _ in range(100):
        alive = []
        for process in psutil.process_iter(["pid", "status"]):
            with suppress(ProcessLookupError, psutil.NoSuchProcess, PermissionError):
                if os.getpgid(process.pid) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                    alive.append(f"process {process.pid}")
        if not alive:
            return []
        time.sleep(0.1)
    return alive


def send(name: str, *, worker: bool = False) -> Fault:
    """Send a signal to the process, or to one of its workers."""

    def fault(process: int, folder: Path, random_: random.Random) -> None:
        workers = psutil.Process(process).children()
        os.kill(random_.choice(workers).pid if worker and workers else process, getattr(signal, name))

    return fault


def cut(process: int, folder: Path, random_: random.Random) -> None:
    """Cut all files."""
    for path in folder.glob("s*.tif"):
        os.truncate(path, random_.randrange(1, path.stat().st_size))


def remove(process: int, folder: Path, random_: random.Random) -> None:
    """Remove all files."""
    for path in folder.glob("s*.tif"):
        path.unlink()


def replace(process: int, folder: Path, random_: random.Random) -> None:
    """Rename another file over each."""
    for path in folder.glob("s*.tif"):
        write_pyramid(folder / "other.tif", [TRUTHS[-1]])
        os.replace(folder / "other.tif", path)


def rewrite(process: int, folder: Path, random_: random.Random) -> None:
    """Write other pixels of the same layout into each file."""
    write_pyramid(folder / "other.tif", [TRUTHS[-1]])
    for path in folder.glob("s*.tif"):
        with path.open("r+b") as file:
            file.write((folder / "other.tif").read_bytes())
            file.truncate()


def nothing() -> None:
    """Prepare nothing."""


def few_descriptors() -> None:
    """Allow 64 open files."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


def little_memory() -> None:
    """Allow 3 to 8 GiB of address space."""
    limit = random.Random(os.getpid()).randint(3, 8) << 30
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def small_shared_memory() -> None:
    """Mount a /dev/shm of 1 MB in a namespace of this process."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x00020000):  # CLONE_NEWNS
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True, capture_output=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", "/dev/shm"], check=True, capture_output=True)


def full_disk(random_: random.Random) -> Outcome:
    """Write a slide, a page and options to a disk of 1 MB that is nearly full: one line each, and nothing half."""
    from patchaug import PatchOptions, Plan
    from patchaug.viz.web_page import write_page

    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        disk = Path(name, "disk")
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)], check=True)
        try:
            room = random_.choice([4096, 8192, 65536])
            (disk / "filler").write_bytes(bytes((1 << 20) - room))
            plan = Plan([open_slide(TRUTHS[0], name="a")], Uniform(SIZE, per_slide=4))
            noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
            kinds = []
            for write in (
                lambda: write_pyramid(disk / "a.tif", [noise]),
                lambda: write_page(plan, disk / "page.html"),
                lambda: PatchOptions(64).save(disk / "options.json"),
            ):
                try:
                    write()
                    kinds.append("right")
                except PatchaugError as error:
                    kinds.append("error" if str(disk) in str(error) and "\n" not in str(error) else "WRONG")
                except BaseException as error:
                    return Outcome("WRONG", f"{type(error).__name__}: {error}", time.monotonic() - start)
            left = [path.name for path in disk.iterdir() if path.name.startswith(".")]
            if left:
                return Outcome("WRONG", f"left behind: {left}", time.monotonic() - start)
            kind = "WRONG" if "WRONG" in kinds else "error" if "error" in kinds else "right"
            return Outcome(kind, ", ".join(kinds), time.monotonic() - start)
        finally:
            subprocess.run(["umount", "-l", str(disk)], check=False)


class Row(NamedTuple):
    """A fault, what the trial prepares before it reads, and the loader's timeout in seconds."""

    fault: Fault | None
    prepare: Callable[[], None] = nothing
    timeout: float = 0.0


ROWS: dict[str, Row] = {
    "SIGKILL": Row(send("SIGKILL")),
    "SIGTERM": Row(send("SIGTERM")),
    "SIGINT": Row(send("SIGINT")),
    "worker SIGKILL": Row(send("SIGKILL", worker=True)),
    "worker SIGSEGV": Row(send("SIGSEGV", worker=True)),
    "worker SIGSTOP": Row(send("SIGSTOP", worker=True), timeout=3.0),
    "file cut": Row(cut),
    "file removed": Row(remove),
    "file replaced": Row(replace),
    "file rewritten": Row(rewrite),
    "/dev/shm of 1 MB": Row(None, small_shared_memory),
    "64 descriptors": Row(None, few_descriptors),
    "3 to 8 GiB of memory": Row(None, little_memory),
}
FULL_DISK = "full disk"


def outcomes(name: str, times: int, seed: int = 0) -> list[Outcome]:
    """Run a row."""
    global RAM
    found = []
    for number in range(times):
        random_ = random.Random(f"{name} {seed} {number}")
        RAM = random_.choice([0, 1 << 26])
        if name == FULL_DISK:
            found.append(full_disk(random_))
        else:
            row = ROWS[name]
            found.append(trial(row.fault, random_, prepare=row.prepare, timeout=row.timeout))
    return found


def main() -> int:
    """Run the rows; return 1 if one trial ended otherwise than it should."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--times", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=lambda text: text.split(";"), default=[*ROWS, FULL_DISK])
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    wrong: list[str] = []
    print(
        "| fault | trials | right pixels | one line | ended by the signal | wrong | longest |\n"
        "|---|---|---|---|---|---|---|"
    )
    for name in options.rows:
        found = outcomes(name, options.times, options.seed)
        counts: Counter[str] = Counter(one.kind for one in found)
        cells: list[Any] = [name, len(found), *(counts[kind] for kind in ("right", "error", "signal", "WRONG"))]
        print(f"| {' | '.join(map(str, cells))} | {max(one.seconds for one in found):.1f} s |", flush=True)
        wrong += [f"{name}: {one.text}" for one in found if one.kind == "WRONG"]
        if options.verbose:
            for text in dict.fromkeys(f"{one.kind}: {one.text}" for one in found):
                print(f"    {text[:400]}")
    for text in dict.fromkeys(wrong):
        print(text, file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
