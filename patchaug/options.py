"""The options of a run: one frozen model for scripts, command line and files."""

from __future__ import annotations

from difflib import get_close_matches
from itertools import groupby
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from patchaug.errors import OptionError
from patchaug.splits import samplers_for


class PatchOptions(BaseModel):
    """What windows are drawn: the arguments of `RandomPatch`, checked together and once.

    Raises:
        OptionError: An option is unknown, of a wrong type, or out of its limits; one line names them all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    size: int | tuple[int, int] = Field(description="side of the window in pixels of the level, or (height, width)")
    per_slide: int | Literal["area", "tissue"] = Field(
        1, description='windows of each slide in an epoch, or what to share "windows" out by: "area" or "tissue"'
    )
    windows: int | None = Field(None, description="windows of all slides in an epoch, shared out by per_slide")
    share: float = Field(0.0, description="probability that a draw is a foreground draw, 0 to 1")
    classes: dict[int | str, float] | list[int | str] | None = Field(
        None, description="classes that count as foreground, or their weights; default: all but 0 and the void"
    )
    min_fraction: float = Field(0.0, description="least share of a window's pixels in those classes, 0 to 1")
    empty: Literal["raise", "uniform", "skip"] = Field("raise", description="what to do with slides without foreground")
    mode: Literal["random", "grid", "random-grid"] = Field("random", description="windows of the training slides")
    overlap: int = Field(0, description="pixels that neighbours of a grid share")
    valid: Literal["grid", "random"] = Field("grid", description="windows of the validation slides")
    level: int = Field(0, description="pyramid level to read, 0 is the finest")
    mpp: float | None = Field(None, description="micrometres per pixel of the patches, in place of a level")
    halo: int | Literal["auto"] = Field(
        "auto", description='pixels read around each training patch; "auto" is what augmentation needs'
    )
    edge: Literal["shift", "reflect"] = Field(
        "shift", description='keep windows inside for the halo ("shift"), or mirror at the border ("reflect")'
    )
    on_error: Literal["raise", "resample"] = Field(
        "raise", description="what to do with a window that cannot be read: stop, or read another in its place"
    )
    seed: int = Field(42, description="0 to 2^32 - 1; same seed, same windows", ge=0, lt=2**32)

    def __init__(self, size: Any = None, **values: Any) -> None:
        if size is not None:
            values["size"] = tuple(size) if isinstance(size, list) else size
        try:
            super().__init__(**values)
        except ValidationError as error:
            by_option = groupby(error.errors(), key=lambda problem: str((problem["loc"] or ("options",))[0]))
            raise OptionError("; ".join(_line(name, list(problems)) for name, problems in by_option)) from None
        # The samplers know their own limits: said once, there.
        samplers_for(**self.model_dump(exclude={"seed"}))


def _line(name: str, problems: list[Any]) -> str:
    """What is wrong with one option; one that may be of several types has a problem with each."""
    first = problems[0]
    if first["type"] == "extra_forbidden":
        near = get_close_matches(name, PatchOptions.model_fields, n=1, cutoff=0.5)
        cure = f"did you mean {near[0]}?" if near else f"options are {', '.join(PatchOptions.model_fields)}"
        return f"there is no option {name!r}; {cure}"
    if first["type"] == "missing":
        return f"option {name!r} is missing"
    wanted = dict.fromkeys(problem["msg"].removeprefix("Input should be ") for problem in problems)
    return f"option {name!r} should be {', or '.join(wanted)}, got {first['input']!r}"
