"""Masks from polygons: GeoJSON, QuPath and ASAP annotations, rasterised per window."""
