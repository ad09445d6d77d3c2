"""Check a slide in a process of its own, with limits on memory and time: what aborts or hangs harms only that process.

For slides from strangers, before a server opens them itself: decoders are C libraries, and some end the process.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

SECONDS, MEMORY = 300, 4 << 30
_CHILD = """
import json, logging, pickle, sys, warnings
options = pickle.load(sys.stdin.buffer)
memory = options.pop("memory")
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
except ImportError:
    pass
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
from patchaug.errors import PatchaugError
from patchaug.slides.check_slide import check_slide
try:
    report = check_slide(**options).as_dict()
except PatchaugError as error:
    report = {"problems": [str(error)]}
sys.stdout.write("\\n" + json.dumps(report))
"""


def check_isolated(
    image: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    seconds: float = SECONDS,
    memory: int = MEMORY,
    **options: Any,
) -> dict[str, Any]:
    """Check one slide in a child process.

    Args:
        image: The slide.
        root: Folder that the path of its mask follows from; default: its own.
        seconds: Time after which the child is ended.
        memory: Bytes of address space of the child; not limited on Windows.
        **options: masks, codes, ignore_index, polygons, sample and room of `patchaug.slides.check_slide.check_slide`.

    Returns:
        The fields of `patchaug.slides.audit.Report` as a dictionary. If the child ended without an answer,
        one problem says how.

    Examples:
        >>> check_isolated(path / "slide0.tiff", sample=1)["problems"]
        []
    """
    path = Path(image)
    data = pickle.dumps(
        {"image": path, "root": path.parent if root is None else Path(root), "memory": memory, **options}
    )
    command = [sys.executable, "-c", _CHILD]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=seconds, env=environment, check=False)
    except subprocess.TimeoutExpired:
        return _failed(image, f"its check took more than {seconds:g} s and was ended; do not open it")
    last = done.stdout.decode(errors="replace").rpartition("\n")[2]
    if done.returncode == 0 and last.startswith("{"):
        found: dict[str, Any] = {"path": str(image), **json.loads(last)}
        return found
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        return _failed(image, f"a decoder ended the process of its check ({name}); do not open it")
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return _failed(image, f"its check failed ({lines[-1][:200] if lines else done.returncode}); do not open it")


def _failed(image: str | os.PathLike[str], problem: str) -> dict[str, Any]:
    return {"path": str(Path(image)), "problems": [problem]}
