"""Names of files that are not UTF-8, and memory that ends: one line, or the right result."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from patchaug import Foreground, Plan, ReadError, Uniform, Window, open_slide
from patchaug.core.validation import printable
from patchaug.readers import ArrayRaster
from patchaug.slides.slide import Slide
from patchaug.testing import coordinate_image, coordinate_mask, write_pyramid
from patchaug.viz.web_page import write_page

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names are bytes on Linux alone")


def latin1(folder: Path, name: bytes) -> str:
    """Write a slide whose name is in Latin-1, and return its path."""
    write_pyramid(folder / "x.tif", [coordinate_image(128, 128)])
    path = os.path.join(os.fsencode(folder), name)
    os.rename(folder / "x.tif", path)
    return os.fsdecode(path)


@linux
def test_a_name_in_latin_1_is_read_drawn_and_shown(tmp_path: Path) -> None:
    """In errors, plans and pages the byte is written as an escape."""
    slide = open_slide(latin1(tmp_path, b"n\xe9vus.tif"))
    assert slide.name == "n\\udce9vus.tif" == printable("n\udce9vus.tif")
    plan = Plan([slide], Uniform(32, per_slide=4), seed=1)
    assert np.array_equal(plan.read(plan[0]).image, coordinate_image(128, 128)[_part(plan[0].window)])
    write_page(plan, tmp_path / "page.html")
    assert "udce9vus.tif" in (tmp_path / "page.html").read_text(encoding="utf-8")


def _part(window: Window) -> tuple[slice, slice]:
    return slice(window.y, window.bottom), slice(window.x, window.right)


@linux
@pytest.mark.parametrize("arguments", [["show", "--size", "32"], ["check"]])
def test_commands_take_a_name_in_latin_1(arguments: list[str], tmp_path: Path) -> None:
    """Whatever the terminal's encoding."""
    path = latin1(tmp_path, b"n\xe9vus.tif")
    out = ["--out", str(tmp_path / "o.png")] if arguments[0] == "show" else []
    command = [sys.executable, "-m", "patchaug", arguments[0], path, *arguments[1:], *out]
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii:strict", "MPLBACKEND": "Agg"}
    done = subprocess.run(command, capture_output=True, env=environment, timeout=100)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-500:]


class _NoRoom(ArrayRaster):
    """A raster without memory."""

    def read(self, window: Window) -> np.ndarray:
        raise MemoryError


def test_memory_that_ends_is_one_error_with_its_place() -> None:
    """A `MemoryError` of a decoder or of numpy."""
    slide = Slide(_NoRoom(coordinate_image(64, 64)), name="liver")
    with pytest.raises(ReadError, match=r"no memory for 8 x 8 px; lower ram= .*; slide liver, level 0, window x=0 y=0"):
        slide.read(Window(0, 0, 8, 8))


LIMITED = """
import resource, sys
import numpy as np
limit = int(sys.argv[2]) << 20
with open("/proc/self/statm") as file:
    limit += int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
from patchaug import PatchaugError, Window, open_slide
from patchaug.testing import coordinate_image
try:
    slide = open_slide(sys.argv[1])
    for x in range(0, 1536, 256):
        found = slide.read(Window(x, 0, 512, 512)).image
        assert (found == coordinate_image(2048, 2048)[:512, x : x + 512]).all()
    print("right")
except PatchaugError as error:
    print("error", error)
"""


@linux
@pytest.mark.parametrize("megabytes", [300, 500, 1000, 3000])
def test_a_limit_on_address_space_ends_in_pixels_or_one_error(megabytes: int, tmp_path: Path) -> None:
    """The arena takes half of what is left of the limit, not half of the limit."""
    write_pyramid(tmp_path / "a.tif", [coordinate_image(2048, 2048)], compression="deflate")
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "a.tif"), str(megabytes)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.stdout.startswith(("right", "error") if megabytes < 500 else "right"), done.stderr[-500:]


def test_foreground_of_a_slide_with_an_escaped_name(tmp_path: Path) -> None:
    """Its windows follow from the name that is shown."""
    pixels, mask = coordinate_image(128, 128), coordinate_mask(128, 128)
    plans = [
        Plan([open_slide(pixels, mask, name=name)], Foreground(32, per_slide=8), seed=3)
        for name in ("n\udce9vus", "n\\udce9vus")
    ]
    assert [draw.window for draw in plans[0]] == [draw.window for draw in plans[1]]
