"""The options of a run: one frozen model for scripts, command line and files."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from patchaug.errors import OptionError
from patchaug.samplers import sampler_for


class PatchOptions(BaseModel):
    """What windows are drawn: the arguments of `RandomPatch`, checked together and once.

    Raises:
        OptionError: An option is unknown, of a wrong type, or out of its limits; one line names them all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    size: int | tuple[int, int] = Field(description="side of the window in pixels of the level, or (height, width)")
    per_slide: int = Field(1, description="windows of each slide in an epoch")
    share: float = Field(0.0, description="probability that a draw is a foreground draw, 0 to 1")
    classes: dict[int | str, float] | list[int | str] | None = Field(
        None, description="classes that count as foreground, or their weights; default: all but 0 and the void"
    )
    empty: Literal["raise", "uniform", "skip"] = Field("raise", description="what to do with slides without foreground")
    mode: Literal["random", "grid", "random-grid"] = Field("random", description="windows of the training slides")
    overlap: int = Field(0, description="pixels that neighbours of a grid share")
    valid: Literal["grid", "random"] = Field("grid", description="windows of the validation slides")
    level: int = Field(0, description="pyramid level to read, 0 is the finest")
    seed: int = Field(42, description="0 to 2^32 - 1; same seed, same windows", ge=0, lt=2**32)

    def __init__(self, size: Any = None, **values: Any) -> None:
        if size is not None:
            values["size"] = tuple(size) if isinstance(size, list) else size
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise OptionError("; ".join(_line(problem) for problem in error.errors())) from None
        # The samplers know their own limits: said once, there.
        sampler_for(**self.model_dump(exclude={"valid", "seed"}))


def _line(problem: Any) -> str:
    name = ".".join(str(part) for part in problem["loc"]) or "options"
    if problem["type"] == "extra_forbidden":
        near = get_close_matches(name, PatchOptions.model_fields, n=1, cutoff=0.5)
        cure = f"did you mean {near[0]}?" if near else f"options are {', '.join(PatchOptions.model_fields)}"
        return f"there is no option {name!r}; {cure}"
    if problem["type"] == "missing":
        return f"option {name!r} is missing"
    return f"option {name!r}: {problem['msg']}, got {problem['input']!r}"
