"""Ready-made pipelines with a known halo."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from patchaug.augment.augment import Augment
from patchaug.core.arguments import names_arguments
from patchaug.errors import MissingError, OptionError


@names_arguments
def load_pipeline(pipeline: str) -> Augment:
    """Return a ready-made pipeline by name, or load one that `albumentations.save` wrote to a JSON or YAML file.

    The file names transforms of albumentations and their parameters; nothing in it is executed.

    Args:
        pipeline: "histology", "aerial", or a path.

    Raises:
        MissingError: Neither a ready-made pipeline nor a file has this name.
        OptionError: The file does not hold a pipeline.

    Examples:
        >>> load_pipeline("aerial").needed(256, 256)
        (98, 98)
    """
    ready = {"histology": histology, "aerial": aerial}
    if pipeline in ready:
        return ready[pipeline]()
    if not os.path.isfile(pipeline):
        raise MissingError(f"no pipeline or file is named {pipeline!r}; ready-made pipelines are {', '.join(ready)}")
    import albumentations as alb

    kind: Literal["json", "yaml"] = "yaml" if Path(pipeline).suffix.lower() in (".yaml", ".yml") else "json"
    try:
        return Augment(alb.load(pipeline, data_format=kind))
    except OptionError:
        raise
    except Exception as error:  # json, yaml and albumentations raise many kinds
        text = (str(error).splitlines() or [""])[0]
        raise OptionError(
            f"{pipeline} is not a file of albumentations.save ({type(error).__name__}: {text}); save the pipeline as "
            f"JSON: albumentations.save(pipeline, {str(Path(pipeline).with_suffix('.json').name)!r})"
        ) from None


@names_arguments
def histology(*, halo: int | str = "auto") -> Augment:
    """Create the pipeline for stained tissue: any rotation, flips, slight scale and deformation, stain and light.

    D. Tellez et al. show that these transforms help: Quantifying the effects of data augmentation and stain color
    normalization in convolutional neural networks for computational pathology, Medical Image Analysis 58 (2019). The
    ranges here are milder.

    Args:
        halo: Pixels to read around the window on each side, or "auto"; see `Augment`.

    Examples:
        >>> plan = Plan([slide], Uniform(64, per_slide=4), augment=histology())
        >>> plan.read(plan[0]).image.shape
        (64, 64, 3)
    """
    import albumentations as alb

    return Augment(
        alb.Compose(
            [
                alb.ElasticTransform(alpha=12, sigma=8, p=0.3),
                alb.Affine(rotate=(-180, 180), scale=(0.9, 1.1), p=1.0),
                alb.HorizontalFlip(p=0.5),
                alb.HueSaturationValue(hue_shift_limit=8, sat_shift_limit=25, val_shift_limit=12, p=0.7),
                alb.RandomBrightnessContrast(0.1, 0.1, p=0.5),
                alb.GaussianBlur(sigma_limit=(0.2, 1.2), p=0.2),
            ]
        ),
        halo=halo,
    )


@names_arguments
def aerial(*, halo: int | str = "auto") -> Augment:
    """Create the pipeline for aerial scenes: any rotation, flips, scale, light and noise; shapes are preserved.

    Args:
        halo: Pixels to read around the window on each side, or "auto"; see `Augment`.

    Examples:
        >>> plan = Plan([slide], Uniform(64, per_slide=4), augment=aerial(halo=40))
        >>> plan.read(plan[0]).image.shape
        (64, 64, 3)
    """
    import albumentations as alb

    return Augment(
        alb.Compose(
            [
                alb.Affine(rotate=(-180, 180), scale=(0.8, 1.25), p=1.0),
                alb.HorizontalFlip(p=0.5),
                alb.RandomBrightnessContrast(0.2, 0.2, p=0.7),
                alb.HueSaturationValue(hue_shift_limit=5, sat_shift_limit=15, val_shift_limit=10, p=0.5),
                alb.RandomGamma((85, 115), p=0.3),
                alb.GaussNoise(std_range=(0.005, 0.02), p=0.2),
            ]
        ),
        halo=halo,
    )
