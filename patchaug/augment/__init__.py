"""Augmentation that invents no pixel: albumentations with a key and a halo. Only this room imports albumentations."""

from patchaug.augment.apply import Augment, as_augment
from patchaug.augment.padding import padded_share
from patchaug.augment.pipelines import aerial, histology, named

__all__ = ["Augment", "aerial", "as_augment", "histology", "named", "padded_share"]
