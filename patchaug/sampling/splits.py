"""One set of options, three samplers: for training, validation and test slides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

from patchaug.core.validation import OnError, Small, checked_halo, checked_on_error, checked_small
from patchaug.errors import OptionError
from patchaug.sampling import Adaptive, Edge, Foreground, Grid, Uniform
from patchaug.sampling.base import PatchTransform, Sampler
from patchaug.sampling.foreground import NO_FOREGROUND_DRAWS
from patchaug.sampling.importance import ImportanceWeights, checked_limit
from patchaug.sampling.index_requests import Indexing
from patchaug.sampling.option_table import OPTIONS, Mode, Valid, check_choice
from patchaug.sampling.plan import Plan
from patchaug.slides.index_build import Workers
from patchaug.slides.slide import Slide


class Samplers(NamedTuple):
    """The sampler of each split.

    Attributes:
        train: What `mode` says.
        valid: What `valid` says: a grid, or random windows.
        test: A grid always, since test slides are predicted whole.
        augment: What is done to the patches of training slides, or None.
        halo: Pixels around those that are read for transforms to come, where there is no `augment`.
        edge: See `Plan`.
        on_error: See `Plan`; for all splits.
        small: See `Plan`; for all splits.
        indexing: `index_cache` and `index_workers` of `Plan`; for all splits.
        weights: Give random windows their importance weights.
        max_weight: See `ImportanceWeights`.
    """

    train: Sampler
    valid: Sampler
    test: Sampler
    augment: PatchTransform | None = None
    halo: int = 0
    edge: Edge = "shift"
    on_error: OnError = "raise"
    small: Small = "raise"
    indexing: Indexing = Indexing()
    weights: bool = False
    max_weight: float | None = None

    def plan(self, split: str, slides: Sequence[Slide], *, seed: int, shuffle: bool) -> Plan:
        """Make the plan of a split: only patches of training slides are augmented.

        Raises:
            PatchaugError: See `of` and `Plan`.
        """
        same: dict[str, Any] = {
            "seed": seed, "shuffle": shuffle, "on_error": self.on_error, "small": self.small,
            "index_cache": self.indexing.cache, "index_workers": self.indexing.workers,
        }  # fmt: skip
        if split == "train":
            same |= {"augment": self.augment, "halo": self.halo, "edge": self.edge}
        return Plan(slides, self.of(split), **same)

    def importance(self, split: str, plan: Plan) -> ImportanceWeights | None:
        """Return the weights of a split's windows; None for grids, and where none are asked for.

        Raises:
            OptionError: See `ImportanceWeights`.
        """
        if not self.weights or split == "test" or isinstance(self.of(split), Grid):
            return None
        return ImportanceWeights(plan, max_weight=self.max_weight)

    def of(self, split: str) -> Sampler:
        """Return the sampler of a split: "train", "valid" or "test".

        Raises:
            OptionError: The options ask for random windows, and the split is the test set.
        """
        if split == "test" and self.valid != self.test:
            raise OptionError(
                'valid="random" asks for random windows of a test set, which would leave pixels out; set valid="grid", '
                "or take learn.predict_slide(slide), which covers the slide whatever valid says"
            )
        return {"train": self.train, "valid": self.valid, "test": self.test}[split]


def sampler_for(*, mode: str, **options: Any) -> Sampler:
    """Return the sampler that a set of options describes.

    Args:
        mode: "random", "grid", "random-grid" or "adaptive".
        **options: Values of `OPTIONS` by name; `size` is required. Each sampler takes those that it has.

    Raises:
        OptionError: There is no such mode or option, or a value is out of its limits.
    """
    check_choice("mode", mode, Mode)
    if unknown := options.keys() - OPTIONS.keys():
        raise OptionError(f"there is no option {min(unknown)!r}; options are {', '.join(OPTIONS)}")
    values = {name: option.default for name, option in OPTIONS.items()} | options
    kind: type[Uniform | Foreground | Grid | Adaptive]
    if mode == "adaptive":
        _require_adaptive_options(values)
        kind = Adaptive
    elif mode == "random":
        by_class = values["foreground"] or values["min_fraction"] or values["per_slide"] == "foreground"
        if values["balance"] == "dataset" and not values["foreground"]:
            raise OptionError(NO_FOREGROUND_DRAWS)
        kind = Foreground if by_class else Uniform
    else:
        kind, values["offset"] = Grid, "fixed" if mode == "grid" else "random"
    return kind(**{one.name: values[one.name] for one in fields(kind)})


def _require_adaptive_options(values: Mapping[str, Any]) -> None:
    """Raise OptionError where options ask for what adaptive windows do not have."""
    for name in ("foreground", "min_fraction", "min_valid", "inside", "balance"):
        default = OPTIONS[name].default
        if values[name] != default:
            raise OptionError(
                f'{name}={values[name]} is for mode="random", and mode="adaptive" draws by the losses; set '
                f"{name}={default!r}, or leave mode out"
            )


def samplers_for(
    *,
    mode: str = "random",
    valid: str = "grid",
    augment: PatchTransform | None = None,
    halo: int | str = "auto",
    edge: Edge = "shift",
    on_error: OnError = "raise",
    small: Small = "raise",
    index_cache: str | None = None,
    index_workers: Workers = "auto",
    weights: bool = False,
    max_weight: float | None = None,
    **options: Any,
) -> Samplers:
    """Return the samplers of training, validation and test slides that a set of options describes.

    Args:
        mode: "random", "grid", "random-grid" or "adaptive", for training slides.
        valid: "grid" or "random", for validation slides.
        augment: A transform of the patches of training slides.
        halo: Pixels around each of their patches; "auto" is what `augment` needs, and 0 without it.
        edge: "shift" or "reflect", see `Plan`.
        on_error: "raise" or "resample", see `Plan`.
        small: "raise" or "skip", see `Plan`.
        index_cache: Folder that keeps indexes of labels, see `Plan`.
        index_workers: Processes that build them, see `Plan`.
        weights: Give random windows their importance weights.
        max_weight: Largest weight, see `ImportanceWeights`.
        **options: The other options, see `sampler_for`.

    Raises:
        OptionError: A value is of a wrong type or out of its limits.
    """
    check_choice("valid", valid, Valid)
    limit = checked_limit(max_weight)
    if not isinstance(weights, bool):
        raise OptionError(f"weights must be True or False, got {weights!r}; max_weight={weights!r} sets a limit")
    if limit is not None and not weights:
        raise OptionError(f"max_weight={max_weight} limits weights, which are off; set weights=True")
    grid = sampler_for(mode="grid", **options)
    pixels = 0 if halo == "auto" else checked_halo(halo)
    validation = grid if valid == "grid" else sampler_for(mode="random", **options)
    train = sampler_for(mode=mode, **options)
    return Samplers(
        train, validation, grid, augment, pixels, edge, checked_on_error(on_error), checked_small(small),
        Indexing(index_cache, index_workers), weights, limit,
    )  # fmt: skip
