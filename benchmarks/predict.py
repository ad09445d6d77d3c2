"""Measure the prediction of a whole slide: time beside the model's own, and memory above the loaded model.

    python benchmarks/predict.py SLIDE.tiff [--what classes] [--overlap 0] [--tta] [--model sleep] [--workers 2]

The model has three classes and takes 100 ms for a batch of eight windows of 512 px: "sleep" is a convolution of 1 px
that then waits, as for an accelerator, so that the cores are free; "conv" computes on one core as long as that takes.
Its own time is the sum of its calls in the same run. Memory is the peak of resident pages of this process and its
workers, shared pages counted once (PSS), above that before the prediction. The processor's time tells what reading and
joining cost on a busy machine: both run beside the model, in workers and in a thread.
"""

from __future__ import annotations

import argparse
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

from patchaug.fastai import RandomPatch, SlideDataLoaders
from patchaug.predict.bands import open_prediction
from patchaug.predict.options import PredictOptions

SIZE, BATCH, SECONDS = 512, 8, 0.1
CODES = ["background", "nucleus", "other"]


class Timed(nn.Module):
    """Three scores of each pixel; counts the time of its calls."""

    def __init__(self, waits: bool) -> None:
        super().__init__()
        self.layers = nn.Conv2d(3, 3, 1) if waits else nn.Sequential(nn.Conv2d(3, 9, 3, padding=1), nn.Conv2d(9, 3, 1))
        self.waits, self.seconds, self.calls = waits, 0.0, 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the scores, after 100 ms where it waits."""
        start = time.perf_counter()
        scores = self.layers(images)
        if self.waits:
            time.sleep(max(SECONDS * len(images) / BATCH - (time.perf_counter() - start), 0))
        self.seconds += time.perf_counter() - start
        self.calls += 1
        return scores


class Peak:
    """Largest memory of this process and its children, watched by a thread."""

    def __init__(self) -> None:
        self.most, self._ends = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peak:
        self.before = self._now()
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._ends.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ends.wait(0.2):
            self.most = max(self.most, self._now())

    @staticmethod
    def _now() -> int:
        own = psutil.Process()
        total = 0
        for process in (own, *own.children(recursive=True)):
            with suppress(psutil.Error):
                total += process.memory_full_info().pss
        return total


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
    parser.add_argument("--what", choices=["classes", "probabilities"], default="probabilities")
    parser.add_argument("--overlap", type=int, default=0)
    parser.add_argument("--model", choices=["sleep", "conv"], default="sleep")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tta", action="store_const", const="d4")
    parser.add_argument("--zarr", action="store_true", help="write the map to a zarr array, in place of counting it")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    learn = learner(given.model == "sleep", given.workers)
    options = PredictOptions(overlap=given.overlap, tta=given.tta, what=given.what, workers=given.workers)
    learn.predict_slide(np.zeros((SIZE, SIZE, 3), np.uint8), workers=0)  # what is loaded at the first call
    model, pixels = learn.model, np.zeros(len(CODES), np.int64)
    model.seconds, model.calls = 0.0, 0
    with Peak() as peak, tempfile.TemporaryDirectory(dir=given.slide.parent) as folder:
        start, processor = time.perf_counter(), time.process_time()
        if given.zarr:
            learn.predict_slide(
                given.slide, what=given.what, overlap=given.overlap, tta=given.tta, workers=given.workers,
                out=Path(folder, "map.zarr"),
            )  # fmt: skip
        else:
            for band in open_prediction(learn, given.slide, options).bands():
                pixels += [np.count_nonzero(band.classes == number) for number in range(len(CODES))]
                del band  # the next one is being made
        seconds, processor = time.perf_counter() - start, time.process_time() - processor
    give(
        [
            f"| {given.slide.name}, {given.what}, {load()} | |",
            "|---|---|",
            f"| overlap, workers, model, zarr | {given.overlap}, {given.workers}, {given.model}, {given.zarr} |",
            f"| batches, model's own time | {model.calls}, {model.seconds:.1f} s |",
            f"| whole prediction | {seconds:.1f} s = {seconds / model.seconds:.3f} times that |",
            f"| processor's time of the main process | {1000 * processor / model.calls:.0f} ms a batch |",
            f"| peak memory above the model | {(peak.most - peak.before) / 2**20:.0f} MiB |",
        ],
        given.out,
    )


if __name__ == "__main__":
    main()
