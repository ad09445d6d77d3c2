"""The slides of `patchaug evaluate`, one after the other, with their pages and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from patchaug.core.arrays import Array
from patchaug.errors import OptionError, PatchaugError
from patchaug.fastai2.model_folder import labels_of as labels_of
from patchaug.options.fields import TrainOptions
from patchaug.predict.bands import open_prediction
from patchaug.predict.evaluation import SlideEvaluation, WorstWindow, evaluate_slide
from patchaug.predict.evaluation_parts import pack_counts, pack_windows, unpack_counts, unpack_windows
from patchaug.predict.evaluation_report import evaluation_report, report_csv
from patchaug.predict.job import describe_options, file_state
from patchaug.predict.options import PredictOptions
from patchaug.predict.trained_model import trained_model
from patchaug.sampling import Grid
from patchaug.sampling.plan import Plan
from patchaug.slides.open import open_slide
from patchaug.slides.pair_table import Example
from patchaug.slides.slide import Slide
from patchaug.viz.web_page import write_page
from patchaug.viz.web_page.evaluation import WindowPicture, write_evaluation_page
from patchaug.viz.web_page.layers import class_layer, error_layer

PAGES = "pages"  # folder of the slides' pages, in that of the results
_PAGE_SIDE = 2048  # of the maps on a slide's page, pixels


class EvaluationRun:
    """Evaluates slides, and keeps their scores and the pictures of their worst windows.

    Args:
        learn: The models; several are an ensemble.
        data: How slides and masks are read.
        options: Arguments of `PredictOptions`.
        tolerance: Of boundaries, micrometres; 0: not measured.
        strict: Whether a slide without micrometres per pixel is an error; else its boundaries are left out.
        objects: Classes whose connected pixels are objects.
        worst: Number of windows to show.
        pages: Folder for the slides' pages, or None.

    Attributes:
        done: Evaluations of the slides so far, in order.
        failed: Error of each slide that could not be evaluated.
    """

    def __init__(
        self, learn: Sequence[Any], data: TrainOptions, options: dict[str, Any], *, tolerance: float, strict: bool,
        objects: list[str], worst: int, pages: Path | None,
    ) -> None:  # fmt: skip
        self.learn, self.data, self.options = learn, data, options
        self.tolerance, self.strict, self.objects, self.worst = tolerance, strict, objects, worst
        self.pages = pages
        self.done: list[SlideEvaluation] = []
        self.failed: dict[str, str] = {}
        self._links: dict[str, str] = {}
        self._unmeasured: list[str] = []

    def job(self, model: str, examples: list[Example]) -> dict[str, Any]:
        """Return what the results depend on, as JSON stores it.

        Args:
            model: Digest of the model.
            examples: All slides.
        """
        return {
            "model": model, "options": describe_options(PredictOptions(**self.options)),
            "labels": repr(self.data.label_arguments()), "mpp_of_slides": repr(self.data.mpp_of_slides),
            "tolerance": [self.tolerance, self.strict], "objects": self.objects, "worst": self.worst,
            "pages": self.pages is not None,
            "slides": [[file_state(str(one.image)), file_state(str(one.mask)), one.mpp] for one in examples],
        }  # fmt: skip

    def evaluate(self, example: Example, shown: Any) -> dict[str, Any]:
        """Evaluate a slide, and write its page.

        Returns:
            What the report needs of it, as JSON stores it; of a slide that cannot be evaluated, "failed".

        Raises:
            OptionError: An option is wrong, for this and every other slide.
        """
        try:
            return self._evaluate(example, shown)
        except OptionError:
            raise
        except (PatchaugError, RuntimeError, MemoryError) as error:
            return {"failed": " ".join(str(error).split())}

    def take(self, example: Example, facts: dict[str, Any]) -> None:
        """Add what is known of a slide to the results.

        Raises:
            PatchaugError: The slide cannot be opened.
        """
        if "failed" in facts:
            self.failed[example.image.name] = facts["failed"]
            return
        slide = self._open(example)
        frame = open_prediction(self.learn, slide, PredictOptions(**self.options)).frame
        if not facts["measured"] and self.tolerance > 0:
            self._unmeasured.append(slide.name)
        if facts["page"] is not None:
            self._links[slide.name] = f"{PAGES}/{quote(facts['page'])}"
        counts, worst = unpack_counts(facts["counts"]), unpack_windows(facts["worst"])
        self.done.append(SlideEvaluation(slide, frame, counts, worst, facts["seconds"]))

    def _evaluate(self, example: Example, shown: Any) -> dict[str, Any]:
        slide = self._open(example)
        measured = self.tolerance > 0 and (slide.mpp is not None or self.strict)
        task = shown.add_task(slide.name, total=None)
        maps = _SmallMaps(slide)

        def report(done: int, total: int, prediction: Any) -> None:
            windows = len(prediction.plan)
            shown.update(task, total=windows, completed=round(windows * done / total))

        found = evaluate_slide(
            self.learn, slide, tolerance=self.tolerance if measured else None, objects=self.objects, worst=self.worst,
            progress=report, on_rows=maps.add, **self.options,
        )  # fmt: skip
        shown.remove_task(task)
        page = self._write_slide(slide, found, maps, example.image.stem) if maps.whole else None
        return {
            "counts": pack_counts(found.counts), "worst": pack_windows(found.worst), "seconds": found.seconds,
            "measured": measured, "page": page,
        }  # fmt: skip

    def report(self, seed: int) -> dict[str, Any]:
        """Return the report of all slides."""
        remarks = []
        if self._unmeasured:
            remarks.append(
                f"{len(self._unmeasured)} slides state no micrometres per pixel, so their boundaries were not "
                f"compared: {', '.join(self._unmeasured[:5])}; --mpp-of-slides states them"
            )
        measured = self.tolerance if len(self._unmeasured) < len(self.done) and self.tolerance else None
        return {
            **evaluation_report(self.done, seed=seed), "tolerance_um": measured, "object_classes": self.objects,
            "remarks": remarks, "failed": self.failed,
        }  # fmt: skip

    def csv(self, report: dict[str, Any]) -> str:
        """Return the table of slides."""
        return report_csv(report)

    def write_page(self, report: dict[str, Any], out: Path, *, title: str) -> None:
        """Write the page, with pictures of the worst windows of all slides."""
        every = [(one, window) for one in self.done for window in one.worst]
        every.sort(key=lambda pair: -pair[1].wrong)
        pictures = [self._picture(one, window) for one, window in every[: self.worst]]
        write_evaluation_page(
            report, out, title=title, pictures=pictures, ignore_index=self.data.ignore_index, pages=self._links
        )  # fmt: skip

    def _open(self, example: Example) -> Slide:
        pixels = trained_model(self.learn[0]).pixels[0]
        return open_slide(
            example.image, example.mask, **self.data.label_arguments(), channels=pixels.channels, series=pixels.series,
            mpp=self.data.mpp_of_slides if example.mpp is None else example.mpp, ram=0,
        )  # fmt: skip

    def _write_slide(self, slide: Slide, found: SlideEvaluation, maps: _SmallMaps, stem: str) -> str | None:
        """Write the page of a slide: its mask, the prediction, and what is wrong, over its windows; return its name."""
        if self.pages is None:
            return None
        self.pages.mkdir(exist_ok=True)
        grid = trained_model(self.learn[0]).grid
        sampler = Grid(grid.size, level=grid.level, mpp=grid.mpp)
        predicted, wrong = maps.joined()
        layers = [class_layer("predicted classes", predicted, found.frame.codes), error_layer("wrong pixels", wrong)]
        file = self.pages / f"{stem}.html"
        write_page(Plan([slide], sampler, shuffle=False), file, epochs=1, layers=layers, max_size=_PAGE_SIDE)
        return file.name

    def _picture(self, one: SlideEvaluation, worst: WorstWindow) -> WindowPicture:
        window, slide = worst.window, one.slide
        factors = [a / b for a, b in zip(slide.dimensions, slide.level_size(window.level), strict=True)]
        places = [window.x * factors[0], window.y * factors[1], window.width * factors[0], window.height * factors[1]]
        link = self._links.get(slide.name)
        if link is not None:
            named = zip(("x", "y", "width", "height"), places, strict=True)
            link += "#" + "&".join(f"{name}={round(value)}" for name, value in named)
        patch = slide.read(window)
        return WindowPicture(
            slide.name,
            f"x={window.x} y={window.y} of level {window.level}: {worst.wrong:,} of {worst.labelled:,} labelled pixels "
            f"are wrong",
            patch.image, slide.read_mask(window), self._predicted(slide, worst), link,
        )  # fmt: skip

    def _predicted(self, slide: Slide, worst: WorstWindow) -> Array:
        """Return the predicted classes of a window, (height, width): predicted again, the same bytes."""
        options, window = PredictOptions(**self.options), worst.window
        if isinstance(options.region, str) and options.region == "all":
            prediction = open_prediction(self.learn, slide, replace(options, region=window))
            return np.concatenate([band.classes for band in prediction.bands()])
        prediction = open_prediction(self.learn, slide, options)
        left, top = window.x - prediction.layout.rectangle.x, window.y - prediction.layout.rectangle.y
        first = max(number for number, start in enumerate(prediction.starts) if start <= top)
        rows: list[Array] = []
        for band in prediction.bands(first=first):
            rows.append(band.classes[max(top - band.top, 0) : top + window.height - band.top])
            if band.top + len(band.classes) >= top + window.height:
                break
        return np.concatenate(rows)[:, left : left + window.width]


class _SmallMaps:
    """Predicted classes and wrong pixels of a whole slide, by every n-th pixel."""

    def __init__(self, slide: Slide) -> None:
        self._slide = slide
        self._rows: list[tuple[Array, Array]] = []
        self.whole, self._count = False, 0

    def add(self, top: int, truth: Array, classes: Array, level: int) -> None:
        """Take the n-th rows and columns of some rows."""
        width, height = self._slide.level_size(level)
        step = -(-max(width, height) // _PAGE_SIDE)
        self._count += len(classes)
        self.whole = classes.shape[1] == width and self._count == height
        middles = np.arange(step // 2, height, step)
        rows = middles[(middles >= top) & (middles < top + len(classes))] - top
        at = np.ix_(rows, np.arange(min(step // 2, width - 1), classes.shape[1], step))
        wrong = truth[at] != classes[at]
        if self._slide.ignore_index is not None:
            wrong &= truth[at] != self._slide.ignore_index
        self._rows.append((classes[at], wrong))

    def joined(self) -> tuple[Array, Array]:
        """Return both maps."""
        first, second = zip(*self._rows, strict=True)
        return np.concatenate(first), np.concatenate(second)
