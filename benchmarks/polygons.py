"""Compare six ways to rasterize polygons by pixel centres: wrong pixels against shapely, and time.

python benchmarks/polygons.py [annotations.geojson.gz width height code,code,...]

Needs opencv-python-headless, rasterio and shapely beside patchaug's own libraries. With a file, also windows a second.
"""

import sys
import time

import cv2
import matplotlib.path
import numpy as np
import rasterio.features
import shapely
import skimage.draw
from PIL import Image, ImageDraw

from patchaug import Window
from patchaug.readers import PolygonRaster
from patchaug.readers.annotations.rasterize import edges_of, fill

SIDE = 64
CENTRES = np.mgrid[:SIDE, :SIDE][::-1] + 0.5
AXIS = np.arange(SIDE, dtype=float)


def polygons(number=300):
    """Yield valid star polygons: with integer, half-integer and arbitrary coordinates in turn."""
    rng = np.random.default_rng(0)
    for k in range(number):
        corners = int(rng.integers(3, 12))
        angles, radii = np.sort(rng.uniform(0, 2 * np.pi, corners)), rng.uniform(5, 40, corners)
        points = 32 + np.column_stack([radii * np.cos(angles), radii * np.sin(angles)])
        points = [np.round(points), np.round(points * 2) / 2, points][k % 3]
        if shapely.Polygon(points).is_valid:
            yield points


def _ours(points):
    out = np.zeros((SIDE, SIDE), np.uint8)
    fill(out, 1, edges_of([points]), AXIS, AXIS)
    return out


def _pillow(points):
    out = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(out).polygon([tuple(point) for point in points - 0.5], fill=1)
    return np.asarray(out)


def _opencv(points):
    out = np.zeros((SIDE, SIDE), np.uint8)
    return cv2.fillPoly(out, [np.round((points - 0.5) * 256).astype(np.int32)], 1, shift=8)


def _scikit_image(points):
    out = np.zeros((SIDE, SIDE), np.uint8)
    out[skimage.draw.polygon(points[:, 1] - 0.5, points[:, 0] - 0.5, (SIDE, SIDE))] = 1
    return out


def _matplotlib_path(points):
    path = matplotlib.path.Path(np.vstack([points, points[:1]]), closed=True)
    return path.contains_points(CENTRES.reshape(2, -1).T).reshape(SIDE, SIDE)


def _gdal(points):
    return rasterio.features.rasterize([(shapely.Polygon(points), 1)], (SIDE, SIDE), dtype="uint8")


def _main():
    cases = list(polygons())
    truth, on_edge = [], []
    for points in cases:
        solid = shapely.Polygon(points)
        truth.append(shapely.contains_xy(solid, *CENTRES))
        on_edge.append(shapely.intersects_xy(solid, *CENTRES) & ~truth[-1])
    print(
        f"{len(cases)} polygons, {len(cases) * SIDE**2} pixels, {sum(map(np.sum, on_edge))} with the centre on an edge"
    )
    first = None
    for way in (_ours, _pillow, _opencv, _scikit_image, _matplotlib_path, _gdal):
        start = time.perf_counter()
        drawn = [way(points) > 0 for points in cases]
        took = time.perf_counter() - start
        first = first or took
        wrong = sum(int((d != t)[~e].sum()) for d, t, e in zip(drawn, truth, on_edge, strict=True))
        print(f"{way.__name__[1:]:16} {wrong:6} wrong, {took / first:4.1f} times our time")
    if len(sys.argv) > 1:
        path, width, height, codes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4].split(",")
        raster = PolygonRaster(path, ((width, height),), codes=codes)
        raster.polygons  # noqa: B018 - parses the file
        rng = np.random.default_rng(0)
        windows = [Window(rng.integers(width - 512), rng.integers(height - 512), 512, 512) for _ in range(300)]
        start = time.perf_counter()
        for window in windows:
            raster.read(window)
        print(f"{len(windows) / (time.perf_counter() - start):.0f} windows of 512 px a second")


_main()
