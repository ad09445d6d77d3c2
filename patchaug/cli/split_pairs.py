"""The slides of a run, split into training and validation: from folders, or from a CSV."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from hashlib import blake2b
from pathlib import Path
from typing import Any

from patchaug.cli.common import require
from patchaug.core.validation import printable
from patchaug.data.item_list import validation_count
from patchaug.data.slide_items import LazySlideItem
from patchaug.errors import OptionError
from patchaug.options.fields import TrainOptions
from patchaug.readers.remote.listing import list_folder
from patchaug.readers.urls import as_url
from patchaug.slides.discovery import get_slide_files
from patchaug.slides.pair_table import Example, read_table
from patchaug.slides.pairing import find_masks

Pairs = list[tuple[Path, Path]]


def pairs_of(options: TrainOptions) -> tuple[Pairs, Pairs]:
    """Return training and validation pairs (image, mask).

    The split is that of the CSV, of `valid_slides`, of the fold, or random, in this order. Slides of one group stay on
    one side.

    Raises:
        MissingError: A folder or file does not exist or is empty, or a slide has no mask.
        OptionError: A pattern matches no slide, a group lies on both sides, or a side of the split is empty.
    """
    left, right = split_examples(options)
    return [(one.image, one.mask) for one in left], [(one.image, one.mask) for one in right]


def split_examples(options: TrainOptions) -> tuple[list[Example], list[Example]]:
    """Return the slides for training and for validation; errors are those of `pairs_of`."""
    found, root = list_examples(options)
    sides = {one.split for one in found}
    found = [one for one in found if one.split != "test"]
    if options.split_region is not None:
        by = f"column split of {options.table}"
        require(not sides - {None, "test"}, f"{by} and --split-region both split the slides; remove one")
        return found, found
    if sides - {None, "test"}:
        chosen = [one.split == "valid" for one in found]
        by = f"column split of {options.table}"
    elif options.valid_slides:
        chosen = _matching(found, options.valid_slides, root)
        by = "--valid-slides"
    elif options.folds is not None:
        chosen = _fold(found, options.folds, options.fold or 1, options.seed)
        by = f"--fold {options.fold or 1} of {options.folds}"
    else:
        chosen = _random(found, options.valid_pct, options.seed)
        by = "--valid-pct"
    left, right = ([one for one, c in zip(found, chosen, strict=True) if c is side] for side in (False, True))
    require(
        bool(left and right),
        f"{by} leaves {len(left)} slides for training and {len(right)} for validation of {len(found)}; the "
        f"split is by slide, so each side needs one: name fewer, or add slides",
    )
    _require_groups_apart(left, right, by)
    return left, right


def as_items(pairs: Sequence[tuple[Path, Path]], options: TrainOptions) -> list[tuple[Any, Path]]:
    """Add the table's micrometres per pixel and the region to those slides that have them; leave others as paths."""
    sizes = {one.image: one.mpp for one in list_examples(options)[0]} if options.table is not None else {}
    regions = regions_of(options, [image for image, _ in pairs])
    return [
        (image if mpp is None and region is None else LazySlideItem(image, mpp=mpp, region=region), mask)
        for (image, mask), mpp, region in zip(pairs, (sizes.get(image) for image, _ in pairs), regions, strict=True)
    ]


def regions_of(options: TrainOptions, images: Sequence[Path]) -> list[str | Path | None]:
    """Return the region of each slide, as `open_slide` takes it.

    Raises:
        MissingError: A slide has no region in the folder of the option.
    """
    if options.region is None or options.region == "tissue" or not Path(options.region).is_dir():
        return [options.region] * len(images)
    return list(find_masks(images, options.region, root=list_examples(options)[1]))


def region_files(options: TrainOptions, images: Sequence[Path]) -> list[Path]:
    """Return the files of `regions_of`, each once."""
    found = {str(one) for one in regions_of(options, images) if one is not None and str(one) != "tissue"}
    return [Path(one) for one in sorted(found) if "://" not in one]


def list_examples(options: TrainOptions) -> tuple[list[Example], Path]:
    """Return all slides of a run, and the folder that their names count from.

    `images` alone is a folder with subfolders `images` and `masks`, or with masks beside their slides (x.png and
    x_mask.png).
    """
    if options.table is not None:
        table = Path(options.table)
        return read_table(table), table.parent
    assert options.images is not None  # one of both, see TrainOptions
    images, masks = Path(options.images), options.masks
    if masks is None:
        both = all(_has_folder(images, name) for name in ("images", "masks"))
        images, masks = (images / "images", str(images / "masks")) if both else (images, str(images))
    files = get_slide_files(images)
    found = find_masks(files, masks, root=images)
    return [Example(image, mask) for image, mask in zip(files, found, strict=True)], images


def _has_folder(folder: Path, name: str) -> bool:
    url = as_url(folder)
    return (folder / name).is_dir() if url is None else f"{name}/" in list_folder(url)


def _matching(found: Sequence[Example], patterns: Sequence[str], root: Path) -> list[bool]:
    """Return for each slide whether a pattern matches its name, or its path below the folder."""
    names = [(one.image.name, _below(one.image, root)) for one in found]
    for pattern in patterns:
        require(
            any(fnmatch(name, pattern) for pair in names for name in pair),
            f"--valid-slides {pattern}: no slide matches",
        )
    return [any(fnmatch(name, pattern) for name in pair for pattern in patterns) for pair in names]


def _below(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else file.as_posix()


def _random(found: Sequence[Example], valid_pct: float, seed: int) -> list[bool]:
    units = _units(found, seed)
    if len(units) < 2 <= len(found):
        raise OptionError(f"all {len(found)} slides belong to group {found[0].group!r}; the split needs two groups")
    return _chosen(found, units[: validation_count(len(units), valid_pct)])


def _fold(found: Sequence[Example], folds: int, fold: int, seed: int) -> list[bool]:
    units = _units(found, seed)
    require(
        len(units) >= folds, f"--folds {folds} needs as many slides, or groups of slides, and there are {len(units)}"
    )
    return _chosen(found, units[fold - 1 :: folds])


def _units(found: Sequence[Example], seed: int) -> list[list[Example]]:
    """Return groups, and slides without a group, in an order that adding or removing a slide hardly changes."""
    units: dict[str | int, list[Example]] = {}
    for number, one in enumerate(found):
        units.setdefault(number if one.group is None else one.group, []).append(one)
    names = {key: unit[0].group or unit[0].image.name for key, unit in units.items()}
    return [
        units[key]
        for key in sorted(units, key=lambda key: blake2b(f"{seed}/{printable(names[key])}".encode()).digest())
    ]


def _chosen(found: Sequence[Example], units: Iterable[Sequence[Example]]) -> list[bool]:
    valid = {id(one) for unit in units for one in unit}
    return [id(one) in valid for one in found]


def _require_groups_apart(left: Sequence[Example], right: Sequence[Example], by: str) -> None:
    shared = sorted({one.group for one in left if one.group} & {one.group for one in right if one.group})
    require(
        not shared,
        f"{by} puts slides of {len(shared)} groups on both sides: {', '.join(map(str, shared[:20]))}; a score on them "
        f"would be too good: keep each group on one side",
    )
