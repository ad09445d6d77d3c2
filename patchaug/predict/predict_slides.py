"""Predict many slides into files: `learn.predict_slides(slides, folder)`, and `patchaug predict`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from patchaug.core.arguments import names_arguments
from patchaug.core.shards import Shard, checked_shard
from patchaug.errors import OptionError, PatchaugError, WriteError
from patchaug.predict.format_options import FormatOptions, checked_format_options
from patchaug.predict.job import describe_options, digest_of_model
from patchaug.predict.options import PredictOptions
from patchaug.predict.output_folder import OutputFolder
from patchaug.predict.rank_exchange import group_exchange, sendable
from patchaug.predict.slide_run import SlideProgress, SlideResult, SlideRun, merged_results
from patchaug.predict.trained_model import trained_model
from patchaug.predict.write_prediction import checked_formats, needs_probabilities
from patchaug.readers import is_zarr
from patchaug.slides.slide import Slide

FORMATS = ("ome.tif", "geojson")
_OME = ".ome"  # of case7.ome.tif, which is no part of the stem


@names_arguments
def predict_slides(
    learn: Any, slides: Sequence[Any], folder: str | os.PathLike[str], *, formats: Sequence[str] = FORMATS,
    resume: bool = False, mpp_of_slides: float | tuple[float, float] | None = None,
    format_options: FormatOptions | None = None, shard: str | tuple[int, int] | None = None, **options: Any,
) -> list[SlideResult]:  # fmt: skip
    """Predict whole slides, and write each to files named like the slide: `learn.predict_slides(slides, folder)`.

    A file appears under its name when it is whole. Finished bands are kept in a hidden folder until then, so that after
    any end `resume=True` goes on, and the files are the same bytes. A slide that cannot be predicted does not keep the
    others from being predicted.

    Several processes share the work: the ranks of torch's process group without further ado, others by `shard`. Each
    predicts some of the slides; of fewer slides than processes, each predicts some bands of every one, and the last one
    writes the files. These are the same bytes as from one process.

    Args:
        learn: A `Learner` trained on slides, or a list of them: an ensemble.
        slides: Paths, `Slide` objects, or other sources of `open_slide`; their masks are ignored.
        folder: Folder for the files; it is made where it does not exist.
        formats: Formats such as "ome.tif" and "geojson"; "probabilities.ome.tif" holds probabilities of all classes.
        resume: Go on with what was broken off, and skip files that are finished.
        mpp_of_slides: Micrometres per pixel at level 0 of all slides that are paths, for files that store none or a
            wrong value.
        format_options: Options of the formats, such as {"geojson": {"simplify": 2.0, "object_type": "detection"}}; each
            is described at its writer.
        shard: The part that this process predicts, such as "0/4" for the first of four. All parts are started alike, on
            one machine or several with a shared disk. In a process group, its ranks share that part.
        **options: overlap, blend, tta, region, level, mpp, batch_size, workers and output, see
            `patchaug.predict.options.PredictOptions`.

    Returns:
        A result for each slide; without a process group, for each slide of the shard.

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
    exchange = group_exchange()
    part = checked_shard(shard)

    def predict() -> list[SlideResult]:
        own = part if exchange is None else part.of_rank(exchange.ranks)
        found = each_prediction(
            learn, slides, folder, formats=formats, resume=resume, mpp_of_slides=mpp_of_slides,
            format_options=format_options, shard=own, **options,
        )  # fmt: skip
        return [one if one.error is None else replace(one, error=sendable(one.error)) for one in found]

    results = predict() if exchange is None else merged_results(stems_of(slides), exchange.together(predict))
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
    format_options: FormatOptions | None = None, shard: Shard | None = None, progress: SlideProgress | None = None,
    **options: Any,
) -> Iterator[SlideResult]:  # fmt: skip
    """Predict slides as `predict_slides` does, and yield each result, with its error, when the slide is done.

    Only the slides of a shard have results.

    Args:
        learn: See `predict_slides`.
        slides: See `predict_slides`.
        folder: See `predict_slides`.
        formats: See `predict_slides`.
        resume: See `predict_slides`.
        mpp_of_slides: See `predict_slides`.
        format_options: See `predict_slides`.
        shard: The part that this process predicts; None for all.
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
    own = checked_format_options(format_options, formats, models[0].codes)
    stems = stems_of(slides)
    digest = digest_of_model(learn)
    shard = Shard() if shard is None else shard
    shared = shard.count > len(stems)
    numbers = range(len(stems)) if shared else shard.slides(len(stems))
    with OutputFolder(folder, shard) as out:
        if out.shards is not None:
            facts = {"model": digest, "options": describe_options(how), "formats": formats, "format_options": own}
            out.shards.agree({**facts, "slides": stems, "mpp_of_slides": mpp_of_slides})
        if not (resume or shared):
            _require_free(out, [stems[number] for number in numbers], formats)
        run = SlideRun(
            out, formats, how, models, digest, progress, resume=resume, shared=shared, mpp_of_slides=mpp_of_slides,
            format_options=own,
        )  # fmt: skip
        whole, worked = True, False
        for number in numbers:
            result = run.result(slides[number], stems[number])
            whole, worked = whole and result.error is None, worked or result.written or result.bands is not None
            yield result
        out.complete = whole and worked


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
