"""Augmentation that invents no pixel: albumentations with a key and a halo. Only this room imports albumentations."""

from patchaug.augment.augment import Augment, as_augment
from patchaug.augment.measure_padding import padded_share
from patchaug.augment.presets import aerial, histology, named

__all__ = ["Augment", "aerial", "as_augment", "histology", "named", "padded_share"]
