"""The options of a run, each said once: for scripts, command line, files, environment and forms.

A new option is one field of `PatchOptions`, with title, help text, unit, limits and example; flags, files, environment
variables and the schema follow from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import signature
from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema, field_validator

from patchaug.augment import Augment
from patchaug.core.class_codes import ClassCodes
from patchaug.core.memory.budget import budget
from patchaug.core.validation import MAX_HALO, OnError, Small
from patchaug.errors import OptionError
from patchaug.options import Settings
from patchaug.options.learner_fields import LearnerOptions, Weight
from patchaug.readers.urls import as_url
from patchaug.sampling.option_table import OPTIONS, REQUIRED, Adapt, Balance, Edge, Empty, Mode, Valid
from patchaug.sampling.splits import Samplers, samplers_for
from patchaug.sampling.statistics import checked_scale

# Draft 7 and 2020-12 write pairs in two ways, and forms know the one or the other; this says it to both.
Pair = Annotated[
    tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]],
    WithJsonSchema(
        {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 2, "maxItems": 2,
         "title": "height, width"}
    ),
]  # fmt: skip
Code = int | str
CodeMapping = Annotated[
    dict[str, Code | Annotated[list[Code], Field(min_length=1)]], Field(min_length=1, title="names and values")
]
Range = Annotated[
    tuple[float, float],
    WithJsonSchema(
        {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2, "title": "low, high"}
    ),
]  # fmt: skip
Count = Annotated[int, Field(ge=1, lt=2**32)]

_NOT_OF_SAMPLERS = {
    "seed",
    "ram",
    "channels",
    "series",
    "scale",
}  # options that say nothing about which windows there are


def _unit(text: str) -> dict[str, Any]:
    return {"unit": text}


def _option(name: str) -> Any:
    """Make the field of an option from its facts in the table."""
    option = OPTIONS[name]
    facts: dict[str, Any] = dict(option.limits)
    if option.unit is not None:
        facts["json_schema_extra"] = _unit(option.unit)
    if option.default is not REQUIRED:
        facts["default"] = option.default
    return Field(title=option.title, description=option.help, examples=list(option.examples), **facts)


class PatchOptions(Settings):
    """What windows are drawn, and how they are read: the arguments of `RandomPatch`, and `ram`.

    Raises:
        OptionError: An option is unknown, of a wrong type, or out of its limits; one line names them all.

    Examples:
        >>> from patchaug import PatchOptions
        >>> options = PatchOptions(512, per_slide=64, foreground=0.5)
        >>> options.size, options.seed
        (512, 42)
    """

    size: Annotated[int, Field(ge=1, title="one side")] | Pair = _option("size")
    per_slide: Count | Literal["area", "tissue", "foreground"] = _option("per_slide")
    windows: Count | None = _option("windows")
    foreground: float = _option("foreground")
    classes: dict[int | str, Weight] | list[int | str] | None = _option("classes")
    min_fraction: float = _option("min_fraction")
    min_valid: float = _option("min_valid")
    inside: float = _option("inside")
    empty: Empty = _option("empty")
    balance: Balance = _option("balance")
    mode: Mode = _option("mode")
    adapt: Adapt = _option("adapt")
    blocks: int = _option("blocks")
    floor: float = _option("floor")
    overlap: int = _option("overlap")
    valid: Valid = _option("valid")
    weights: bool = _option("weights")
    max_weight: float | None = _option("max_weight")
    level: int = _option("level")
    mpp: float | None = _option("mpp")
    halo: Annotated[int, Field(ge=0, le=MAX_HALO)] | Literal["auto"] = _option("halo")
    edge: Edge = _option("edge")
    small: Small = _option("small")
    on_error: OnError = _option("on_error")
    index_cache: Annotated[str, Field(min_length=1)] | None = _option("index_cache")
    index_workers: Annotated[int, Field(ge=1)] | Literal["auto"] = _option("index_workers")
    seed: int = _option("seed")
    channels: list[int | str] | int | None = Field(
        None, title="Channels", examples=[[0, 1, 2], ["nir", "red"]],
        description="channels to read and their order, by number or name, with commas; all by default",
    )  # fmt: skip
    series: int | str | None = Field(
        None, title="Picture of the file", examples=[1, "scan"],
        description="picture of files that hold several, by number or name",
    )  # fmt: skip
    scale: Range | list[Range] | None = Field(
        None, title="Scale", examples=[[0, 4095], [[0, 4095], [0, 900]]],
        description='values that become 0 and 1, or one pair a channel; "patchaug stats" measures them',
    )  # fmt: skip
    ram: Annotated[int, Field(ge=0)] | str = Field(
        "auto", title="Memory", examples=["8GB", 0],
        description='memory for decoded pixels: "auto", a size such as "8GB", or 0', json_schema_extra=_unit("bytes"),
    )  # fmt: skip

    def __init__(self, size: Any = None, **values: Any) -> None:
        super().__init__(**values if size is None else {"size": size, **values})

    def arguments(self, function: Callable[..., Any]) -> dict[str, Any]:
        """Return the options of the windows that a function takes, as its keyword arguments."""
        return {
            name: getattr(self, name) for name in signature(function).parameters if name in PatchOptions.model_fields
        }

    def samplers(self, augment: Augment | None = None) -> Samplers:
        """Return the samplers that the options describe, for training, validation and test slides.

        Args:
            augment: Augmentation of the training slides, which no option of the windows holds.
        """
        return samplers_for(
            augment=augment, **self.model_dump(include=PatchOptions.model_fields.keys() - _NOT_OF_SAMPLERS)
        )

    @field_validator("size", mode="before")
    @classmethod
    def _pair(cls, value: Any) -> Any:
        if isinstance(value, (list, tuple)) and len(value) != 2:
            raise ValueError("one side, or a pair (height, width)")
        return tuple(value) if isinstance(value, list) else value

    @field_validator("scale", mode="before")
    @classmethod
    def _ranges(cls, value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            return value
        pairs = [tuple(one) if isinstance(one, list) else one for one in value]
        return pairs if pairs and isinstance(pairs[0], tuple) else tuple(pairs)

    @field_validator("classes", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        """Files and flags have no other keys than text: a class that is named like a number is that number."""
        if not isinstance(value, dict):
            return value
        keys = [int(key) if isinstance(key, str) and key.isdecimal() and str(int(key)) == key else key for key in value]
        if len(set(keys)) < len(keys):
            raise ValueError("weights of different classes, and one number is given twice")
        return dict(zip(keys, value.values(), strict=True))

    def _check(self) -> None:
        # What depends on several options, and what their own rooms know better, is said there.
        budget(self.ram)
        if self.scale is not None:
            checked_scale(self.scale)
        self.samplers()


class DataOptions(PatchOptions):
    """Windows, and the slides and masks that they are drawn from."""

    images: str | None = Field(
        None, title="Slides", min_length=1, examples=["data/images"],
        description="folder of slides, or of subfolders images and masks",
    )  # fmt: skip
    masks: str | None = Field(
        None, title="Masks", min_length=1, examples=["data/masks"],
        description="folder of masks, named like their images, with or without _mask; left out, beside the images",
    )  # fmt: skip
    table: str | None = Field(
        None, title="Table", min_length=1, examples=["slides.csv"],
        description="CSV in place of the folders, with columns image, mask and, where wanted, split, group, mpp",
    )  # fmt: skip
    codes: CodeMapping | Annotated[list[str], Field(min_length=1, title="names")] = Field(
        title="Class names", examples=[["background", "nucleus"], {"background": 0, "nucleus": 255}],
        description="class names in the order of the masks' integers, with commas; or what the masks hold: "
        "background=0,nucleus=255, cell=1-65535, road=#ff0000",
    )  # fmt: skip
    ignore_index: int | None = Field(
        None, title="Ignored label", description='integer of the masks that means "no label"', examples=[255]
    )
    outside: int | str | None = Field(
        None, title="Outside polygons", examples=["background", 255],
        description="what no polygon covers: a class, or the ignored label for sparse annotation",
    )  # fmt: skip
    label: str = Field(
        "classification", title="Class of polygons", description="property of polygons that holds the class",
        min_length=1, examples=["class"],
    )  # fmt: skip
    invalid: Literal["raise", "skip", "repair"] = Field(
        "raise", title="Bad polygons", examples=["skip"],
        description="points, lines, and outlines that cross themselves: raise lists them in one error, skip leaves "
        "them out, repair mends outlines",
    )  # fmt: skip
    mpp_of_slides: float | None = Field(
        None, title="Pixel size of the slides", gt=0, examples=[0.25], json_schema_extra=_unit("micrometres per pixel"),
        description="pixel size of all slides, where files store none or a wrong one",
    )  # fmt: skip
    valid_slides: list[str] = Field(
        [], title="Validation slides", description='names of validation slides, such as "valid_*", with commas',
        examples=[["valid_*"]],
    )  # fmt: skip
    valid_pct: float = Field(
        0.2, title="Validation share", gt=0, lt=1, examples=[0.2],
        description="share of the slides for validation, at least one, where none are named",
    )  # fmt: skip
    split_region: float | None = Field(
        None, title="Validation part", gt=0, lt=1, examples=[0.2],
        description="share of each slide for validation, cut off by a guard band, in place of whole slides: one slide "
        "is enough",
    )  # fmt: skip
    guard: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        "auto", title="Guard band", examples=[256, "auto"], json_schema_extra=_unit("px"),
        description="pixels of level 0 between training and validation part",
    )  # fmt: skip
    region: str | None = Field(
        None, title="Region", min_length=1, examples=["tissue", "data/regions"],
        description='where windows are drawn: "tissue", a mask or polygons for all slides, or a folder of them, named '
        "like their images",
    )  # fmt: skip
    folds: int | None = Field(
        None, title="Folds", ge=2, examples=[5],
        description="cross-validation: train so many models, each slide or group validates once",
    )  # fmt: skip
    fold: int | None = Field(None, title="Fold", description="train this one of the folds only", ge=1, examples=[1])

    @property
    def class_names(self) -> list[str]:
        """Class names, in the order of the class numbers."""
        return list(self.codes)

    def label_arguments(self) -> dict[str, Any]:
        """Return what says how masks are read, as keyword arguments of `open_slide`."""
        return {name: getattr(self, name) for name in ("codes", "ignore_index", "outside", "label", "invalid")}

    @field_validator("codes", mode="before")
    @classmethod
    def _stored(cls, value: Any) -> Any:
        """Write ranges and arrays of a script as files write them."""
        classes = ClassCodes.of(value) if isinstance(value, Mapping) else None
        return value if classes is None else classes.as_given()

    def _check(self) -> None:
        super()._check()
        ClassCodes.of(self.codes)
        for place in (self.images, self.masks, self.table):
            as_url(place)  # refuses one with a password before it is written anywhere
        if (self.images is None) == (self.table is None):
            given = "none is" if self.images is None else "both are"
            raise OptionError(f"slides are given by images (a folder) or by table (a CSV), and {given} set; set one")
        if self.table is not None and self.masks is not None:
            raise OptionError("masks are given by the table, column mask; remove the option masks")
        if self.fold is not None and (self.folds is None or self.fold > self.folds):
            raise OptionError(f"fold must be one of 1 to folds, got fold {self.fold} of folds {self.folds}")
        if self.folds is not None and self.valid_slides:
            raise OptionError("folds and valid_slides both split the slides; remove one")
        if self.split_region is not None and (self.folds is not None or self.valid_slides):
            raise OptionError(
                "split_region cuts each slide in two parts, and folds or valid_slides split them; remove one"
            )


class TrainOptions(LearnerOptions, DataOptions):
    """A whole training run: the windows, the data, and the learner. `patchaug train` leaves it as options.json."""

    def _check(self) -> None:
        super()._check()
        self._check_learner(self.codes)
