"""Class names of annotations to class numbers: exactly, or one error that lists all that do not fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches

from patchaug.errors import LabelError, OptionError
from patchaug.readers.annotations.features import Feature

IGNORE = "Ignore*"  # QuPath's own class for what is to be left out


def numbers_of(what: str, features: list[Feature], codes: Sequence[str] | None, ignore_index: int | None) -> list[int]:
    """The class number of each feature: the place of its class among the codes.

    "Ignore*", QuPath's own class, is `ignore_index` where there is one. Features without a class are class 1 if none in
    the file has one and there are two codes: then there is nothing else that they could be.

    Raises:
        OptionError: There are no codes.
        LabelError: Names are not among the codes, or features have none; all are listed.
    """
    if codes is None:
        raise OptionError(f"{what}: polygons have class names; give codes=[...], with the background first")
    known = {name: number for number, name in enumerate(codes)}
    if ignore_index is not None:
        known.setdefault(IGNORE, ignore_index)
    names = Counter(feature.name for feature in features)
    if set(names) == {None} and len(codes) == 2:
        return [1] * len(features)
    problems = []
    for name, count in names.items():
        if name is None:
            first = next(feature.number for feature in features if feature.name is None)
            problems.append(f"{count} features have no class (the first is feature {first})")
        elif name not in known:
            near = get_close_matches(name.lower(), [code.lower() for code in codes], n=1, cutoff=0.6)
            nearest = next((f", did you mean {code!r}?" for code in codes if [code.lower()] == near), "")
            problems.append(f"{name!r} ({count} features{nearest})")
    if problems:
        raise LabelError(
            f"{what}: classes that are no codes: {'; '.join(problems)}; codes are {', '.join(codes)}: "
            f"add the classes to codes, or rename or delete them in the file"
        )
    return [known[str(feature.name)] for feature in features]
