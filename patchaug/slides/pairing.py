"""Which mask belongs to which slide: by subfolder and stem. Nothing is opened."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from unicodedata import normalize

from patchaug.errors import MissingError, OptionError
from patchaug.readers import known_suffixes
from patchaug.readers.urls import is_url, resolved
from patchaug.slides.discovery import MASK, split_suffix, walk_files

_LISTED = 20  # names in an error
MaskFiles = dict[str, list[Path]]  # by stem
_OME = ".ome"  # of case7.ome.tif, whose mask may be case7.png


def find_masks(
    images: Iterable[Path], masks: str | os.PathLike[str], *, root: str | os.PathLike[str] | None = None,
    listing: MaskFiles | None = None,
) -> list[Path]:  # fmt: skip
    """Find the mask of each image in a folder: a picture or polygons of the same stem, or that stem and "_mask".

    The mask lies in the same subfolder as its image. Where only one of the two sides has subfolders, the stem decides.

    Args:
        images: The images.
        masks: Folder of masks, with any subfolders; it may be that of the images.
        root: Folder below which the images lie; default: their common folder.
        listing: Files of the folder, see `list_masks`; default: listed here.

    Returns:
        A mask for each image, in order.

    Raises:
        MissingError: Images have no mask; all of them are listed with their folders.
        OptionError: An image has several masks, or a mask fits several images; all of them are listed.

    Examples:
        >>> from patchaug.slides.pairing import find_masks
        >>> [mask.name for mask in find_masks([path / "slide0.tiff"], path)]
        ['slide0_mask.tiff']
    """
    folder, images, remote = Path(masks), list(images), is_url(masks)
    if not remote and folder.is_file():
        raise MissingError(f"{folder} is a file; give the folder that it lies in: masks are found there by their names")
    if not remote and not folder.is_dir():
        raise MissingError(f"there is no folder {folder}; masks are looked for in a folder")
    if not images:
        return []
    top = Path(root) if root is not None else Path(os.path.commonpath([image.parent for image in images]))
    inputs = {resolved(image) for image in images}  # they may lie in the same folder: an image is not a mask
    files = list_masks(folder) if listing is None else listing
    by_stem = {stem: [file for file in named if resolved(file) not in inputs] for stem, named in files.items()}
    found: dict[Path, Path] = {}
    problems: list[str] = []
    missing: list[Path] = []
    elsewhere: list[Path] = []
    for image in images:
        named = _named(split_suffix(image)[0], by_stem)
        candidates = _nearest(image, named, top, folder)
        if len(candidates) > 1:
            problems.append(f"{_below(image, top)} has {len(candidates)} masks: {_listed(candidates, folder)}")
        elif candidates:
            found[image] = candidates[0]
        else:
            missing.append(image)
            elsewhere += named
    if missing:
        raise MissingError(_missing_text(missing, images, top, folder, elsewhere, by_stem, set(found.values())))
    by_mask: dict[Path, list[Path]] = {}
    for image, mask in found.items():
        by_mask.setdefault(mask, []).append(image)
    problems += [
        f"{_below(mask, folder)} would be the mask of {len(of)} slides: {_listed(of, top)}"
        for mask, of in by_mask.items()
        if len(of) > 1
    ]
    if problems:
        raise OptionError(f"masks in {folder}: {'; '.join(problems[:_LISTED])}; keep one of each")
    return [found[image] for image in images]


def list_masks(folder: str | os.PathLike[str]) -> MaskFiles:
    """List the files of a folder that may be masks, by stem."""
    suffixes = known_suffixes("image", "mask", "annotations")
    by_stem: dict[str, list[Path]] = {}
    for file in sorted(walk_files(Path(folder), True, ())):
        stem, suffix = split_suffix(file)
        if suffix in suffixes and not file.name.startswith("."):
            by_stem.setdefault(stem, []).append(file)
    return by_stem


def listing_of(image: Path, listing: MaskFiles) -> MaskFiles:
    """Return the part of a listing that the mask of one image is chosen from."""
    stems = [stem for pair in _stems(split_suffix(image)[0]) for stem in pair]
    return {stem: listing[stem] for stem in stems if stem in listing}


def _stems(stem: str) -> list[tuple[str, str]]:
    """Return the stems of a mask, the likeliest first: that of its image; else without ".ome", or with it."""
    base = stem.removesuffix(_OME)
    return [(own + end, own + MASK + end) for own, end in ((stem, ""), (base, ""), (base, _OME))]


def _named(stem: str, by_stem: MaskFiles) -> list[Path]:
    """Return the masks of a stem."""
    for plain, marked in _stems(stem):
        if found := by_stem.get(plain, []) + by_stem.get(marked, []):
            return found
    return []


def _nearest(image: Path, masks: Sequence[Path], top: Path, folder: Path) -> list[Path]:
    """Return the masks in the image's own subfolder, else those of a side without subfolders."""
    place = _place(image, top)
    same = [mask for mask in masks if _place(mask, folder) == place]
    return same or [mask for mask in masks if not place.parts or mask.parent == folder]


def _place(file: Path, root: Path) -> Path:
    """Return the folder of a file below a root."""
    return Path(normalize("NFC", os.path.relpath(file.parent, root)))


def _below(file: Path, root: Path) -> str:
    relative = os.path.relpath(file, root)
    return str(file) if relative.startswith("..") else Path(relative).as_posix()


def _listed(files: Sequence[Path], root: Path) -> str:
    names = ", ".join(_below(file, root) for file in files[:_LISTED])
    return names + (f" and {len(files) - _LISTED} more" if len(files) > _LISTED else "")


def _missing_text(
    missing: Sequence[Path], images: Sequence[Path], top: Path, folder: Path, elsewhere: Sequence[Path],
    by_stem: dict[str, list[Path]], used: set[Path],
) -> str:  # fmt: skip
    others = set(elsewhere)
    spare = [mask for masks in by_stem.values() for mask in masks if mask not in used and mask not in others]
    return (
        f"{len(missing)} of {len(images)} slides have no mask in {folder}: {_listed(missing, top)}; "
        f"a mask is named like its image, or with {MASK} after the stem, and lies in the same subfolder"
        + (f"; in other subfolders: {_listed(elsewhere, folder)}" if elsewhere else "")
        + (f"; masks without a slide: {_listed(spare, folder)}" if spare else "")
    )
