"""Kill training runs at random moments, resume them, and compare their weights with those of an unbroken run.

    python benchmarks/killed_runs.py --runs 100

A run is killed up to three times, each time by SIGKILL, SIGTERM (to the process or its group), SIGINT, a full disk,
or the removal of its folder. Then `patchaug train --resume` must end with the weights of the unbroken run, bit for
bit, or in one line that says what is lost. After each run there must be no half file under a final name, and no
process, shared memory or lock left. Full disks need root (a small tmpfs is mounted).
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil

TINY = ["--per-slide", "24", "--epochs", "3", "--bs", "4", "--size", "64", "--level", "1", "--valid-slides", "s2*"]
DATA = ["--images", "images", "--masks", "masks", "--codes", "background,nucleus", "--checkpoint-minutes", "0.01"]
WAYS = ["SIGKILL", "SIGTERM", "SIGINT", "group SIGTERM", "group SIGINT", "full disk", "removed"]
_WEIGHTS = (
    "import sys, hashlib\nfrom fastai.vision.all import load_learner\nimport patchaug.fastai\n"
    "state = load_learner(sys.argv[1]).model.state_dict()\n"
    "print(hashlib.sha256(b''.join(v.numpy().tobytes() for v in state.values())).hexdigest())\n"
)


def start(root: Path, out: Path, *words: str) -> subprocess.Popen[str]:
    """Start a run in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "patchaug", "train", "--out", str(out), *words], cwd=root, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def weights(model: Path) -> str:
    """Hash the weights of an exported model."""
    done = subprocess.run([sys.executable, "-c", _WEIGHTS, str(model)], capture_output=True, text=True, check=True)
    return done.stdout.split()[-1]


def end(process: subprocess.Popen[str], way: str, out: Path, filler: Path | None) -> None:
    """End a run in one of the ways."""
    if way == "removed":
        shutil.rmtree(out, ignore_errors=True)
    elif way == "full disk":
        if filler is not None:
            with filler.open("wb") as file, suppress(OSError):
                while True:
                    file.write(bytes(4096))
                    file.flush()
    else:
        number = getattr(signal, way.split()[-1])
        with suppress(ProcessLookupError):
            (os.killpg if way.startswith("group") else os.kill)(process.pid, number)


def half_files(out: Path) -> list[str]:
    """List files under a final name that do not open."""
    import torch

    bad = []
    for path in out.glob("*"):
        try:
            if path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix == ".pt":
                torch.load(path, weights_only=True)
            elif path.suffix == ".png":
                from PIL import Image

                Image.open(path).load()
            elif path.suffix == ".pkl":
                weights(path)
        except Exception as error:
            bad.append(f"{path.name}: {error}")
    return bad


def leftovers(group: int, out: Path) -> list[str]:
    """List processes of a group, and a lock of the folder, that outlive a run by ten seconds."""
    for _ in range(100):
        alive = []
        for process in psutil.process_iter(["pid", "status"]):
            try:
                if os.getpgid(process.pid) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                    alive.append(f"process {process.pid}")
            except (ProcessLookupError, psutil.NoSuchProcess):
                continue
        mark = out / ".patchaug-run"
        if mark.exists():
            with mark.open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    alive.append("lock")
        if not alive:
            return []
        time.sleep(0.1)
    return alive


def main() -> None:
    """Kill, resume, compare, and print a line for each run and a summary."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so many minutes")
    parser.add_argument("--root", type=Path, default=None)
    args = parser.parse_args()
    began, rng = time.monotonic(), random.Random(args.seed)
    root = Path(tempfile.mkdtemp(prefix="killed-runs-")) if args.root is None else args.root
    from patchaug.testing.synthetic_slides import write_slide

    for number in range(3):
        write_slide(root / "images", f"s{number}", size=768, seed=number)
        (root / "masks").mkdir(exist_ok=True)
        shutil.move(root / "images" / f"s{number}_mask.tiff", root / "masks" / f"s{number}_mask.tiff")
    started = time.monotonic()
    whole = start(root, root / "unbroken", *DATA, *TINY, "--workers", "0")
    output = whole.communicate()
    assert whole.returncode == 0, output
    seconds, expected = time.monotonic() - started, weights(root / "unbroken" / "model.pkl")
    shared = set(Path("/dev/shm").iterdir())
    print(f"unbroken run: {seconds:.0f} s, weights {expected[:12]}", flush=True)
    results: Counter[str] = Counter()
    for number in range(args.runs):
        if time.monotonic() - began > 60 * args.minutes:
            break
        workers, ways = str(rng.choice([0, 0, 1, 2])), [rng.choice(WAYS) for _ in range(rng.choice([1, 1, 2, 3]))]
        line = one_run(root, number, workers, ways, seconds, rng, expected)
        left = sorted(set(Path("/dev/shm").iterdir()) - shared)
        if left:
            line += f"; SHARED MEMORY LEFT {left[:3]}"
            shared |= set(left)
        results[
            "WRONG" if line.upper().count("WRONG") or "LEFT [" in line or "HALF" in line else line.split(":")[0]
        ] += 1
        print(f"{number} {'+'.join(ways)} workers {workers}: {line}", flush=True)
    print(dict(results))


def one_run(
    root: Path, number: int, workers: str, ways: list[str], seconds: float, rng: random.Random, expected: str
) -> str:
    """Run, kill, resume until the end; return what came of it."""
    disk = root / f"disk{number}" if "full disk" in ways else None
    if disk is not None:
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "none", str(disk)], check=True)
    out, faults = (root if disk is None else disk) / f"run{number}", []
    words = [*DATA, *TINY, "--workers", workers]
    try:
        for way in ways:
            process = start(root, out, *words)
            time.sleep(rng.uniform(0.3, 1.1) * seconds)
            end(process, way, out, None if disk is None else disk / "filler")
            try:
                _, stderr = process.communicate(timeout=300)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                return f"WRONG: hangs after {way}"
            if "Traceback" in stderr:
                faults.append(f"WRONG: traceback after {way}: {stderr[-300:]}")
            left = leftovers(process.pid, out)
            faults += [f"WRONG: LEFT {left} after {way}"] if left else []
            bad = half_files(out)
            faults += [f"HALF files after {way}: {bad}"] if bad else []
            if disk is not None:
                (disk / "filler").unlink(missing_ok=True)
            if process.returncode == 0:
                break
            words = ["--resume", "--workers", str(rng.choice([0, 1, 2]))]
        else:
            process = start(root, out, *words)
            _, stderr = process.communicate(timeout=600)
        if faults:
            return "; ".join(faults)
        if process.returncode == 0:
            return "same weights" if weights(out / "model.pkl") == expected else "WRONG weights"
        last = stderr.strip().splitlines()[-1]
        one_line = last.startswith("patchaug: ") and "Traceback" not in stderr
        return f"one line: {last[:150]}" if one_line else f"WRONG: {stderr[-300:]}"
    finally:
        if disk is not None:
            subprocess.run(["umount", "-l", str(disk)], check=False)
        shutil.rmtree(out, ignore_errors=True)


if __name__ == "__main__":
    main()
