"""A program that closes descriptors which it did not open: no byte of its own files is written, no pixel is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchaug.core.memory.anonymous import HAS_FILE_LOCKS, ByteLocks, LostDescriptorError, MemoryFile
from patchaug.testing import coordinate_image, write_pyramid

pytestmark = pytest.mark.skipif(not HAS_FILE_LOCKS, reason="Windows shares no arena")

SCRIPT = """
import os, sys, pickle, multiprocessing
import numpy as np
from patchaug import Window
from patchaug.readers import open_raster
from patchaug.testing import coordinate_image

folder, kind = sys.argv[1:]
rasters = [open_raster(f"{folder}/a.tif", ram=1 << 26), open_raster(f"{folder}/b.png", ram=1 << 26)]
whole, expected = Window(0, 0, 600, 500), coordinate_image(600, 500)

def read():
    for raster in rasters:
        for x in range(0, 600, 50):
            assert (raster.read(Window(x, 100, 50, 300)) == expected[100:400, x : x + 50]).all()

if kind == "warm":
    read()
else:
    rasters[0].read(Window(0, 0, 10, 10))
os.closerange(3, 512)
content = os.urandom(1 << 16)
own = [os.open(f"{folder}/own{number}", os.O_RDWR | os.O_CREAT) for number in range(40)]
assert own[0] < 12  # they have the numbers of what was closed
for fd in own:
    os.write(fd, content)
read()
if os.fork() == 0:
    read()
    os._exit(0)
assert os.wait()[1] == 0
read()
del rasters
import gc; gc.collect()
for number, fd in enumerate(own):
    assert os.fstat(fd).st_size == len(content)  # open, and as long as before
    with open(f"{folder}/own{number}", "rb") as file:
        assert file.read() == content
print("right")
"""


@pytest.mark.parametrize("kind", ["cold", "warm"])
def test_files_of_the_user_are_never_written_to(kind: str, tmp_path: Path) -> None:
    """`os.closerange`, then files with the same numbers: pixels are right, files are whole and stay open."""
    write_pyramid(tmp_path / "a.tif", [coordinate_image(600, 500)], compression="deflate")
    Image.fromarray(coordinate_image(600, 500)).save(tmp_path / "b.png")
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(tmp_path), kind]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout == "right\n", done.stderr


def test_a_lost_descriptor_is_neither_written_nor_locked_nor_closed(tmp_path: Path) -> None:
    """The objects themselves: each use is an error, or goes through the map."""
    import os

    memory, locks = MemoryFile(1 << 16), ByteLocks()
    numbers = memory.fd, locks.fd
    assert len(memory.map) == 1 << 16
    for number in numbers:
        os.close(number)
    files = [(tmp_path / name).open("wb") for name in "ab"]
    assert {file.fileno() for file in files} == set(numbers)
    memory.write(8, memoryview(np.arange(100, dtype=np.uint8)))
    assert memory.map[8:108] == bytes(range(100))
    with pytest.raises(LostDescriptorError, match="was closed elsewhere in the program"), locks.exclusive(3):
        pass
    with pytest.raises(LostDescriptorError):
        locks.held_by_others(3)
    del memory, locks
    for file in files:
        assert os.fstat(file.fileno()).st_size == 0
        file.close()
