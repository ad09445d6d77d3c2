"""Indexes that several processes build are those of one; what harms a process, or the program, ends in one error."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from patchaug import Foreground, Grid, LabelError, OptionError, Plan, ReadError, Uniform, open_slide
from patchaug.core.process_pool import available_cores
from patchaug.sampling.index_requests import Indexing
from patchaug.slides import index_build
from patchaug.slides.index_build import build_indexes
from patchaug.slides.index_cache import IndexCache, keeping_indexes
from patchaug.testing.synthetic_slides import write_slide

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six masks, and an image of the same size with a hole in its alpha."""
    folder = tmp_path_factory.mktemp("many")
    for k in range(6):
        mask = np.random.default_rng(k).random((300, 700)) < (0.3 if k == 5 else 0.002)
        tifffile.imwrite(folder / f"{k}.tiff", mask.astype(np.uint8), tile=(256, 256), compression="zlib")
    image = np.full((300, 700, 4), 255, np.uint8)
    image[:50, :60, 3] = 0
    tifffile.imwrite(
        folder / "image.tiff", image, tile=(256, 256), photometric="rgb", extrasamples=["unassalpha"],
        compression="zlib",
    )  # fmt: skip
    write_slide(folder, "tissue", size=512)
    return folder


def slides_of(folder: Path, **options: object) -> list:
    """Slides of every kind of index: masks, masks beside invalid pixels, arrays, tissue."""
    image = np.zeros((300, 700, 3), np.uint8)
    made = [open_slide(image, folder / f"{k}.tiff", name=f"{k}", **options) for k in range(6)]
    made.append(open_slide(folder / "image.tiff", folder / "0.tiff", name="holes", ignore_index=9, **options))
    made.append(open_slide(image, np.eye(300, 700, dtype=np.uint8), name="array", **options))
    return [*made, open_slide(folder / "tissue.tiff", name="tissue")]


def arrays(plan: Plan) -> list:
    return [
        [(value, *(getattr(runs, name).tolist() for name in ("blocks", "amounts", "firsts", "rows", "starts", "lasts")))
         for value, runs in labels.runs.items()]
        for slide in plan.slides for labels in slide._label_indexes.values()
    ]  # fmt: skip


def test_processes_build_what_one_does(files: Path, tmp_path: Path) -> None:
    """The same arrays and the same draws, without a cache, into one, and from one that another run has filled."""
    sampler = Foreground(64, per_slide=5, min_valid=0.3)
    alone = Plan(slides_of(files), sampler, index_workers=1)
    several = Plan(slides_of(files)[-5:-1], sampler, index_workers=2)
    first = Plan(slides_of(files), sampler, index_workers=2, index_cache=tmp_path / "indexes")
    entries = sorted((tmp_path / "indexes").rglob("*.labels"))
    again = Plan(slides_of(files), sampler, index_workers=1, index_cache=tmp_path / "indexes")
    for plan in (first, again):
        assert arrays(plan) == arrays(alone)
        assert [plan[k] for k in range(60)] == [alone[k] for k in range(60)]
    assert arrays(several) == arrays(alone)[-len(arrays(several)) - 1 : -1]
    assert len(entries) == 9 and not list((tmp_path / "indexes").rglob("*.lock"))  # "holes" has two, the array none
    assert sorted((tmp_path / "indexes").rglob("*.labels")) == entries


def test_grids_and_uniform_plans_read_no_label(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of a mask but its header."""
    slides = slides_of(files)
    monkeypatch.setattr(index_build, "build_indexes", None)
    for slide in slides:
        monkeypatch.setattr(slide, "label_index", None)
        if slide.mask is not None:
            monkeypatch.setattr(slide.mask, "read", None)
    for sampler in (Uniform(64), Uniform(64, per_slide="area", windows=20), Grid(64), Foreground(64, foreground=0)):
        assert len(Plan(slides, sampler)) > 0


def test_all_bad_slides_are_named_in_one_error(files: Path, tmp_path: Path) -> None:
    """From several processes and from one; a single one keeps its own text."""
    for name, value in (("a", 7), ("b", 8)):
        tifffile.imwrite(tmp_path / f"{name}.tiff", np.full((300, 700), value, np.uint8), tile=(256, 256))
    image = np.zeros((300, 700, 3), np.uint8)

    def plan(*names: str, workers: int) -> Plan:
        paths = [(tmp_path if name in "ab" else files) / f"{name}.tiff" for name in names]
        slides = [open_slide(image, path, name=path.name, codes=["x", "y"]) for path in paths]
        return Plan(slides, Foreground(64), index_workers=workers)

    for workers in (1, 2):
        with pytest.raises(LabelError, match="^2 of 4 slides cannot be used:\n- a.tiff: the mask holds class 7") as two:
            plan("a", "0", "b", "1", workers=workers)
        assert "\n- b.tiff: the mask holds class 8 at x=0 y=0 (210000 px)" in str(two.value)
    with pytest.raises(LabelError, match="^a.tiff: the mask holds class 7"):
        plan("a", "0", workers=1)


def test_two_programs_at_once_build_each_index_once(files: Path, tmp_path: Path) -> None:
    """Two threads stand for two ranks: each file of the cache is written once, and both plans are the same."""
    written: list[str] = []

    class Counting(IndexCache):
        def store(self, key: str, data: bytes) -> None:
            written.append(key)
            time.sleep(0.05)  # the other one comes meanwhile
            super().store(key, data)

    plans: list[Plan] = []

    def work() -> None:
        with keeping_indexes(Counting(tmp_path / "indexes")):
            plans.append(Plan(slides_of(files), Foreground(64), index_workers=1))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert arrays(plans[0]) == arrays(plans[1])
    assert len(written) == len(set(written)) == 9


class Stuck:
    """A task that ends its process, or hangs in it."""

    slide, pixels = "case 7", 1

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self) -> None:
        if self.number < 0:
            time.sleep(-self.number)
        os.kill(os.getpid(), self.number)

    def for_other_process(self) -> "Stuck":
        return self


def test_a_killed_process_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the slide, how the process ended, and the option that helps."""
    monkeypatch.syspath_prepend(str(ROOT))
    with pytest.raises(ReadError, match=r"case 7: the process .* has ended \(SIGKILL\); .* lower index_workers") as one:
        build_indexes([Stuck(signal.SIGKILL), Stuck(signal.SIGKILL)], workers=2)  # type: ignore[list-item]
    assert "\n" not in str(one.value)


SCRIPT = """
import signal, sys, threading, time
from tests.slides.test_index_build import Stuck
from patchaug.slides.index_build import build_indexes
from patchaug.core import process_pool
start = process_pool._start
process_pool._start = lambda: (one := start(), print(one.pid, flush=True))[0]
build_indexes([Stuck(-60), Stuck(-60)], workers=2)
"""


def test_ctrl_c_ends_the_processes(tmp_path: Path) -> None:
    """A script without a main guard; the processes end with it, and nothing but its own traceback is printed."""
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    script = subprocess.Popen(
        [sys.executable, "script.py"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment,
    )  # fmt: skip
    assert script.stdout is not None
    pids = [int(script.stdout.readline()) for _ in range(2)]
    time.sleep(0.3)
    script.send_signal(signal.SIGINT)
    errors = script.communicate(timeout=30)[1]
    assert errors.count("Traceback") == 1 and errors.rstrip().endswith("KeyboardInterrupt")
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


class Paced:
    """A task that takes its time by a clock of the test."""

    def __init__(self, clock: list[float], pixels: int, seconds: float) -> None:
        self.slide, self.pixels, self.seconds, self.clock = f"{pixels} px", pixels, seconds, clock

    def __call__(self) -> str:
        self.clock[0] += self.seconds
        return self.slide


@pytest.mark.parametrize(
    ("pixels", "pace", "for_others"),
    [
        ([1000] * 50, 1e-6, 0),  # 0.05 s in all
        ([1000] * 1000, 1e-6, 0),  # 1 s
        ([1000] * 3000, 1e-6, 2900),  # 3 s, of which 0.1 s on trial
        ([4000, 1000, 2000, 3000], 1e-3, 3),  # the smallest alone
        ([index_build.TRIAL] * 2, 1e-12, 2),  # too large for a trial
        ([index_build.TRIAL, 1000], 1e-3, 0),  # nothing to share after the trial
        ([1000, 5_000_000], 1e-6, 0),  # one is left for one process
    ],
)
def test_processes_start_where_they_save_time(
    monkeypatch: pytest.MonkeyPatch, pixels: list[int], pace: float, for_others: int
) -> None:
    """By the pace of the smallest masks; the results come in the order of the tasks."""
    clock, asked = [0.0], []
    tasks = [Paced(clock, one, one * pace) for one in pixels]
    monkeypatch.setattr(index_build.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(index_build, "available_cores", lambda: 2)
    monkeypatch.setattr(index_build, "_message", lambda task, *_: asked.append(task.pixels))  # none: done here
    assert build_indexes(tasks) == [f"{one} px" for one in pixels]  # type: ignore[arg-type]
    assert len(asked) == for_others
    assert sorted(asked, reverse=True) == asked == sorted(pixels, reverse=True)[: len(asked)]


def test_options_of_indexes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are verified at once; an exported learner names no folder; ranks share the cores."""
    for workers in (0, -1, 1.5, "all", True):
        with pytest.raises(OptionError, match="index_workers"):
            Indexing(workers=workers)  # type: ignore[arg-type]
    for folder in (5, "", "a\0b", "s3://bucket/indexes"):
        with pytest.raises(OptionError, match="index_cache must be (the path of )?a folder"):
            Indexing(folder)  # type: ignore[arg-type]
    assert pickle.loads(pickle.dumps(Indexing(str(tmp_path), 3))) == Indexing(None, 3)
    cores = available_cores()
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert available_cores() == max(cores // 2, 1)
