"""Which slides of a folder are trained on, and which validate."""

from __future__ import annotations

from fnmatch import fnmatch
from hashlib import blake2b
from pathlib import Path

from patchaug.cli.common import require
from patchaug.data.item_list import validation_count
from patchaug.options.fields import TrainOptions
from patchaug.slides.discovery import find_masks, get_slide_files

Pairs = list[tuple[Path, Path]]


def pairs_of(options: TrainOptions) -> tuple[Pairs, Pairs]:
    """Training and validation (image, mask) pairs: by name where `valid_slides` is given, else by chance.

    Raises:
        MissingError: There is no such folder, no slide in it, or a slide has no mask.
        OptionError: A name fits no slide, or there are fewer than two slides, or none is left to train on.
    """
    files = get_slide_files(options.images)
    pairs = list(zip(files, find_masks(files, options.masks), strict=True))
    patterns = options.valid_slides
    for pattern in patterns:
        require(
            any(fnmatch(image.name, pattern) for image, _ in pairs),
            f"--valid-slides {pattern}: no slide has such a name",
        )
    if patterns:
        chosen = [any(fnmatch(image.name, pattern) for pattern in patterns) for image, _ in pairs]
    else:
        # By a hash of the name, not by place: another slide more or less hardly changes who is validated on.
        order = sorted(pairs, key=lambda pair: blake2b(f"{options.seed}/{pair[0].name}".encode()).digest())
        valid = order[: validation_count(len(pairs), options.valid_pct)]
        chosen = [pair in valid for pair in pairs]
    left, right = ([pair for pair, c in zip(pairs, chosen, strict=True) if c is side] for side in (False, True))
    require(
        bool(left and right),
        f"--valid-slides leaves {len(left)} slides for training and {len(right)} for validation of {len(pairs)}; the "
        f"split is by slide, so each side needs one: name fewer, or add slides",
    )
    return left, right
