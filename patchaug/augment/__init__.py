"""Padding-free augmentation: albumentations with a key and a halo. Only this package imports albumentations."""

from patchaug.augment.augment import Augment, as_augment
from patchaug.augment.measure_padding import padded_share
from patchaug.augment.presets import aerial, histology, load_pipeline

__all__ = ["Augment", "aerial", "as_augment", "histology", "load_pipeline", "padded_share"]
