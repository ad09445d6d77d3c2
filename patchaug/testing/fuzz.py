"""Fuzz all readers and text formats: `python -m patchaug.testing.fuzz --minutes 60`.

Files are changed at random and read in a child process with a limit on memory. Each must end in pixels or in a
`PatchaugError`, within 10 s and 1 GiB. What does not is a failure: it is minimised and saved. A number names each
change, so that `--seed` and the number give the same file again.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import multiprocessing
import os
import resource
import signal
import sys
import time
import warnings
from collections import Counter
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from patchaug.core.windows import Window
from patchaug.errors import PatchaugError
from patchaug.slides.checksums import compare_manifest
from patchaug.slides.open import open_slide
from patchaug.slides.pair_table import read_table
from patchaug.testing.fuzz_seeds import SIZE, seed_files

SECONDS, MEMORY = 10.0, 1 << 30
GOOD = ("pixels", "error")
_CODES = ["background", "tumour", "stroma", "fat", "necrosis"]
_NUMBERS = (0, 1, 2, 127, 128, 255, 256, 32767, 65535, 1 << 31, (1 << 31) - 1, (1 << 32) - 1, (1 << 63), (1 << 64) - 1)
_TOKENS = (b"0", b"-1", b"1e400", b"NaN", b"null", b"[]", b"{}", b'""', b"99999999999999999999", b"\xff", b"[" * 500)


class Failure(NamedTuple):
    """One file that ended otherwise than it should: format, number of the change, outcome, and where it is saved."""

    name: str
    number: int
    outcome: str
    path: str


def mutated(data: bytes, random: np.random.Generator, other: bytes = b"") -> bytes:
    """Return data with one to four changes: bits, bytes, numbers, cuts, copies, tokens, or parts of another file."""
    new = bytearray(data)
    for _ in range(min(int(random.geometric(0.6)), 4)):
        if not new:
            break
        at, length, kind = int(random.integers(len(new))), int(random.integers(1, 65)), int(random.integers(9))
        if kind >= 5 and random.integers(2):  # tables lie at either end of a file
            at = min(int(random.integers(600)), len(new) - 1)
            at = at if random.integers(2) else len(new) - 1 - at
        if kind == 0:
            new[at] ^= 1 << int(random.integers(8))
        elif kind == 1:
            del new[at : at + length]
        elif kind == 2:
            new[at:at] = random.bytes(length)
        elif kind == 3:
            start = int(random.integers(len(new)))
            new[at : at + length] = new[start : start + length]
        elif kind == 4 and other:
            start = int(random.integers(len(other)))
            new[at : at + length] = other[start : start + length]
        elif kind == 5:
            new[at] = int(random.integers(256))
        elif kind == 6:
            token = _TOKENS[int(random.integers(len(_TOKENS)))]
            new[at : at + (length if random.integers(2) else 0)] = token
        else:
            size, order = int(random.choice([1, 2, 4, 8])), "little" if random.integers(2) else "big"
            number = _NUMBERS[int(random.integers(len(_NUMBERS)))] % (1 << 8 * size)
            new[at : at + size] = number.to_bytes(size, order)  # type: ignore[arg-type]
    return bytes(new)


def change(seeds: dict[str, bytes], name: str, seed: int, number: int) -> bytes:
    """Return the file of a number."""
    random = np.random.default_rng([seed, number])
    names = sorted(seeds)
    return mutated(seeds[name], random, seeds[names[int(random.integers(len(names)))]])


def read_file(path: Path) -> str:
    """Read a file by its name; return "pixels", "error" for a PatchaugError, or what else was raised."""
    try:
        if path.name.startswith("options"):
            # By name: options are a room of the same floor, which nothing here needs but as a reader of text.
            import_module("patchaug.options.fields").PatchOptions.from_file(path)
        elif path.name.startswith("manifest"):
            compare_manifest(path, [])
        elif path.name.startswith("table"):
            read_table(path)
        else:
            mask = path.name.startswith("mask")
            image: Any = np.zeros((SIZE[1], SIZE[0], 3), np.uint8) if mask else path
            codes = _CODES if ".geojson" in path.name or path.suffix in (".xml", ".gpkg", ".fgb") else None
            slide = open_slide(image, path if mask else None, codes=codes, ram=1 << 26)
            for level, (width, height) in enumerate(slide.level_dimensions):
                slide.read(Window(max(width - 512, 0), 0, min(width, 512), min(height, 512), level))
    except PatchaugError as error:
        return "error" if str(error).count("\n") <= 1 else "long error"
    except BaseException as error:
        return f"bare {type(error).__name__}: {str(error)[:120]}"
    return "pixels"


def _child(pipe: Connection, folder: str) -> None:
    """Read the files that come through the pipe; answer each with its outcome."""
    faulthandler.disable()
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with open("/proc/self/statm") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + 2 * MEMORY, mapped + 2 * MEMORY))
    devnull = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # decoders and glib write there
        os.dup2(devnull, stream)
    before = _peak()
    while True:
        name, data = pipe.recv()
        path = Path(folder, name)
        path.unlink(missing_ok=True)  # an inode of its own
        path.write_bytes(data)
        outcome = read_file(path)
        grown = _peak() - before
        pipe.send(outcome if grown <= MEMORY else f"memory: {grown >> 20} MiB")


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Probe:
    """Child process that reads files, and is started again after each failure that ends it."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory()
        self._process: multiprocessing.process.BaseProcess | None = None

    def read(self, name: str, data: bytes) -> str:
        """Return the outcome of a file: see `read_file`, "hang", "memory", or "abort" with the child's exit code."""
        if self._process is None:
            self._pipe, theirs = multiprocessing.Pipe()
            self._process = multiprocessing.get_context("fork").Process(target=_child, args=(theirs, self._folder.name))
            self._process.start()
            theirs.close()
        try:
            self._pipe.send((name, data))
            outcome = str(self._pipe.recv()) if self._pipe.poll(SECONDS) else "hang"
        except (EOFError, OSError):
            self._process.join(5)
            outcome = f"abort: exit code {self._process.exitcode}"
        if outcome.startswith(("hang", "abort", "memory")):
            self.close()
        return outcome

    def close(self) -> None:
        """End the child."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None
            self._pipe.close()


def minimised(probe: Probe, name: str, good: bytes, bad: bytes, outcome: str, tries: int = 40) -> bytes:
    """Return a file with the same kind of outcome and fewer bytes that differ from the seed."""
    kind = outcome.split(":")[0]
    step = max(len(bad) // 2, 1)
    while step and tries > 0:
        for start in range(0, len(bad), step):
            restored = bad[:start] + good[start : start + step] + bad[start + step :]
            if restored == bad or len(good) != len(bad):
                continue
            tries -= 1
            if probe.read(name, restored).split(":")[0] == kind:
                bad = restored
            if tries <= 0:
                break
        step //= 4
    return bad


def fuzz(
    seconds: float, *, seed: int = 0, out: str | os.PathLike[str] | None = None, formats: list[str] | None = None
) -> tuple[dict[str, Counter[str]], list[Failure]]:
    """Change and read files for some time.

    Args:
        seconds: How long.
        seed: Of the changes.
        out: Folder for the files that failed; None saves none.
        formats: Names of seeds; all by default.

    Returns:
        Counts of outcomes by format, and the failures.

    Examples:
        >>> from patchaug.testing.fuzz import fuzz
        >>> counts, failures = fuzz(0.1, formats=["options.json"])
        >>> failures
        []
    """
    seeds, probe = seed_files(), Probe()
    counts: dict[str, Counter[str]] = {name: Counter() for name in formats or seeds}
    failures: list[Failure] = []
    deadline, number = time.monotonic() + seconds, 0
    try:
        while time.monotonic() < deadline:
            for name in counts:
                data = change(seeds, name, seed, number)
                outcome = probe.read(name, data)
                counts[name][outcome.split(":")[0]] += 1
                if outcome not in GOOD:
                    failures.append(_saved(probe, seeds, Failure(name, number, outcome, ""), data, out))
                number += 1
                if time.monotonic() > deadline:
                    break
    finally:
        probe.close()
    return counts, failures


def _saved(probe: Probe, seeds: dict[str, bytes], failure: Failure, data: bytes, out: Any) -> Failure:
    if out is None:
        return failure
    small = minimised(probe, failure.name, seeds[failure.name], data, failure.outcome)
    path = Path(out, f"{failure.number}-{failure.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(small)
    return failure._replace(path=str(path))


def _run_atheris() -> None:
    """Let libFuzzer choose the changes; it ends at the first failure. Linux, with `pip install atheris`."""
    atheris = import_module("atheris")

    folder, names = TemporaryDirectory(), sorted(seed_files())

    def one(data: bytes) -> None:
        name = names[data[0] % len(names)] if data else names[0]
        path = Path(folder.name, name)
        path.write_bytes(data[1:])
        outcome = read_file(path)
        if outcome not in GOOD:
            raise AssertionError(outcome)

    atheris.Setup([sys.argv[0], f"-timeout={SECONDS:.0f}", f"-rss_limit_mb={MEMORY >> 20}"], one)
    atheris.Fuzz()


def main() -> int:
    """Run the command; return 1 if there are failures."""
    parser = argparse.ArgumentParser(prog="python -m patchaug.testing.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="fuzz-failures", help="folder for files that failed")
    parser.add_argument("--formats", nargs="*", help="names of seeds; all by default")
    parser.add_argument("--atheris", action="store_true", help="let atheris choose the changes")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if options.atheris:
        _run_atheris()
    counts, failures = fuzz(60 * options.minutes, seed=options.seed, out=options.out, formats=options.formats)
    total: Counter[str] = sum(counts.values(), Counter())
    print(json.dumps({name: dict(found) for name, found in counts.items()}, indent=1))
    for failure in failures:
        print(f"{failure.name}, change {failure.number}: {failure.outcome}; saved as {failure.path}")
    print(f"{sum(total.values())} files: {dict(total)}, {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
