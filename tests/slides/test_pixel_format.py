"""Rasters of users are held to the formats of our own: any other dtype, shape or number of channels is one error."""

import pickle
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchaug import Foreground, FrameError, LabelError, Plan, Slide, Uniform, Window
from patchaug.readers import ArrayRaster

DTYPES = ["b1", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", "c8", ">u2", "M8[s]", "S1", "O"]
WINDOW = Window(2, 3, 5, 4)


class UserRaster:
    """A raster as a user writes it: returns what `give` makes of a window."""

    mpp = None

    def __init__(self, give, *, sizes=((40, 30),), downsamples=None) -> None:
        self.give, self.name = give, "mine"
        self.level_dimensions = sizes
        self.level_downsamples = [1.0] * len(sizes) if downsamples is None else downsamples

    def read(self, window: Window):
        return self.give(window)


def image(window: Window) -> np.ndarray:
    return np.full((window.height, window.width, 3), 7, np.uint8)


def zeros(dtype: str, *channels: int):
    return lambda window: np.zeros((window.height, window.width, *channels), dtype)


@pytest.mark.parametrize("channels", [(), (1,), (2,), (3,), (4,)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_images_of_every_dtype(dtype: str, channels: tuple[int, ...]) -> None:
    """Types of images keep their dtype and channels; all else is a FrameError with raster, value, limit and cure."""
    slide = Slide(UserRaster(zeros(dtype, *channels)), name="liver")
    if dtype in ("u1", "u2", "i2", "f2", "f4"):
        assert slide.channels == (channels or (1,))[0] and slide.dtype == dtype
        read = slide.read(WINDOW).image
        assert read.dtype == dtype and read.shape == (4, 5, *(channels or (1,)))
        return
    value = re.escape(str(np.dtype(dtype)))
    with pytest.raises(
        FrameError, match=rf"^liver: the image raster 'mine' returned {value}.*level 0.*must (be|have).*; .+"
    ):
        slide.read(WINDOW)


@pytest.mark.parametrize("dtype", DTYPES)
def test_masks_of_every_dtype(dtype: str) -> None:
    """Whole numbers are class numbers, booleans 0 and 1; all else is a LabelError, by all that reads a mask."""
    slide = Slide(UserRaster(image), UserRaster(zeros(dtype)), name="liver")
    if np.dtype(dtype).kind in "buif":
        mask = slide.read(WINDOW).mask
        assert mask is not None and mask.shape == (4, 5) and mask.dtype.kind in "ui" and not mask.any()
        assert slide.labels().pixels(0) == 40 * 30
        return
    for read in (lambda: slide.read(WINDOW), lambda: slide.read_mask(WINDOW), slide.labels):
        with pytest.raises(
            LabelError, match=rf"^liver: the mask raster 'mine' returned {re.escape(str(np.dtype(dtype)))}"
        ):
            read()


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_whole_floats_are_their_integers(dtype: str) -> None:
    """Negative numbers as well, up to the largest that all floats of the type hold."""
    limit = 2 ** (np.finfo(dtype).nmant + 1) - 1
    values = np.random.default_rng(0).integers(-limit, limit, (30, 40), endpoint=True)
    values[3, 2], values[4, 3] = limit, -limit
    mask = Slide(UserRaster(image), ArrayRaster(values.astype(dtype)), name="a").read(WINDOW).mask
    assert mask is not None and mask.dtype == np.int64 and (mask == values[3:7, 2:7]).all()


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("value", [0.5, -1.25, np.nan, np.inf, -np.inf])
def test_other_floats_are_no_class_numbers(dtype: str, value: float) -> None:
    """One pixel is enough: the error names its value and place, for all that reads the mask and for a plan."""
    values = np.ones((30, 40), dtype)
    values[5, 4] = value
    slide = Slide(UserRaster(image), ArrayRaster(values), name="liver")
    text = rf"^liver: the mask .* holds {re.escape(str(values[5, 4]))} at x=4 y=5 \(1 px .*no class number; .+"
    for read in (
        lambda: slide.read(WINDOW), lambda: slide.read_mask(WINDOW), slide.labels,
        lambda: Plan([slide], Foreground(8)),
    ):  # fmt: skip
        with pytest.raises(LabelError, match=text):
            read()


@pytest.mark.parametrize(
    ("give", "text"),
    [
        (lambda w: np.zeros((3, w.height, w.width), np.uint8), r"shape \(3, 4, 5\).*transpose\(1, 2, 0\)"),
        (lambda w: np.zeros((w.width, w.height, 3), np.uint8), r"shape \(5, 4, 3\).*\(4, 5, channels\)"),
        (lambda w: np.zeros((w.height - 1, w.width, 3), np.uint8), r"shape \(3, 5, 3\)"),
        (lambda w: np.zeros((w.height * w.width,), np.uint8), r"shape \(20,\)"),
        (lambda w: [[0] * w.width] * w.height, "builtins.list.*numpy array"),
        (lambda w: None, "builtins.NoneType"),
        (zeros("u1", 0), "0 channels.*at least one"),
        (zeros("u4", 3), r"uint32 pixels.*astype\(numpy.uint16\)"),
        (zeros("f8", 3), r"float64 pixels.*astype\(numpy.float32\)"),
        (zeros("b1", 3), r"bool pixels.*astype\(numpy.uint8\) \* 255"),
        (zeros(">u2", 3), r">u2 pixels.*newbyteorder\('='\)"),
    ],
)
def test_shapes_and_kinds(give, text: str) -> None:
    """The cure is the one for the mistake."""
    with pytest.raises(FrameError, match=text):
        Slide(UserRaster(give), name="liver").read(WINDOW)


def test_the_cures_work() -> None:
    """What the error proposes is accepted."""
    rng = np.random.default_rng(0)
    deep, real = rng.integers(0, 2**16, (4, 5, 3), np.uint32), rng.random((4, 5, 4))
    bits, turned = np.ones((4, 5), bool), deep.astype(">u2")
    cured = (
        deep.astype(np.uint16), deep.astype(np.float32), real.astype(np.float32), bits.astype(np.uint8) * 255,
        turned.astype(turned.dtype.newbyteorder("=")),
    )  # fmt: skip
    for pixels in cured:
        read = Slide(UserRaster(lambda window, pixels=pixels: pixels), name="a").read(WINDOW).image
        assert read.dtype == pixels.dtype and (read == pixels.reshape(4, 5, -1)).all()


@pytest.mark.parametrize("channels", [(1, 3), (3, 1)])
def test_the_number_of_channels_stays(channels: tuple[int, int]) -> None:
    """A window of another number of channels than the first is an error, also in a copy of the slide."""
    slide = Slide(ByColumn(channels), name="liver")
    slide.read(Window(0, 0, 5, 4))
    for one in (slide, pickle.loads(pickle.dumps(slide))):
        assert one.read(Window(1, 0, 5, 4)).image.shape == (4, 5, channels[0])
        with pytest.raises(FrameError, match=f"with {channels[1]} channels.*first window was uint8 with {channels[0]}"):
            one.read(Window(20, 0, 5, 4))


class ByColumn(UserRaster):
    """Another number of channels from column 20 on."""

    def __init__(self, channels: tuple[int, int]) -> None:
        super().__init__(None)
        self.channels = channels

    def read(self, window: Window):
        return np.zeros((window.height, window.width, self.channels[window.x >= 20]), np.uint8)


def test_the_dtype_of_a_mask_stays() -> None:
    """Class numbers that change their dtype from window to window are an error."""
    mask = UserRaster(lambda w: np.zeros((w.height, w.width), np.uint8 if w.x == 0 else np.int64))
    slide = Slide(UserRaster(image), mask, name="liver")
    slide.read(Window(0, 0, 5, 4))
    with pytest.raises(FrameError, match="returned int64 .*its first window was uint8"):
        slide.read(WINDOW)


def test_format_errors_are_not_resampled() -> None:
    """`on_error="resample"` is for unreadable places; a wrong format would be wrong everywhere."""
    plan = Plan([Slide(UserRaster(zeros("u4", 3)), name="a")], Uniform(8), on_error="resample")
    with pytest.raises(FrameError, match="uint32"):
        plan.read(plan[0])


def test_a_complex_mask_stops_the_plan() -> None:
    """Before any window is drawn."""
    with pytest.raises(LabelError, match="complex64"):
        Plan([Slide(UserRaster(image), UserRaster(zeros("c8")), name="a")], Foreground(8))


@pytest.mark.parametrize(
    ("sizes", "downsamples"),
    [((), ()), (((40.5, 30),), None), (((40, 0),), None), ((40, 30), None), (((40, 30, 3),), None),
     (((40, 30),), (1.0, 2.0))],
)  # fmt: skip
def test_levels_are_checked(sizes, downsamples) -> None:
    """When the slide is made: sizes in whole pixels, one downsample for each."""
    with pytest.raises(FrameError, match="level_dimensions"):
        Slide(UserRaster(image, sizes=sizes, downsamples=downsamples), name="liver")


@given(st.integers(1, 40), st.integers(1, 30), st.sampled_from([(), (1,), (3,)]), st.data())
def test_values_pass_unchanged(width: int, height: int, channels: tuple[int, ...], data: st.DataObject) -> None:
    """The check changes no pixel of any window."""
    x, y = data.draw(st.integers(0, 40 - width)), data.draw(st.integers(0, 30 - height))
    pixels = np.random.default_rng(width * height).integers(0, 256, (30, 40, *channels), np.uint8)
    classes = np.random.default_rng(x).integers(-3, 900, (30, 40), np.int16)
    slide = Slide(ArrayRaster(pixels), ArrayRaster(classes), name="a")
    for _ in range(2):
        patch = slide.read(Window(x, y, width, height))
        part = (slice(y, y + height), slice(x, x + width))
        assert (patch.image == pixels[part].reshape(height, width, -1)).all()
        assert patch.mask is not None and (patch.mask == classes[part]).all() and patch.mask.dtype == np.int16
