"""Count the files of patchaug that a window passes through on its way to a batch.

    python benchmarks/hops.py [--json]

`sys.setprofile` reports each call. Counted are the calls of functions that are defined below `patchaug/`, in one
process without workers, when everything is warm: the same step has run before, and the tiles are in RAM.

- `files`: different files that were entered.
- `changes`: calls, one after another, that enter another file than the call before.

The steps are `plan[i]` of a `Foreground` sampler (the draw with the most changes of an epoch), `Plan.read` of that
window, and one batch of four windows from `dls.train` on fastai 2. Without fastai 2 the last row is left out, with a
message on stderr.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import patchaug
from patchaug import Foreground, Plan, open_slide
from patchaug.testing import coordinate_image, write_pyramid

PACKAGE = Path(patchaug.__file__).parent
SIDE, SIZE, CODES = 512, 64, ["background", "tissue", "tumour"]


def count_files(step: Callable[[], Any]) -> tuple[list[str], int]:
    """Call `step` once, and count the files of patchaug that its calls enter.

    Args:
        step: Function without arguments.

    Returns:
        The different files, relative to `patchaug/`, in the order of first entry; and the number of calls that enter
        another file than the call before.
    """
    prefix = str(PACKAGE) + "/"
    entered: list[str] = []

    def record(frame: FrameType, event: str, argument: Any) -> None:
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(prefix):
            entered.append(path.removeprefix(prefix))

    before = sys.getprofile()
    sys.setprofile(record)
    try:
        step()
    finally:
        sys.setprofile(before)
    return list(dict.fromkeys(entered)), sum(one != other for one, other in pairwise(entered))


def steps(folder: Path) -> dict[str, Callable[[], Any]]:
    """Write two small slides with masks, and return the steps to count by name.

    Args:
        folder: Folder for the files.
    """
    # Compact areas, as in real masks: the label index then holds all that a draw needs.
    labels = np.zeros((SIDE, SIDE), np.uint8)
    labels[100:300, 150:350] = 1
    labels[380:420, 60:100] = 2
    pairs = []
    for name in ("a", "b"):
        image, mask = folder / f"{name}.tiff", folder / f"{name}_mask.tiff"
        write_pyramid(image, [coordinate_image(SIDE, SIDE)])
        write_pyramid(mask, [labels])
        pairs.append((image, mask))
    slides = [open_slide(image, mask, codes=CODES) for image, mask in pairs]
    plan = Plan(slides, Foreground(SIZE, per_slide=8, foreground=0.5), seed=0)
    longest = max(range(len(plan)), key=lambda index: count_files(lambda: plan[index])[1])
    draw = plan[longest]
    found: dict[str, Callable[[], Any]] = {"plan[i]": lambda: plan[longest], "Plan.read": lambda: plan.read(draw)}
    try:
        from patchaug.fastai2.dataloaders import SlideDataLoaders
    except ImportError as error:
        print(f"the batch is left out: {error}", file=sys.stderr)
        return found
    from patchaug import PatchOptions

    options = PatchOptions(size=SIZE, per_slide=8, foreground=0.5)
    dls = SlideDataLoaders.from_lists(pairs[:1], pairs[1:], codes=CODES, options=options, bs=4, num_workers=0)
    found["a batch of dls.train"] = lambda: next(iter(dls.train))
    return found


def main(arguments: list[str] | None = None) -> None:
    """Print one row for each step.

    Args:
        arguments: Words of the command line; those of the process by default.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print {step: {files, changes, names}} instead of a table")
    options = parser.parse_args(arguments)
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, step in steps(Path(folder)).items():
            step()
            files, changes = count_files(step)
            rows[name] = {"files": len(files), "changes": changes, "names": files}
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    print("| step | files | changes of file | which |\n|---|---|---|---|")
    for name, row in rows.items():
        print(f"| {name} | {row['files']} | {row['changes']} | {', '.join(row['names'])} |")


if __name__ == "__main__":
    main()
