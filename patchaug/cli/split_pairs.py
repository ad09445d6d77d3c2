"""Split the slides of a folder into training and validation."""

from __future__ import annotations

from fnmatch import fnmatch
from hashlib import blake2b
from pathlib import Path

from patchaug.cli.common import require
from patchaug.data.item_list import validation_count
from patchaug.options.fields import TrainOptions
from patchaug.slides.discovery import get_slide_files
from patchaug.slides.pairing import find_masks

Pairs = list[tuple[Path, Path]]


def pairs_of(options: TrainOptions) -> tuple[Pairs, Pairs]:
    """Return training and validation pairs (image, mask): split by `valid_slides` if given, else at random.

    Raises:
        MissingError: A folder does not exist or is empty, or a slide has no mask.
        OptionError: A pattern matches no slide, or a side of the split is empty.
    """
    files = get_slide_files(options.images)
    pairs = list(zip(files, find_masks(files, options.masks), strict=True))
    patterns = options.valid_slides
    for pattern in patterns:
        require(
            any(fnmatch(image.name, pattern) for image, _ in pairs),
            f"--valid-slides {pattern}: no slide matches",
        )
    if patterns:
        chosen = [any(fnmatch(image.name, pattern) for pattern in patterns) for image, _ in pairs]
    else:
        # Ordered by a hash of the name: adding or removing a slide hardly changes the validation slides.
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
