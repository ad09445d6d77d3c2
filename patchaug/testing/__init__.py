"""What tests of patchaug, and of plugins to it, share. `contract` needs pytest and is imported by name."""

from patchaug.testing.coordinates import coordinate_image, coordinate_mask, mask_at, places, write_pyramid

__all__ = ["coordinate_image", "coordinate_mask", "mask_at", "places", "write_pyramid"]
