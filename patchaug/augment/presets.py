"""Ready pipelines, each with a halo that is known."""

from __future__ import annotations

from pathlib import Path

from patchaug.augment.augment import Augment
from patchaug.errors import MissingError, OptionError


def named(pipeline: str) -> Augment:
    """A ready pipeline by its name, or one that `albumentations.save` wrote to a JSON file.

    Raises:
        MissingError: There is no such pipeline, and no such file.
        OptionError: The file holds no pipeline.
    """
    ready = {"histology": histology, "aerial": aerial}
    if pipeline in ready:
        return ready[pipeline]()
    if not Path(pipeline).is_file():
        raise MissingError(f"there is no pipeline {pipeline!r}, and no such file; ready ones are {', '.join(ready)}")
    import albumentations as alb

    try:
        return Augment(alb.load(pipeline))
    except (ValueError, KeyError, TypeError) as error:
        raise OptionError(f"{pipeline} holds no pipeline of albumentations.save ({error}); save it as JSON") from None


def histology(*, halo: int | str = "auto") -> Augment:
    """For stained tissue, which has no up: any rotation, flips, a little scale and deformation, stain and light.

    That these help is shown by D. Tellez et al., Quantifying the effects of data augmentation and stain color
    normalization in convolutional neural networks for computational pathology, Medical Image Analysis 58 (2019). The
    ranges here are mild ones of our own.

    Args:
        halo: See `Augment`.
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


def aerial(*, halo: int | str = "auto") -> Augment:
    """For scenes seen from above: any rotation, flips, scale, light and noise; shapes stay as they are.

    Args:
        halo: See `Augment`.
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
