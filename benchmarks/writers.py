"""CPU time and peak memory of each writer: a map of 268 Mpx with 45,000 nuclei on tissue, fed in bands of 512 rows.

python benchmarks/writers.py [side nuclei [format ...]]

Each format runs in a process of its own. The map is in a file that is mapped into memory a band at a time, so the peak
is that of the writer, above a process that has read the same bands.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from patchaug.predict.map_frame import MapFrame
from patchaug.predict.writers.registry import FORMATS, open_writer

CODES = ("background", "nucleus", "tissue")
BAND = 512


def peak_kib() -> int:
    """Return the peak of this process's memory; getrusage would count the parent's too."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def write_made_map(path: Path, side: int, nuclei: int) -> None:
    """Write class numbers: tissue with round nuclei of 10 to 27 px."""
    rng = np.random.default_rng(0)
    classes = np.memmap(path, np.uint8, "w+", shape=(side, side))
    classes[side // 8 : -side // 8, side // 8 : -side // 8] = 2
    for radius, x, y in zip(rng.integers(5, 14, nuclei), *rng.integers(0, side - 30, (2, nuclei)), strict=True):
        rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        inside = rows**2 + columns**2 * rng.uniform(1, 1.4) <= radius**2
        classes[y : y + 2 * radius + 1, x : x + 2 * radius + 1][inside] = 1
    classes.flush()


def run(path: Path, side: int, suffix: str, what: str) -> None:
    """Write one format, and print CPU seconds, MiB and the size of the file."""
    frame = MapFrame("made", side, side, CODES, mpp=(0.25, 0.25))
    needs_probabilities = what == "probabilities" or (suffix in FORMATS and FORMATS[suffix].uses_probabilities)

    def bands():
        for top in range(0, side, BAND):
            rows = min(BAND, side - top)
            classes = np.fromfile(path, np.uint8, rows * side, offset=top * side).reshape(rows, side)
            yield top, classes, soft(classes) if needs_probabilities else None

    def soft(classes):
        found = np.full((len(CODES), *classes.shape), 0.1, np.float32)
        for number in range(len(CODES)):
            found[number][classes == number] = 0.8
        return found

    for _ in bands():
        pass
    before = peak_kib()
    target, spent = path.with_name(f"{what}.{suffix}"), 0.0
    start = time.process_time()
    with open_writer(suffix, target, frame, what=what) as writer:
        made = time.process_time()
        for top, classes, probabilities in bands():
            spent += time.process_time() - made
            writer.write(top, classes, probabilities)
            made = time.process_time()
    seconds = time.process_time() - start - spent
    peak = (peak_kib() - before) >> 10
    files = [target] if target.is_file() else [one for one in target.rglob("*") if one.is_file()]
    size = sum(one.stat().st_size for one in files) / 1e6
    print(f"| {suffix} | {what} | {seconds:.1f} | {side**2 / 1e6 / seconds:.0f} | {peak} | {size:.1f} |")


def main() -> None:
    """Print a table."""
    side, nuclei = (int(argument) for argument in (sys.argv[1:3] or ("16384", "50000")))
    chosen = sys.argv[3:] or list(FORMATS)
    print("| format | holds | CPU s | Mpx a CPU s | MiB above the bands | MB |\n|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "classes.bin")
        write_made_map(path, side, nuclei)
        for suffix in chosen:
            for what in ("classes", "probabilities") if FORMATS[suffix].probabilities else ("classes",):
                command = [sys.executable, __file__, "--one", str(path), str(side), suffix, what]
                subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        run(Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5])
    else:
        main()
