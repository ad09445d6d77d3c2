"""Tiled TIFF, BigTIFF, SVS and OME-TIFF."""
