"""Predict many slides into files: `learn.predict_slides(slides, folder)`, and `patchaug predict`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from patchaug.core.arguments import names_arguments
from patchaug.errors import OptionError, PatchaugError, WriteError
from patchaug.predict.bands import Prediction, opened
from patchaug.predict.job import describe_job, digest_of_model
from patchaug.predict.journal import BandJournal
from patchaug.predict.options import PredictOptions
from patchaug.predict.output_folder import OutputFolder
from patchaug.predict.trained_model import TrainedModel, trained_model
from patchaug.predict.write_prediction import checked_formats, needs_probabilities, write_prediction
from patchaug.readers import is_zarr
from patchaug.slides.open import open_slide
from patchaug.slides.slide import Slide

FORMATS = ("ome.tif", "geojson")
_OME = ".ome"  # of case7.ome.tif, which is no part of the stem


@dataclass(frozen=True)
class SlideResult:
    """How the prediction of one slide ended.

    Attributes:
        slide: Name of the slide.
        files: The files of the slide, whether written now or before.
        error: What went wrong; None for a slide whose files are all there.
        written: Whether a file was written now.
        windows: Windows of the slide; 0 where none was needed.
        megapixels: Size of the map; 0 where none was needed.
        seconds: Time that it took.
    """

    slide: str
    files: tuple[Path, ...]
    error: Exception | None = None
    written: bool = True
    windows: int = 0
    megapixels: float = 0.0
    seconds: float = 0.0


SlideProgress = Callable[[str, int, int, Prediction], None]  # slide, bands done, all bands, its prediction


@names_arguments
def predict_slides(
    learn: Any, slides: Sequence[Any], folder: str | os.PathLike[str], *, formats: Sequence[str] = FORMATS,
    resume: bool = False, mpp_of_slides: float | tuple[float, float] | None = None, **options: Any,
) -> list[SlideResult]:  # fmt: skip
    """Predict whole slides, and write each to files named like the slide: `learn.predict_slides(slides, folder)`.

    A file appears under its name when it is whole. Finished bands are kept in a hidden folder until then, so that after
    any end `resume=True` goes on, and the files are the same bytes. A slide that cannot be predicted does not keep the
    others from being predicted.

    Args:
        learn: A `Learner` trained on slides, or a list of them: an ensemble.
        slides: Paths, `Slide` objects, or other sources of `open_slide`; their masks are ignored.
        folder: Folder for the files; it is made where it does not exist.
        formats: Formats such as "ome.tif" and "geojson"; "probabilities.ome.tif" holds probabilities of all classes.
        resume: Go on with what was broken off, and skip files that are finished.
        mpp_of_slides: Micrometres per pixel at level 0 of all slides that are paths, for files that store none or a
            wrong value.
        **options: overlap, blend, tta, region, level, mpp, batch_size and workers, see
            `patchaug.predict.options.PredictOptions`.

    Returns:
        A result for each slide.

    Raises:
        OptionError: An option is wrong, or two slides have one stem.
        WriteError: A file of that name exists that this prediction did not write.
        PatchaugError: Slides could not be predicted; the error lists them when all others are done.

    Examples:
        >>> from patchaug.fastai import predict_slides
        >>> result = predict_slides(learn, ["slides/slide0.tiff"], "maps", formats=["areas.csv"])
        >>> [file.as_posix() for file in result[0].files]
        ['maps/slide0.areas.csv']
    """
    results = list(
        each_prediction(learn, slides, folder, formats=formats, resume=resume, mpp_of_slides=mpp_of_slides, **options)
    )
    failed = [result for result in results if result.error is not None]
    if failed:
        listed = "; ".join(f"{result.slide}: {result.error}" for result in failed[:5])
        raise PatchaugError(
            f"{len(failed)} of {len(results)} slides could not be predicted, the others are in {folder}: {listed}"
        ) from failed[0].error
    return results


def each_prediction(
    learn: Any, slides: Sequence[Any], folder: str | os.PathLike[str], *, formats: Sequence[str] = FORMATS,
    resume: bool = False, mpp_of_slides: float | tuple[float, float] | None = None,
    progress: SlideProgress | None = None, **options: Any,
) -> Iterator[SlideResult]:  # fmt: skip
    """Predict slides as `predict_slides` does, and yield each result, with its error, when the slide is done.

    Args:
        learn: See `predict_slides`.
        slides: See `predict_slides`.
        folder: See `predict_slides`.
        formats: See `predict_slides`.
        resume: See `predict_slides`.
        mpp_of_slides: See `predict_slides`.
        progress: Called with the slide's name, the number of its bands that are done, and of all, and its prediction.
        **options: See `predict_slides`.

    Raises:
        OptionError: An option is wrong, or two slides have one stem; before anything is predicted.
        WriteError: A file of that name exists that this prediction did not write; before anything is predicted.
    """
    formats = checked_formats(formats)
    if "what" in options or "spread" in options:
        raise OptionError("predict_slides writes what formats= says; leave what= and spread= out")
    how = PredictOptions(**options, what="probabilities" if needs_probabilities(formats) else "classes")
    models = [trained_model(one) for one in (learn if isinstance(learn, (list, tuple)) else [learn])]
    if not models:
        raise OptionError("the list of learners is empty; give at least one")
    how.grid(models[0].grid)  # a wrong overlap is one error, not one of each slide
    stems = stems_of(slides)
    digest = digest_of_model(learn)
    with OutputFolder(folder) as out:
        if not resume:
            _require_free(out, stems, formats)
        for slide, stem in zip(slides, stems, strict=True):
            run = _SlideRun(out, stem, formats, how, models, digest, resume, mpp_of_slides, progress)
            yield run.result(slide)


def stems_of(slides: Sequence[Any]) -> list[str]:
    """Return the stem of each slide's files: that of its path, or its name.

    Raises:
        OptionError: Two slides have one stem, or an array has no name.
    """
    if isinstance(slides, (str, os.PathLike, Slide)):
        raise OptionError(f"slides must be a list, got a {type(slides).__name__}; write [{slides!r}]")
    stems = [_stem(slide, number) for number, slide in enumerate(slides)]
    folded = [stem.casefold() for stem in stems]  # some disks do not tell a from A
    twice = sorted({stem for stem, same in zip(stems, folded, strict=True) if folded.count(same) > 1})
    if twice:
        raise OptionError(
            f"several slides would have the files of {', '.join(twice[:5])}; predict them into folders of their own"
        )
    return stems


def _stem(slide: Any, number: int) -> str:
    if isinstance(slide, Slide):
        path = slide.path or slide.name
    elif isinstance(slide, (str, os.PathLike)):
        path = os.fspath(slide)
    elif isinstance(slide, (tuple, list)) and slide:
        return _stem(slide[0], number)
    else:
        raise OptionError(
            f"slide {number} is a {type(slide).__name__} without a name for its files; open it first: "
            f"open_slide(array, name='case7')"
        )
    file = Path(path.rstrip("/"))
    return file.stem.removesuffix(_OME) or file.name if file.suffix or is_zarr(file) else file.name


def _require_free(out: OutputFolder, stems: Sequence[str], formats: Sequence[str]) -> None:
    taken = [name for stem in stems for one in formats if out.exists(name := f"{stem}.{one}")]
    if taken:
        raise WriteError(
            f"{out.path / taken[0]} exists" + (f", and {len(taken) - 1} more" if taken[1:] else "")
            + "; choose another folder, or go on with a prediction by resume (--resume)"
        )  # fmt: skip


@dataclass(frozen=True)
class _SlideRun:
    """The prediction of one slide into the files of a folder."""

    out: OutputFolder
    stem: str
    formats: tuple[str, ...]
    how: PredictOptions
    models: list[TrainedModel]
    model: str
    resume: bool
    mpp_of_slides: Any
    progress: SlideProgress | None

    def result(self, slide: Any) -> SlideResult:
        """Predict the slide; errors become part of the result."""
        started = time.monotonic()
        files = tuple(self.out.path / f"{self.stem}.{one}" for one in self.formats)
        try:
            done = self._predict(slide)
        except Exception as error:  # whatever ends this slide, such as a full GPU, may not end the next one
            return SlideResult(self.stem, (), error, seconds=time.monotonic() - started)
        return replace(done, files=files, seconds=time.monotonic() - started)

    def _predict(self, slide: Any) -> SlideResult:
        prediction = Prediction(self.models, opened(self.models[0], self._source(slide)), self.how)
        job = describe_job(self.model, prediction, self.how)
        if self.resume and None in job["slide"]:
            raise OptionError(
                f"{self.stem}: resume needs slides that are files, which tell whether they have changed; predict it "
                f"again without resume, into another folder"
            )
        missing = {}
        for one in self.formats:
            name = f"{self.stem}.{one}"
            if not self.out.exists(name):
                missing[one] = name
            elif not self.out.holds(name, job):
                raise WriteError(
                    f"{self.out.path / name} exists, and is not what this model, these options and this slide give, or "
                    f"was changed; choose another folder"
                )
        if not missing:
            return SlideResult(self.stem, (), written=False)
        hidden = self.out.job(self.stem, job, resume=self.resume)
        rest = {one: hidden / name for one, name in missing.items() if not os.path.lexists(hidden / name)}
        if rest:
            progress = self.progress
            report = None if progress is None else lambda done, all_: progress(self.stem, done, all_, prediction)
            write_prediction(prediction, rest, BandJournal(hidden / "bands"), report)
        for name in missing.values():
            self.out.publish(self.stem, name)
        self.out.close_job(self.stem)
        frame = prediction.frame
        return SlideResult(
            self.stem, (), windows=len(prediction.plan), megapixels=frame.width * frame.height / 1e6
        )  # fmt: skip

    def _source(self, slide: Any) -> Any:
        if self.mpp_of_slides is None or not isinstance(slide, (str, os.PathLike)):
            return slide
        pixels = self.models[0].pixels[0]
        return open_slide(slide, channels=pixels.channels, series=pixels.series, mpp=self.mpp_of_slides)
