"""OME-Zarr as zarr-python reads it, by the metadata of NGFF 0.4, and as a mask of the same slide."""

import numpy as np
import zarr
from hypothesis import given
from hypothesis import strategies as st

from patchaug import Window, open_slide
from patchaug.predict.writers.pyramid import level_sizes

from .maps import CODES, class_maps, cuts, frame_of, fresh_folder, random_probabilities, write_map
from .test_tiff import mean_level, nearest_level


@given(classes=class_maps(60), data=st.data(), compression=st.sampled_from(["deflate", "zstd"]))
def test_class_maps(classes, data, compression):
    """Levels, scales and names are those that the metadata say; it opens as a mask."""
    path, frame = fresh_folder() / "a.zarr", frame_of(classes, mpp=(0.25, 0.5))
    write_map("zarr", path, frame, classes, data.draw(cuts(len(classes))), tile=16, compression=compression)
    group = zarr.open_group(path, mode="r")
    image, label = group.attrs["multiscales"][0], group.attrs["image-label"]
    assert [(axis["name"], axis["unit"]) for axis in image["axes"]] == [("y", "micrometer"), ("x", "micrometer")]
    assert len(image["datasets"]) == len(level_sizes(*classes.shape, 16)) and image["version"] == "0.4"
    for k, dataset in enumerate(image["datasets"]):
        np.testing.assert_array_equal(group[dataset["path"]][:], nearest_level(classes, 2**k))
        scale, *shift = dataset["coordinateTransformations"]
        assert scale == {"type": "scale", "scale": [0.5 * 2**k, 0.25 * 2**k]}
        assert [one["translation"] for one in shift] == ([[(2**k - 1) / 4, (2**k - 1) / 8]] if k else [])
    assert [(one["label-value"], one["class"]) for one in label["properties"]] == list(enumerate(CODES))
    assert label["colors"][1] == {"label-value": 1, "rgba": [0, 158, 115, 255]}
    height, width = classes.shape
    slide = open_slide(np.zeros((height, width, 3), np.uint8), path, name="a", codes=CODES)
    np.testing.assert_array_equal(slide.read(Window(0, 0, width, height)).mask, classes)
    assert slide.mask.mpp == (0.25, 0.5)


@given(classes=class_maps(40), dtype=st.sampled_from(["uint8", "float16", "float32"]))
def test_probabilities(classes, dtype):
    """Channels have the names of the classes."""
    path, values = fresh_folder() / "p.zarr", random_probabilities(classes)
    write_map(
        "zarr", path, frame_of(classes), classes, [0, len(classes)], values, what="probabilities", tile=16, dtype=dtype
    )
    group = zarr.open_group(path, mode="r")
    stored = group["0"][:]
    top, slack = {"uint8": (255, 0.51 / 255), "float16": (1, 2**-11), "float32": (1, 0)}[dtype]
    np.testing.assert_allclose(stored / top, values, rtol=0, atol=slack)
    assert tuple(one["label"] for one in group.attrs["omero"]["channels"]) == CODES
    for k, dataset in enumerate(group.attrs["multiscales"][0]["datasets"]):
        for plane, whole in zip(group[dataset["path"]][:], stored, strict=True):
            np.testing.assert_allclose(plane, mean_level(whole, 2**k), atol=0.51 if top > 1 else 1e-3)
    assert open_slide(path).channel_names == CODES
