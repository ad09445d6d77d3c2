"""Predict one slide into files: pieces go to the journal, and a thread writes its bands to files meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import pairwise
from pathlib import Path
from typing import Any

from patchaug.errors import OptionError
from patchaug.predict.bands import Prediction
from patchaug.predict.format_options import PROBABILITIES, FormatOptions
from patchaug.predict.journal import BandJournal
from patchaug.predict.writers.base import BandWriter
from patchaug.predict.writers.registry import FORMATS, checked_format, open_writer

Progress = Callable[[int, int], None]  # bands that are done, and all bands


def checked_formats(formats: Sequence[str]) -> tuple[str, ...]:
    """Return the formats, each once.

    Raises:
        OptionError: There is none, or no such format, or it holds no probabilities.

    Examples:
        >>> from patchaug.predict.write_prediction import checked_formats
        >>> checked_formats(["ome.tif", "probabilities.ome.tif"])
        ('ome.tif', 'probabilities.ome.tif')
    """
    if isinstance(formats, str) or not formats:
        raise OptionError(f"formats must be a list such as ['ome.tif', 'geojson'], got {formats!r}")
    for name in formats:
        plain = str(name).removeprefix(PROBABILITIES)
        if not checked_format(plain).probabilities and plain != name:
            able = ", ".join(f"{PROBABILITIES}{key}" for key, one in FORMATS.items() if one.probabilities)
            raise OptionError(f"format {name!r}: {plain} holds no probabilities; take {able}")
    return tuple(dict.fromkeys(formats))


def needs_probabilities(formats: Sequence[str]) -> bool:
    """Return True if a format holds or uses probabilities."""
    return any(
        name.startswith(PROBABILITIES) or FORMATS[name.removeprefix(PROBABILITIES)].uses_probabilities
        for name in formats
    )


def write_prediction(
    prediction: Prediction, files: Mapping[str, Path], journal: BandJournal, progress: Progress | None = None,
    format_options: FormatOptions | None = None,
) -> None:  # fmt: skip
    """Predict a slide into files.

    Bands of the journal are not predicted again. The files are the same bytes whatever part of them the journal holds.

    Args:
        prediction: The slide's prediction.
        files: Path of each format, see `checked_formats`.
        journal: Bands that are done; those that follow are added.
        progress: Called with the number of bands that are done, and of all.
        format_options: Options of the formats, see `checked_format_options`.

    Raises:
        PatchaugError: The slide cannot be read, or a file cannot be written.
    """
    total = len(prediction.starts)
    with ExitStack() as stack:
        own = format_options or {}
        writers = [
            stack.enter_context(_writer(prediction, name, path, own.get(name, {}))) for name, path in files.items()
        ]
        done = 0
        while done < total and journal.holds(done):
            _write(writers, journal, done)
            done += 1
            _report(progress, done, total)
        stack.enter_context(journal)
        thread = stack.enter_context(ThreadPoolExecutor(1, "patchaug-write"))
        waiting: deque[Future[None]] = deque()
        stack.callback(lambda: [one.cancel() for one in waiting])
        with closing(prediction.run(journal.add, first=done)) as numbers:  # type: ignore[type-var]
            for number in numbers:
                if number > done:
                    _report(progress, number, total)
                waiting.append(thread.submit(_write, writers, journal, number))  # it waits on the disk
                while waiting and waiting[0].done():
                    waiting.popleft().result()
        while waiting:
            waiting.popleft().result()
        _report(progress, total, total)


def predict_bands(prediction: Prediction, journal: BandJournal, part: range, progress: Progress | None = None) -> None:
    """Predict some bands of a slide into the journal, but those that it holds.

    Args:
        prediction: The slide's prediction.
        journal: Where the bands go.
        part: Numbers of the bands.
        progress: Called with the number of bands of the part that are done, and of all bands of the slide.

    Raises:
        PatchaugError: The slide cannot be read, or the journal cannot be written.
    """
    total = len(prediction.starts)
    for first, stop in _runs([number for number in part if not journal.holds(number)]):
        with journal, closing(prediction.run(journal.add, first, stop)) as numbers:  # type: ignore[type-var]
            for number in numbers:
                _report(progress, number + 1 - part.start, total)


def _runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Return first and end of each run of consecutive numbers."""
    edges = [0, *(k for k in range(1, len(numbers)) if numbers[k] != numbers[k - 1] + 1), len(numbers)]
    return [(numbers[a], numbers[b - 1] + 1) for a, b in pairwise(edges) if a < b]


def _writer(prediction: Prediction, name: str, path: Path, options: Mapping[str, Any]) -> BandWriter:
    plain: Any = name.removeprefix(PROBABILITIES)
    what: Any = "classes" if plain == name else "probabilities"
    return open_writer(plain, path, prediction.frame, what=what, image=prediction.slide, **options)


def _write(writers: Sequence[BandWriter], journal: BandJournal, number: int) -> None:
    for rows in journal.rows(number):
        for writer in writers:
            writer.write(rows.top, rows.classes, rows.probabilities)


def _report(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)
