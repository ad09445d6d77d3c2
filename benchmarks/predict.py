"""Measure the prediction of a whole slide: time beside the model's own, and memory above the loaded model.

    python benchmarks/predict.py SLIDE.tiff [--overlap 128] [--size 131072x4096] [--formats geojson]

The model has three classes and takes 100 ms for a batch of eight windows of 512 px: "sleep" is a convolution of 1 px
that then waits, as for an accelerator, so that the cores are free; "conv" computes on one core as long as that takes.
Its own time is the sum of its calls in the same run. Memory is the peak of resident pages of this process and its
workers, shared pages counted once (PSS), above that before the prediction. The processor's time tells what reading,
joining and writing cost on a busy machine: they run beside the model, in workers and in threads.

Files are written to a temporary folder beside the slide; with --formats "" the pieces of the map are counted instead.
--size repeats the slide to a raster of that size, such as 131072x131072 for 17 Gpx.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from fastai.vision.all import Learner, nn
from tables import give, load

from patchaug import Window, open_slide
from patchaug.fastai import RandomPatch, SlideDataLoaders
from patchaug.predict.bands import Piece, open_prediction
from patchaug.predict.options import PredictOptions

SIZE, BATCH, SECONDS = 512, 8, 0.1
CODES = ["background", "nucleus", "other"]


class Timed(nn.Module):
    """Three scores of each pixel, by the brightness around it; counts the time of its calls."""

    def __init__(self, waits: bool) -> None:
        super().__init__()
        self.layers = nn.Conv2d(3, 3, 1).requires_grad_(False)
        self.layers.weight[:] = torch.tensor([20.0, -20.0, 0.0])[:, None, None, None] / 3
        self.layers.bias[:] = torch.tensor([-14.0, 9.0, 0.0])
        self.work = None if waits else nn.Sequential(nn.Conv2d(3, 9, 3, padding=1), nn.Conv2d(9, 3, 1))
        self.seconds, self.processor, self.calls = 0.0, 0.0, 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the scores, after 100 ms where it waits."""
        start, processor = time.perf_counter(), time.thread_time()
        small = self.layers(nn.functional.avg_pool2d(images, 4))
        scores = nn.functional.interpolate(small, scale_factor=4)
        if self.work is None:
            time.sleep(max(SECONDS * len(images) / BATCH - (time.perf_counter() - start), 0))
        else:
            scores += 0 * self.work(images)
        self.seconds += time.perf_counter() - start
        self.processor += time.thread_time() - processor
        self.calls += 1
        return scores


class Peak:
    """Largest memory of this process and its children, watched by a thread."""

    def __init__(self) -> None:
        self.most = self.most_own = 0
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peak:
        self.before = sum(self._now())
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._ends.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ends.wait(0.2):
            now = self._now()
            self.most, self.most_own = max(self.most, sum(now)), max(self.most_own, now[0])

    @staticmethod
    def _now() -> list[int]:
        own = psutil.Process()
        found = []
        for process in (own, *own.children(recursive=True)):
            with suppress(psutil.Error):
                found.append(process.memory_full_info().pss)
        return found


class Repeated:
    """A raster of any size that shows a part of a slide again and again."""

    name = "repeated"
    level_downsamples = (1.0,)
    mpp = (0.5, 0.5)

    def __init__(self, slide: Path, size: str) -> None:
        width, height = map(int, size.split("x"))
        self.level_dimensions = ((width, height),)
        whole = open_slide(slide)
        x, y = (side // 2 - 1024 for side in whole.dimensions)
        self.part = whole.read(Window(x, y, 2048, 2048)).image

    def read(self, window: Window) -> np.ndarray:
        """Read a window."""
        rows, columns = np.arange(window.y, window.bottom) % 2048, np.arange(window.x, window.right) % 2048
        return self.part[np.ix_(rows, columns)]


def learner(waits: bool, workers: int) -> Learner:
    """Make a learner for slides of three channels."""
    image, mask = np.zeros((SIZE, SIZE, 3), np.uint8), np.zeros((SIZE, SIZE), np.uint8)
    dls = SlideDataLoaders.from_lists(
        [(image, mask)], [(image.copy(), mask)], codes=CODES, item_tfms=RandomPatch(SIZE), bs=1, val_bs=BATCH,
        num_workers=workers,
    )  # fmt: skip
    return Learner(dls, Timed(waits))


def main() -> None:
    """Predict a slide once."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slide", type=Path)
    parser.add_argument("--overlap", type=int, default=0)
    parser.add_argument("--model", choices=["sleep", "conv"], default="sleep")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tta", action="store_const", const="d4")
    parser.add_argument("--formats", default="probabilities.ome.tif,geojson")
    parser.add_argument("--size", metavar="WIDTHxHEIGHT")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    learn = learner(given.model == "sleep", given.workers)
    options = {"overlap": given.overlap, "tta": given.tta, "workers": given.workers}
    slide = open_slide(given.slide if given.size is None else Repeated(given.slide, given.size), name="slide", ram=0)
    learn.predict_slide(np.zeros((SIZE, SIZE, 3), np.uint8), workers=0)  # what is loaded at the first call
    model, pixels = learn.model, np.zeros(len(CODES), np.int64)

    def count(piece: Piece) -> None:
        pixels[:] += [np.count_nonzero(piece.classes == number) for number in range(len(CODES))]

    with tempfile.TemporaryDirectory(dir=given.slide.parent) as folder:
        formats = [one for one in given.formats.split(",") if one]
        if formats:
            small = open_slide(np.zeros((SIZE, SIZE, 3), np.uint8), name="slide", mpp=0.5)
            learn.predict_slides([small], Path(folder, "small"), formats=formats, workers=0)
        model.seconds, model.processor, model.calls = 0.0, 0.0, 0
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        before = children.ru_utime + children.ru_stime
        with Peak() as peak:
            start, processor = time.perf_counter(), time.process_time()
            if formats:
                learn.predict_slides([slide], Path(folder, "maps"), formats=formats, **options)
            else:
                for _ in open_prediction(learn, slide, PredictOptions(what="probabilities", **options)).run(count):
                    pass
            seconds, processor = time.perf_counter() - start, time.process_time() - processor
        files = ", ".join(f"{one.name} {one.stat().st_size / 1e6:.0f} MB" for one in Path(folder).glob("maps/*.*"))
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    of_workers = children.ru_utime + children.ru_stime - before
    extra = 1000 * (processor - model.processor) / model.calls
    give(
        [
            f"| {given.slide.name} {given.size or ''}, {load()} | |",
            "|---|---|",
            f"| overlap, workers, model | {given.overlap}, {given.workers}, {given.model} |",
            f"| files | {files or 'none'} |",
            f"| batches, model's own time | {model.calls}, {model.seconds:.1f} s |",
            f"| whole prediction | {seconds:.1f} s = {seconds / model.seconds:.3f} times that |",
            f"| processor's time of the main process, without the model's | {extra:.0f} ms a batch |",
            f"| processor's time of the workers | {1000 * of_workers / model.calls:.0f} ms a batch |",
            f"| peak memory above the model | {(peak.most - peak.before) / 2**20:.0f} MiB |",
            f"| of these in the main process | {(peak.most_own - peak.before) / 2**20:.0f} MiB at most |",
        ],
        given.out,
    )


if __name__ == "__main__":
    main()
