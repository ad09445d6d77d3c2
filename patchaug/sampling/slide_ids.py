"""Ids of the slides of a plan: their words in the keys of its draws."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath

from patchaug.errors import OptionError
from patchaug.slides.slide import Slide, id_of


def slide_ids(slides: Sequence[Slide]) -> list[int]:
    """Return the ids of slides, `Slide.id`; adding or removing other slides does not change them.

    Slides of the same name get ids of name and folder: of as many folders above them as make the names differ.

    Args:
        slides: The slides.

    Returns:
        One number below 2^32 for each slide, all different.

    Raises:
        OptionError: Two slides have one name and no folders that differ, or, once in 2^32, one hash.
    """
    names = [slide.name for slide in slides]
    depth = 1
    while len(set(names)) < len(names):
        depth += 1
        twice = {name for name, times in Counter(names).items() if times > 1}
        longer = [
            "/".join(PurePath(slide.path).parts[-depth:]) if name in twice and slide.path is not None else name
            for slide, name in zip(slides, names, strict=True)
        ]
        if longer == names:
            raise OptionError(
                f"two slides are named {sorted(twice)[0]!r}, and windows are drawn by name; list each slide once, and "
                f"give arrays names: open_slide(..., name=...)"
            )
        names = longer
    ids = [id_of(name) for name in names]
    times = Counter(ids)
    for number, name in zip(ids, names, strict=True):
        if times[number] > 1:
            raise OptionError(f"the name {name!r} hashes like another slide's; rename one: open_slide(..., name=...)")
    return ids
