"""The prediction of one slide into the files of a folder, by one process or by several."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from patchaug.core.file_lock import lock_file, unlock_file
from patchaug.errors import OptionError, WriteError
from patchaug.predict.bands import Prediction, opened
from patchaug.predict.job import describe_job
from patchaug.predict.journal import BandJournal
from patchaug.predict.options import PredictOptions
from patchaug.predict.output_folder import OutputFolder
from patchaug.predict.trained_model import TrainedModel
from patchaug.predict.write_prediction import Progress, predict_bands, write_prediction
from patchaug.slides.open import open_slide

SlideProgress = Callable[[str, int, int, Prediction], None]  # slide, bands done, all bands, its prediction


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
        bands: Numbers of the bands of a slide that several processes share, of which this one has predicted these.
        missing: Bands of such a slide that others have not predicted yet; the files appear with the last one.
    """

    slide: str
    files: tuple[Path, ...]
    error: Exception | None = None
    written: bool = True
    windows: int = 0
    megapixels: float = 0.0
    seconds: float = 0.0
    bands: range | None = None
    missing: int = 0


def merged_results(stems: Sequence[str], ranks: Sequence[Sequence[SlideResult]]) -> list[SlideResult]:
    """Return one result for each slide from those of all ranks.

    Args:
        stems: Names of all slides, in order.
        ranks: Results of each rank, for the slides that it predicted, or predicted a part of.
    """
    merged = []
    for stem in stems:
        every = [one for results in ranks for one in results if one.slide == stem]
        errors, whole = [one for one in every if one.error is not None], [one for one in every if one.files]
        best = (errors or [one for one in whole if one.written] or whole or every)[0]
        merged.append(
            replace(
                best, windows=sum(one.windows for one in every), seconds=max(one.seconds for one in every),
                megapixels=sum(one.megapixels for one in every), bands=None,
            )
        )  # fmt: skip
    return merged


@dataclass(frozen=True)
class SlideRun:
    """Predicts slides into files of a folder.

    Attributes:
        out: The folder.
        formats: Formats of the files.
        how: Options of the prediction.
        models: The models.
        model: Digest of the models.
        progress: Called after each band.
        resume: Whether to go on with what was broken off.
        shared: Whether several processes predict bands of each slide.
        mpp_of_slides: Micrometres per pixel of slides that are paths, or None.
        format_options: Options of the formats that have some.
    """

    out: OutputFolder
    formats: tuple[str, ...]
    how: PredictOptions
    models: list[TrainedModel]
    model: str
    progress: SlideProgress | None
    resume: bool
    shared: bool
    mpp_of_slides: Any
    format_options: dict[str, dict[str, Any]]

    def result(self, slide: Any, stem: str) -> SlideResult:
        """Predict a slide; errors become part of the result."""
        started = time.monotonic()
        try:
            done = self._predict(slide, stem)
        except Exception as error:  # whatever ends this slide, such as a full GPU, may not end the next one
            return SlideResult(stem, (), error, seconds=time.monotonic() - started)
        return replace(done, seconds=time.monotonic() - started)

    def _predict(self, slide: Any, stem: str) -> SlideResult:
        prediction = Prediction(self.models, opened(self.models[0], self._source(slide)), self.how)
        job = describe_job(self.model, prediction, self.how)
        if (self.resume or self.shared) and None in job["slide"]:
            what = "several processes that share a slide need" if self.shared else "resume needs"
            raise OptionError(
                f"{stem}: {what} slides that are files, which tell whether they have changed; predict it again "
                f"{'in one process' if self.shared else 'without resume, into another folder'}"
            )
        with self.out.changing():  # another process may complete the files and remove the hidden folder
            missing = self._missing(stem, job)
            files = tuple(self.out.path / f"{stem}.{one}" for one in self.formats)
            if not missing:
                return SlideResult(stem, files, written=False)
            whole_job = {**job, "formats": self.format_options}
            hidden = self.out.job(stem, whole_job, resume=self.resume or self.shared)
        journal = BandJournal(hidden / "bands")
        progress = self.progress
        report = None if progress is None else lambda done, all_: progress(stem, done, all_, prediction)
        total, frame = len(prediction.starts), prediction.frame
        part = range(total)
        if self.shared:
            part = self.out.shard.bands(total)
            predict_bands(prediction, journal, part, report)
        windows, ends = len(prediction.plan), [*prediction.starts, frame.height]
        done = SlideResult(
            stem, files, windows=windows * part.stop // total - windows * part.start // total,
            bands=part if self.shared else None,
            megapixels=frame.width * (ends[part.stop] - ends[part.start]) / 1e6,
        )  # fmt: skip
        if not self.shared:
            self._complete(stem, hidden, job, missing, prediction, journal, report)
            return done
        left = sum(not journal.has(number) for number in range(total))
        if left and self._missing(stem, job):
            return replace(done, files=(), written=False, missing=left)
        return self._complete_alone(stem, hidden, job, prediction, journal, report, done)

    def _missing(self, stem: str, job: dict[str, Any]) -> dict[str, str]:
        """Return the name of each format whose file is not there.

        Raises:
            WriteError: A file of that name is not of this job.
        """
        missing = {}
        for one in self.formats:
            name = f"{stem}.{one}"
            if not self.out.exists(name):
                missing[one] = name
            elif not self.out.holds(name, self._job_of(one, job)):
                raise WriteError(
                    f"{self.out.path / name} exists, and is not what this model, these options and this slide give, or "
                    f"was changed; choose another folder"
                )
        return missing

    def _complete(
        self, stem: str, hidden: Path, job: dict[str, Any], missing: dict[str, str], prediction: Prediction,
        journal: BandJournal, report: Progress | None,
    ) -> None:  # fmt: skip
        """Predict what the journal lacks, and write the files."""
        rest = {one: hidden / name for one, name in missing.items() if not os.path.lexists(hidden / name)}
        if rest:
            write_prediction(prediction, rest, journal, report, self.format_options)
        for one, name in missing.items():
            self.out.publish(stem, name, self._job_of(one, job))
        self.out.close_job(stem)

    def _job_of(self, name: str, job: dict[str, Any]) -> dict[str, Any]:
        """Return what the file of a format depends on."""
        return {**job, **({"format": self.format_options[name]} if name in self.format_options else {})}

    def _complete_alone(
        self, stem: str, hidden: Path, job: dict[str, Any], prediction: Prediction, journal: BandJournal,
        report: Progress | None, done: SlideResult,
    ) -> SlideResult:  # fmt: skip
        """Write the files from the bands of all processes, unless another process does."""
        with self.out.changing():
            missing = self._missing(stem, job)
            lock = lock_file(hidden / "lock") if missing else None
        if not missing:
            return replace(done, written=False)
        if lock is None:
            return replace(done, files=(), written=False)
        try:
            self._complete(stem, hidden, job, missing, prediction, journal, report)
        finally:
            unlock_file(lock)
        return done

    def _source(self, slide: Any) -> Any:
        if self.mpp_of_slides is None or not isinstance(slide, (str, os.PathLike)):
            return slide
        pixels = self.models[0].pixels[0]
        return open_slide(slide, channels=pixels.channels, series=pixels.series, mpp=self.mpp_of_slides)
