"""Run the main script of the README with several seeds, and print its losses and the Dice of its prediction.

    python benchmarks/first_scripts.py [--seeds 10] [--slide-size 6144]

The script is the block of README.md below "A script", unchanged. It runs in a temporary folder, on slides that are
written as `patchaug demo` writes them. A seed sets the weights of the model; windows and split have their own seeds.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from patchaug.predict.metrics import dice_by_class
from patchaug.testing.synthetic_slides import write_slide

README = Path(__file__).resolve().parents[1] / "README.md"


def main_script() -> str:
    """Return the python block below the README's heading "A script"."""
    text = README.read_text().partition("## A script")[2]
    return text.partition("```python\n")[2].partition("```")[0]


def run_script(seed: int, script: str) -> dict[str, Any]:
    """Run the script in the working directory with the weights of a seed.

    Returns:
        Training losses of all batches, validation losses of all epochs, the Dice of the nuclei on the validation slide,
        and seconds.
    """
    from fastai.torch_core import set_seed

    started = time.monotonic()
    space: dict[str, Any] = {"__name__": "__main__"}
    data, model, rest = script.partition("learn = ")
    training, line, rest = rest.partition("classes = ")
    with redirect_stdout(sys.stderr):
        exec(compile(data, str(README), "exec"), space)
        set_seed(seed)  # after RandomSplitter, which seeds torch
        exec(compile(model + training, str(README), "exec"), space)
    learn = space["learn"]
    losses = [float(loss) for loss in learn.recorder.losses]  # fastai empties its recorder when it shows results
    valid = [float(row[1]) for row in learn.recorder.values]
    exec(compile(line + rest, str(README), "exec"), space)
    seconds = time.monotonic() - started
    dice = dice_by_class(space["dls"].valid.slides[:1], [space["classes"]], levels=[1])
    return {"losses": losses, "valid": valid, "dice": dice["nucleus"], "seconds": seconds}


def write_slides(folder: Path, size: int) -> None:
    """Write the slides of the demo."""
    for number in range(3):
        write_slide(folder / "patchaug-demo" / "slides", f"slide{number}", size=size, seed=42 + number)


def run_benchmark() -> None:
    """Print a row for each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--slide-size", type=int, default=6144)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_slides(Path(folder), arguments.slide_size)
        os.chdir(folder)
        print("| seed | loss of the first 8 batches | of the last 8 | valid_loss by epoch | Dice of nuclei | seconds |")
        print("|---|---|---|---|---|---|")
        for seed in range(arguments.seeds):
            row = run_script(seed, main_script())
            first, last = (float(np.mean(part)) for part in (row["losses"][:8], row["losses"][-8:]))
            valid = " ".join(f"{loss:.3f}" for loss in row["valid"])
            print(
                f"| {seed} | {first:.3f} | {last:.3f} | {valid} | {row['dice']:.3f} | {row['seconds']:.0f} |",
                flush=True,
            )
        os.chdir("/")


if __name__ == "__main__":
    os.environ.setdefault("MPLBACKEND", "Agg")
    run_benchmark()
