"""`patchaug train` as a rank runs it, and what it prints."""

import contextlib
import io
import os
import signal
import sys
from pathlib import Path
from typing import Any

from patchaug.errors import ReadError
from patchaug.sampling.plan import Plan


def run_command(folder: Path, words: list[str], trouble: str = "", at: int = 8, launch: str = "one") -> dict[str, Any]:
    """Run `patchaug train` with a tiny model, and return its exit code and its output.

    Args:
        folder: Folder of slides, where the run is.
        words: Further arguments.
        trouble: "read" or "kill": what happens to rank 1.
        at: Number of the window at which it happens; before the training four are read.
        launch: Name of the launch.
    """
    from patchaug.cli import main
    from patchaug.core.ranks import read_ranks

    os.environ["TORCHELASTIC_RUN_ID"] = launch
    os.chdir(folder)
    read, count = Plan.read, 0

    def trouble_read(self: Plan, draw: Any) -> Any:
        nonlocal count
        count += 1
        if trouble and read_ranks().rank == 1 and count == at:
            if trouble == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ReadError("slide s1: tile 7 is damaged")
        return read(self, draw)

    Plan.read = trouble_read
    tiny = "--images images --masks masks --codes a,b,c,d,e --size 32 --per-slide 6 --bs 4 --epochs 2 --arch small"
    sys.argv = ["patchaug", "train", *tiny.split(), "--workers", "0", "--checkpoint-minutes", "0.0001", *words]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}
