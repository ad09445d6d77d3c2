"""Map class names of annotations to class numbers; one error lists all names that do not fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches

from patchaug.errors import LabelError, OptionError
from patchaug.readers.annotations.features import Feature

IGNORE = "Ignore*"  # QuPath's class for areas to exclude


def numbers_of(what: str, features: list[Feature], codes: Sequence[str] | None, ignore_index: int | None) -> list[int]:
    """Return the class number of each feature: the index of its class in `codes`.

    "Ignore*", QuPath's own class, becomes `ignore_index` if that is set. Features without a class are class 1 if
    no feature of the file has a class and there are two codes.

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
