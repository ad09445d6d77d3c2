"""One memory for the ranks of a machine: shared where they see each other, divided otherwise, whatever kills a rank."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import numpy as np
import pytest

from patchaug.core.memory.anonymous import can_name_memory
from patchaug.core.memory.arena import UNIT
from patchaug.core.windows import Window
from patchaug.readers import TiffRaster
from patchaug.testing import coordinate_image, write_pyramid

pytestmark = pytest.mark.skipif(not can_name_memory(), reason="this system has no memory with names in /proc")

ROOT = Path(__file__).resolve().parents[2]
TILES = 8 * 7  # of 64 px in the slide below
LOOP = """
import os, sys
from hashlib import sha256
from patchaug.core.memory import rank_memory
from patchaug.core.memory.arena import arena, cached_bytes
from patchaug.core.memory.room import budget, room_for
from patchaug.core.windows import Window
from patchaug.readers import TiffRaster

class Counting(TiffRaster):
    decoded = 0
    stuck = False

    def decode_tile(self, level, number, window):
        self.decoded += 1
        tile = super().decode_tile(level, number, window)
        if self.stuck:
            print("'stuck'", flush=True)
            sys.stdin.read()
        return tile

    decode_rows = lambda self, level, number, window, rows: self.decode_tile(level, number, window)

    def pixels(self):
        return sha256(self.read(Window(0, 0, 500, 400)).tobytes()).hexdigest()

def opened(path, ram):
    return Counting(path, ram=room_for(ram))

for line in sys.stdin:
    try:
        print(repr(eval(line)), flush=True)
    except Exception as error:
        print(repr(f"{type(error).__name__}: {error}"), flush=True)
"""


class Rank:
    """A process that evaluates expressions, in the environment of a rank."""

    def __init__(self, job: str, rank: int, *, size: int = 2, hidden: bool = False) -> None:
        known = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": job}
        environ = {key: str(value) for key, value in known.items()}
        first = f"import os; os.environ.update({environ})\n" if hidden else ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", first + LOOP], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env={**os.environ, **({} if hidden else environ)},
        )  # fmt: skip

    def start(self, text: str) -> None:
        print(text, file=self.process.stdin, flush=True)

    def answer(self) -> object:
        return eval(self.process.stdout.readline())

    def __call__(self, text: str) -> object:
        self.start(text)
        return self.answer()

    def pss(self) -> int:
        """Return this process's share of the memory of the cache in bytes, by the system's count."""
        inside, total = False, 0
        for line in Path(f"/proc/{self.process.pid}/smaps").read_text().splitlines():
            first = line.split()[0]
            if not first.endswith(":"):
                inside = "/memfd:patchaug" in line
            elif inside and first == "Pss:":
                total += int(line.split()[1]) * 1024
        return total

    def end(self) -> str:
        """Close it, and return what it printed on stderr."""
        return self.process.communicate()[1]


@pytest.fixture
def start():
    """Start ranks of one job; those that run at the end are killed."""
    started, job = [], uuid.uuid4().hex

    def start(*args, **options) -> Rank:
        started.append(Rank(job, *args, **options))
        return started[-1]

    yield start
    for rank in started:
        rank.process.kill()
        rank.process.communicate()


@pytest.fixture
def slide(tmp_path):
    write_pyramid(tmp_path / "slide.tiff", [coordinate_image(500, 400)])
    return tmp_path / "slide.tiff"


@pytest.fixture
def expected(slide):
    from hashlib import sha256

    return sha256(np.ascontiguousarray(TiffRaster(slide).read(Window(0, 0, 500, 400))).tobytes()).hexdigest()


def test_ranks_share_one_budget_and_decode_each_tile_once(start, slide, expected):
    """Together they keep 20 tiles where there is room for 20; with room for all, each is decoded once."""
    ranks = [start(0), start(1)]
    for rank in ranks:  # at the same time: one makes the memory
        rank.start(f"(slide := opened({str(slide)!r}, {21 * UNIT})).pixels()")
    assert [rank.answer() for rank in ranks] == [expected] * 2
    assert [rank("cached_bytes()") for rank in ranks] == [21 * UNIT] * 2
    assert sum(rank.pss() for rank in ranks) <= 22 * UNIT  # one for the records
    for rank in ranks:
        rank.start(f"(slide := opened({str(slide)!r}, '4MB')).pixels()")
    assert [rank.answer() for rank in ranks] == [expected] * 2
    assert sum(rank("slide.decoded") for rank in ranks) == TILES - 20
    assert {rank("cached_bytes()") for rank in ranks} == {(TILES + 1) * UNIT}
    assert (TILES - 1) * 64 * 64 * 3 < sum(rank.pss() for rank in ranks) <= (TILES + 2) * UNIT
    late = start(1)  # a process that rank 1 started, without the parent's handle
    assert late(f"(slide := opened({str(slide)!r}, '4MB')).pixels()") == expected
    assert late("slide.decoded") == 0
    texts = [rank.end() for rank in (*ranks, late)]
    assert sorted(texts) == ["", "", "the 2 processes of this machine share one memory for decoded pixels\n"]


def test_ranks_that_cannot_see_each_other_divide_the_budget(start, slide, expected):
    """Variables that are set after the start are not seen by others."""
    ranks = [start(0, hidden=True), start(1, hidden=True)]
    for rank in ranks:
        rank.start(f"(slide := opened({str(slide)!r}, {42 * UNIT})).pixels()")
    assert [rank.answer() for rank in ranks] == [expected] * 2
    assert [rank("cached_bytes()") for rank in ranks] == [21 * UNIT] * 2
    assert sum(rank.pss() for rank in ranks) <= 44 * UNIT
    assert ranks[0]("room_for('auto')") < ranks[0]("budget('auto')") * 0.6
    assert all("the 2 processes of this machine do not share memory: each has an equal part" in r.end() for r in ranks)


def test_a_rank_that_comes_after_one_has_divided_divides_too(start, slide):
    """The first did not see it: a whole budget for the second would be too much together."""
    first = start(0)
    first("setattr(rank_memory, '_PATIENCE', 0.1)")
    assert first("room_for(1000)") == 500
    assert start(1)("room_for(1000)") == 500
    assert start(0)("[room_for(1000), arena().file.size > 0]") == [500, True]


def test_a_killed_rank_neither_blocks_the_others_nor_leaves_half_a_tile(start, slide, expected):
    """Whoever waits for its tile decodes it; a rank that is started in its place goes on with what is kept."""
    first, second = start(0), start(1)
    assert first(f"setattr(slide := opened({str(slide)!r}, '4MB'), 'stuck', True)") is None
    first.start("slide.pixels()")
    assert second(f"(slide := opened({str(slide)!r}, '4MB')).decoded") == 0
    assert first.answer() == "stuck"
    second.start("slide.pixels()")
    time.sleep(0.1)  # it waits for the first tile
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    assert second.answer() == expected
    assert second("slide.decoded") == TILES
    again = start(0)
    assert again(f"(slide := opened({str(slide)!r}, '4MB')).pixels()") == expected
    assert again("slide.decoded") == 0
    for rank in (second, again):
        rank.process.kill()
        rank.process.wait()
    assert not [path for path in Path("/dev/shm").iterdir() if "patchaug" in path.name]
