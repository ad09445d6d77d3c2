"""Facts of each option that describes windows: default, limits, unit, help text and examples, declared once.

`PatchOptions` takes its fields from this table, and so do the flags, files and forms made from it. The samplers,
`Plan` and `RandomPatch` have the same names and defaults in their signatures; tests compare them with the table. The
one exception is the sampler `Foreground`: its `foreground` is 0.5 by default, because it is chosen to draw foreground.

A new option is an entry here, a typed line in `PatchOptions`, and a parameter of what uses it; `sampler_for` passes it
on by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, get_args

from patchaug.core.validation import SEED
from patchaug.errors import OptionError

PerSlide = int | Literal["area", "tissue", "foreground"]
Empty = Literal["raise", "uniform", "skip"]
Balance = Literal["slide", "dataset"]
Mode = Literal["random", "grid", "random-grid", "adaptive"]
Adapt = Literal["blocks", "classes"]
Valid = Literal["grid", "random"]
Offset = Literal["fixed", "random"]
Edge = Literal["shift", "reflect"]

REQUIRED: Any = object()  # default of an option that must be given


@dataclass(frozen=True)
class Option:
    """Facts of one option.

    Attributes:
        default: Value where none is given; `REQUIRED` for none.
        title: Label in a form.
        help: Help text of a flag; lower case, without unit and default.
        examples: Values that are accepted.
        unit: Unit of the value, such as "px", or None.
        limits: Bounds of a number: "ge", "gt", "le" and "lt".
    """

    default: Any
    title: str
    help: str
    examples: tuple[Any, ...]
    unit: str | None = None
    limits: Mapping[str, float] = field(default_factory=dict)


_COUNT = {"ge": 0, "lt": 2**32}

OPTIONS: Mapping[str, Option] = MappingProxyType(
    {
        "size": Option(
            REQUIRED, "Window size", "side of the window in pixels of the level, or (height, width)",
            (256, [256, 512]), unit="px",
        ),
        "per_slide": Option(
            1, "Windows per slide",
            'windows of each slide in an epoch, or what to share "windows" out by: "area", "tissue" or "foreground"',
            (64, "tissue"),
        ),
        "windows": Option(
            None, "Windows in all",
            'windows of all slides in an epoch, shared out where per_slide is "area", "tissue" or "foreground"',
            (1000,),
        ),
        "foreground": Option(
            0.0, "Foreground share", "probability that a draw is a foreground draw, 0 to 1", (0.5,),
            limits={"ge": 0, "le": 1},
        ),
        "classes": Option(
            None, "Foreground classes",
            "classes that count as foreground, or their weights; left out, all but 0 and `ignore_index`",
            (["tumor", "stroma"], {"tumor": 2, "stroma": 1}),
        ),
        "min_fraction": Option(
            0.0, "Least fraction", "least share of a window's pixels in those classes, 0 to 1", (0.05,),
            limits={"ge": 0, "le": 1},
        ),
        "min_valid": Option(
            0.0, "Least valid share",
            "least share of a random window's pixels that hold data: no nodata, transparency or missing tile, 0 to 1",
            (0.9,), limits={"ge": 0, "le": 1},
        ),
        "inside": Option(
            1.0, "Share in the region", "least share of a window's pixels in the region of its slide, 0 to 1", (0.9,),
            limits={"ge": 0, "le": 1},
        ),
        "empty": Option("raise", "Slides without foreground", "what to do with slides without foreground", ("skip",)),
        "balance": Option(
            "slide", "Balance",
            'foreground draws of each slide alike ("slide"), or of all slides by their pixels of a class ("dataset")',
            ("dataset",),
        ),
        "mode": Option("random", "Training windows", "windows of the training slides", ("random-grid",)),
        "adapt": Option(
            "blocks", "Adaptive by", 'what follows the losses of the last epochs with mode "adaptive"', ("classes",)
        ),
        "blocks": Option(
            8, "Blocks", "blocks on each side of a slide, whose losses adaptive windows follow", (16,),
            limits={"ge": 1, "le": 256},
        ),
        "floor": Option(
            0.1, "Floor", "probability of a uniform draw among adaptive ones", (0.2,), limits={"gt": 0, "le": 1},
        ),
        "overlap": Option(0, "Overlap", "pixels that neighbours of a grid share", (32,), unit="px", limits=_COUNT),
        "valid": Option("grid", "Validation windows", "windows of the validation slides", ("random",)),
        "weights": Option(
            False, "Importance weights",
            "weigh losses and scores of random windows, so that their means are those of uniform windows", (True,),
        ),
        "max_weight": Option(
            None, "Largest weight", "clip importance weights at this number: less variance, some bias", (10.0,),
            limits={"ge": 1},
        ),
        "level": Option(0, "Level", "pyramid level to read, 0 is the finest", (1,), limits=_COUNT),
        "mpp": Option(
            None, "Resolution", "micrometres per pixel of the patches, in place of a level", (0.5,), unit="µm/px",
            limits={"gt": 0},
        ),
        "halo": Option(
            "auto", "Halo", 'pixels read around each training patch; "auto" is what augmentation needs', (32, "auto"),
            unit="px",
        ),
        "edge": Option(
            "shift", "Halo at the border",
            'keep windows inside for the halo ("shift"), or mirror at the border ("reflect")', ("reflect",),
        ),
        "small": Option(
            "raise", "Small slides", "what to do with slides that are smaller than the window", ("skip",)
        ),
        "on_error": Option(
            "raise", "Unreadable windows",
            "what to do with a window that cannot be read: stop, or read another in its place", ("resample",),
        ),
        "index_cache": Option(
            None, "Cache of indexes", "folder that keeps indexes of labels, so that the next start reads no mask",
            ("indexes",),
        ),
        "index_workers": Option(
            "auto", "Index processes",
            'processes that index labels: a number, or "auto": one a core for work of more than 1.5 s',
            (4, "auto"),
        ),
        "seed": Option(SEED, "Seed", "0 to 2^32 - 1; same seed, same windows", (42,), limits=_COUNT),
    }
)  # fmt: skip


def check_choice(name: str, value: object, choices: Any) -> None:
    """Verify that a value is one of the texts of a `Literal` type.

    Args:
        name: Name of the option.
        value: The value.
        choices: The type, such as `Empty`.

    Raises:
        OptionError: The value is another one.
    """
    texts = [f'"{text}"' for text in get_args(choices)]
    if value not in get_args(choices):
        raise OptionError(f"{name} must be {', '.join(texts[:-1])} or {texts[-1]}, got {value!r}")
