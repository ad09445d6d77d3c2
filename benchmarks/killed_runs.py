"""End training runs at random moments, resume them, and compare their weights with those of an unbroken run.

    python benchmarks/killed_runs.py [--runs 100] [--seed 0] [--minutes 60]

A run is ended up to three times, each time by SIGKILL, SIGTERM, SIGINT or SIGHUP (to the process or its group), by a
full disk, or by the removal of its folder. Then `patchaug train --resume` must end with the weights of the unbroken
run, bit for bit, or in one line that says what is lost. After each end there must be no half file under a final name,
and no process, shared memory or lock left; after the last one no hidden file either.

Half of the moments are uniform in the time of a whole run. The others follow an event by a few milliseconds: the first
checkpoint, the row of an epoch, the export at the end. Most runs are forks of this process, which has imported torch;
every eighth is a new process. Full disks need root, because a small tmpfs is mounted; without it they are skipped.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import multiprocessing.util
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

DATA = ["--images", "images", "--masks", "masks", "--codes", "background,nucleus", "--checkpoint-minutes", "0.001"]
TINY = ["--per-slide", "24", "--epochs", "3", "--bs", "4", "--size", "64", "--level", "1", "--valid-slides", "s2*"]
SIGNALS = ["SIGKILL", "SIGTERM", "SIGINT", "SIGHUP"]
WAYS = [*SIGNALS, *(f"{name} to the group" for name in SIGNALS[:3]), "full disk", "folder removed"]
EVENTS = ["options.json", "checkpoint.pt", "epoch 1", "epoch 2", "epoch 3", "model.pkl", "prediction.png", "best.pkl"]
TIMEOUT = 900  # seconds; a run takes a few


def start(root: Path, log: Path, words: list[str], *, new: bool) -> int:
    """Start `patchaug train` in a process group of its own, as a fork or as a new process; return its number."""
    flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY
    read_end, write_end = os.pipe()
    child = os.fork()
    if child:
        os.close(write_end)
        os.read(read_end, 1)  # it has its own output and group
        os.close(read_end)
        return child
    try:
        os.setsid()
        os.chdir(root)
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(log.with_suffix(f".{name}"), flags), number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for name in ("SIGTERM", "SIGHUP"):  # nohup ignores the latter
            signal.signal(getattr(signal, name), signal.SIG_DFL)
        if new:
            os.execv(sys.executable, [sys.executable, "-m", "patchaug", "train", *words])
        sys.argv[:] = ["patchaug", "train", *words]
        code = 0
        try:
            from patchaug.cli import main

            os.close(write_end)
            main()
        except SystemExit as stopped:
            code = stopped.code if isinstance(stopped.code, int) else 0
        except KeyboardInterrupt:  # around `main`, in this script
            print("patchaug: stopped", file=sys.stderr)
            code = 1
        except BaseException:
            traceback.print_exc()
            code = 99
        sys.stdout.flush()
        sys.stderr.flush()
        multiprocessing.util._exit_function()  # type: ignore[attr-defined]
        os._exit(code)
    except BaseException:
        traceback.print_exc()
        os._exit(98)


def wait(child: int, seconds: float) -> int | None:
    """Wait for a process; return its exit code, negative for a signal, or None after the time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    return None


def await_event(child: int, out: Path, event: str) -> None:
    """Wait until a file or the row of an epoch is there, or until the process has ended."""
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if event.startswith("epoch"):
            with suppress(OSError):
                if len((out / "history.csv").read_text().splitlines()) > int(event[-1]):
                    return
        elif (out / event).exists():
            return
        time.sleep(0.002)


def end(child: int, way: str, out: Path) -> None:
    """End a run in one of the ways."""
    if way == "folder removed":
        with suppress(FileNotFoundError):
            out.rename(out.with_name("gone"))  # at one moment
        shutil.rmtree(out.with_name("gone"), ignore_errors=True)
    elif way == "full disk":
        with suppress(OSError), (out.parent / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
    else:
        number = getattr(signal, way.split()[0])
        with suppress(ProcessLookupError):
            (os.killpg if way.endswith("group") else os.kill)(child, number)


def weights(model: Path) -> bytes:
    """Return the weights of an exported model."""
    from fastai.vision.all import load_learner

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pickles that are not trusted
        state = load_learner(model).model.state_dict()
    return b"".join(value.numpy().tobytes() for value in state.values())


def phase(out: Path) -> str:
    """Name how far a run came, from its files."""
    if not (out / "options.json").exists():
        return "before its options were written"
    if (out / "report.json").exists() and not (out / "checkpoint.pt").exists():
        return "after its end"
    rows = (out / "history.csv").read_text().splitlines() if (out / "history.csv").exists() else []
    if len(rows) == 4:
        return "after the last epoch"
    return f"in epoch {max(len(rows), 1)}" if (out / "checkpoint.pt").exists() else "before the first checkpoint"


def half_files(out: Path) -> list[str]:
    """List files under a final name that do not open."""
    import torch
    from PIL import Image

    bad = []
    for path in out.glob("*"):
        try:
            if path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix == ".pt":
                torch.load(path, weights_only=True)
            elif path.suffix == ".png":
                Image.open(path).load()
            elif path.suffix == ".pkl":
                weights(path)
        except Exception as error:
            bad.append(f"half file {path.name}: {error}")
    return bad


def left_over(group: int, out: Path, shared: set[Path]) -> list[str]:
    """List processes of a group, a lock of the folder, and shared memory of no process, that outlive a run by 10 s."""
    found: list[str] = []
    for _ in range(100):
        found = []
        for process in psutil.process_iter(["status"]):
            with suppress(ProcessLookupError, psutil.NoSuchProcess):
                if os.getpgid(process.pid) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                    found.append(f"process {process.pid}")
        if (out / ".patchaug-run").exists():
            with (out / ".patchaug-run").open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    found.append("lock")
        found += [f"shared memory {path}" for path in set(Path("/dev/shm").iterdir()) - shared if _unused(path)]
        if not found:
            return []
        time.sleep(0.1)
    return found


def _unused(path: Path) -> bool:
    """Return True if no process maps or has open a file of shared memory: others may run beside this benchmark."""
    return subprocess.run(["grep", "-qsF", str(path), *map(str, Path("/proc").glob("[0-9]*/maps"))]).returncode != 0


def one_run(root: Path, number: int, rng: random.Random, seconds: float, expected: bytes, ways: list[str]) -> Any:
    """Run, end, resume until the end; return the outcome, the ways and phases, and a text."""
    log, disk = root / f"log{number}", root / f"disk{number}"
    disk.mkdir()
    if "full disk" in ways:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "none", str(disk)], check=True)
    out, faults, ends, resumed = disk / "run", list[str](), list[tuple[str, str]](), False
    words = [*DATA, *TINY, "--out", str(out), "--workers", str(rng.choice([0, 0, 1, 2]))]
    code: int | None = None
    shared = set(Path("/dev/shm").iterdir())
    try:
        remaining: list[str | None] = [*ways, None]
        while remaining:
            way = remaining.pop(0)
            child = start(root, log, words, new=number % 8 == 7)
            if way is not None:
                if rng.random() < 0.5:
                    time.sleep(rng.random() * seconds)
                else:
                    await_event(child, out, rng.choice(EVENTS))
                    time.sleep(rng.choice([0, 0.01, 0.1]) * rng.random())
                ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
                ends.append((way, "after its end" if ended else phase(out)))
                end(child, way, out)
            code = wait(child, TIMEOUT)
            if code is None:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
                faults.append(f"hangs after {way}")
            resumed |= "--resume" in words and code == 0
            stderr = log.with_suffix(".err").read_text()
            if stderr.endswith("\nKeyboardInterrupt\n") and "patchaug/cli/" not in stderr:
                stderr = "patchaug: stopped"  # while Python imports the package
            if "Traceback" in stderr or code in (98, 99):
                faults.append(f"traceback: {stderr[-1500:]}")
            last = (stderr.strip().splitlines() or [""])[-1]
            stopped = "go on with: patchaug train --resume" in log.with_suffix(".out").read_text()
            if code is not None and code > 0 and not stopped and not last.startswith("patchaug: "):
                faults.append(f"exit code {code} without a line: {stderr[-300:]}")
            faults += left_over(child, out, shared) + half_files(out)
            (disk / "filler").unlink(missing_ok=True)
            if faults or (code == 0 and (out / "model.pkl").exists()):
                break  # or its results were removed after it had ended
            if not (out / "checkpoint.pt").exists():
                del remaining[:-1]  # nothing to go on with, which --resume has to say
            words = ["--resume", "--out", str(out), "--workers", str(rng.choice([0, 1, 2]))]
        if not faults and code == 0:
            faults += [f"hidden file {path.name}" for path in out.glob(".*.part")]
            faults += [] if weights(out / "model.pkl") == expected else ["other weights"]
        if faults:
            return "WRONG", ends, "; ".join(faults)
        if code == 0:
            return "same weights, resumed" if resumed else "same weights, had ended", ends, ""
        return "one line", ends, last.replace(str(root), "...")
    finally:
        if "full disk" in ways:
            subprocess.run(["umount", "-l", str(disk)], check=False)
        shutil.rmtree(disk, ignore_errors=True)


def main() -> None:
    """Print a line for each run, and tables of ways and phases."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60, help="stop after so many minutes")
    args = parser.parse_args()
    os.environ.setdefault("MPLBACKEND", "Agg")
    import torch

    import patchaug.cli.training  # noqa: F401 - forks have it
    from patchaug.testing.synthetic_slides import write_slide

    torch.set_num_threads(1)  # a process with threads cannot be forked safely
    began, root = time.monotonic(), Path(tempfile.mkdtemp(prefix="killed-runs-"))
    for number in range(3):
        write_slide(root / "images", f"s{number}", size=768, seed=number)
        (root / "masks").mkdir(exist_ok=True)
        shutil.move(root / "images" / f"s{number}_mask.tiff", root / "masks" / f"s{number}_mask.tiff")
    started = time.monotonic()
    child = start(root, root / "unbroken", [*DATA, *TINY, "--out", "unbroken", "--workers", "0"], new=False)
    assert wait(child, TIMEOUT) == 0, (root / "unbroken.err").read_text()
    seconds, expected = time.monotonic() - started, weights(root / "unbroken" / "model.pkl")
    print(f"unbroken run: {seconds:.1f} s", flush=True)
    outcomes, by_way, by_phase = Counter[str](), Counter[tuple[str, str]](), Counter[str]()
    for number in range(args.runs):
        if time.monotonic() - began > 60 * args.minutes:
            break
        rng = random.Random(f"{args.seed} {number}")
        possible = WAYS if os.geteuid() == 0 else [way for way in WAYS if way != "full disk"]
        ways = [rng.choice(possible) for _ in range(rng.choice([1, 1, 2, 3]))]
        outcome, ends, text = one_run(root, number, rng, seconds, expected, ways)
        outcomes[outcome] += 1
        by_way.update((way, outcome) for way, _ in ends)
        by_phase.update(where for _, where in ends)
        print(f"{number} {ends}: {outcome} {text}", flush=True)
    print(f"\n| ended by | {' | '.join(sorted(outcomes))} |\n|---|{'---|' * len(outcomes)}")
    for way in WAYS:
        print(f"| {way} | {' | '.join(str(by_way[way, outcome]) for outcome in sorted(outcomes))} |")
    print(f"| runs | {' | '.join(str(outcomes[outcome]) for outcome in sorted(outcomes))} |\n")
    for where, count in sorted(by_phase.items()):
        print(f"| {where} | {count} |")
    shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
