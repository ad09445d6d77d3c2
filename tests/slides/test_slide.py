"""Image and mask show the same place, whatever their levels and resolutions; and the errors when they cannot."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchaug import FrameError, LabelError, MissingError, OptionError, ReadError, Window, WindowError, open_slide
from patchaug.readers import ArrayRaster
from patchaug.testing import coordinate_image, coordinate_mask, mask_at, places, write_pyramid

WIDTH, HEIGHT = 300, 210


def pyramid(make, factors=(1, 4), width=WIDTH, height=HEIGHT, **kwargs):
    """Levels of a coordinate picture; their sizes are rounded down, as most writers do."""
    return [make(width // f, height // f, f, **kwargs) for f in factors]


@given(st.integers(0, 2**32 - 1))
def test_image_and_mask_show_the_same_place(seed: int) -> None:
    """10,000 windows and more over the run: the mask is the function of the place that the image's pixels name."""
    slide = open_slide(ArrayRaster(pyramid(coordinate_image)), ArrayRaster(pyramid(coordinate_mask)))
    rng = np.random.default_rng(seed)
    for number in range(170):
        level = number % 2
        (width, height), factor = slide.level_dimensions[level], 4**level
        w, h = rng.integers(1, 33, 2)
        window = Window(rng.integers(width - w + 1), rng.integers(height - h + 1), w, h, level)
        image, mask = slide.read(window)
        x0, y0 = places(image)
        assert (x0[0, 0], y0[0, 0]) == (window.x * factor + factor // 2, window.y * factor + factor // 2)
        assert (mask == mask_at(x0, y0)).all()


@given(st.integers(1, 4), st.integers(0, 1), st.data())
def test_a_coarser_mask_is_read_under_the_centres(factor: int, level: int, data: st.DataObject) -> None:
    """A mask of a whole factor less: each pixel gets the mask pixel under its centre, by exact level-0 arithmetic."""
    l0_mask = np.arange(-(-WIDTH // factor) * -(-HEIGHT // factor), dtype=np.int32)
    l0_mask = l0_mask.reshape(-(-HEIGHT // factor), -(-WIDTH // factor))
    slide = open_slide(ArrayRaster(pyramid(coordinate_image)), l0_mask)
    width, height = slide.level_dimensions[level]
    w, h = data.draw(st.integers(1, width)), data.draw(st.integers(1, height))
    window = Window(data.draw(st.integers(0, width - w)), data.draw(st.integers(0, height - h)), w, h, level)
    mask = slide.read(window).mask
    x = ((np.arange(window.x, window.right) + 0.5) * WIDTH / width // factor).astype(int)
    y = ((np.arange(window.y, window.bottom) + 0.5) * HEIGHT / height // factor).astype(int)
    assert (mask == l0_mask[np.ix_(y, x)]).all()


def test_labels_agree_with_what_is_read() -> None:
    """The index of labels counts the pixels that windows hold, at each level, with a mask that has no levels."""
    slide = open_slide(ArrayRaster(pyramid(coordinate_image)), coordinate_mask(WIDTH, HEIGHT))
    for level, (width, height) in enumerate(slide.level_dimensions):
        mask = slide.read(Window(0, 0, width, height, level)).mask
        labels = slide.labels(level)
        assert {v: labels.pixels(v) for v in labels.runs} == dict(
            zip(*np.unique(mask, return_counts=True), strict=True)
        )


def test_files_and_arrays_give_the_same(tmp_path: Path) -> None:
    """A tiled pyramid on disk reads like its arrays, and its slide pickles small after it has indexed its labels."""
    images, masks = pyramid(coordinate_image), pyramid(coordinate_mask)
    write_pyramid(tmp_path / "a.tiff", images)
    write_pyramid(tmp_path / "a_mask.tiff", masks)
    slide = open_slide(tmp_path / "a.tiff", tmp_path / "a_mask.tiff", codes=list("abcde"))
    slide.labels(0)
    frozen = pickle.dumps(slide)
    assert len(frozen) < 4096
    again = pickle.loads(frozen)
    assert slide.name == again.name == "a.tiff" and slide.mpp == pytest.approx((0.5, 0.5))
    for one in (slide, again):
        image, mask = one.read(Window(3, 5, 40, 30, 1))
        assert (image == images[1][5:35, 3:43]).all() and (mask == masks[1][5:35, 3:43]).all()


def test_grey_images_have_one_channel() -> None:
    """An image is always (height, width, channels)."""
    assert open_slide(np.zeros((9, 8), np.uint8)).read(Window(0, 0, 5, 4)).image.shape == (4, 5, 1)


@pytest.mark.parametrize("shape", [(63, 64), (64, 63), (65, 64), (32, 33), (16, 32), (140, 128), (64, 128)])
def test_masks_of_another_frame_are_refused(shape: tuple[int, int]) -> None:
    """Off by one, another aspect, whether finer or coarser: one error with both sizes."""
    with pytest.raises(FrameError, match=f"64 x 64 px, its mask .array. {shape[1]} x {shape[0]} px"):
        open_slide(np.zeros((64, 64, 3), np.uint8), np.zeros(shape, np.uint8))


def test_transposed_mask_is_refused() -> None:
    """fastai's flattened loss would train on it without a word."""
    with pytest.raises(FrameError):
        open_slide(np.zeros((60, 80, 3), np.uint8), np.zeros((80, 60), np.uint8))


def test_a_number_without_code_is_found_with_its_place() -> None:
    """Slide, class, position and cure, before any training."""
    mask = np.zeros((50, 70), np.uint8)
    mask[31, 44] = 7
    slide = open_slide(np.zeros((50, 70, 3), np.uint8), mask, name="liver", codes=["background", "nucleus"])
    with pytest.raises(
        LabelError, match=r"^liver: the mask holds class 7 at x=44 y=31 \(1 px\).*name what it is in codes.*$"
    ):
        slide.labels(0)
    assert open_slide(np.zeros((50, 70, 3), np.uint8), mask, codes=["a"], ignore_index=7).labels(0).runs[7].pixels == 1


def test_windows_that_leave_the_slide_are_refused() -> None:
    """Nothing is padded."""
    slide = open_slide(np.zeros((50, 70, 3), np.uint8), np.zeros((50, 70), np.uint8))
    for window in (Window(40, 0, 31, 5), Window(0, 46, 5, 5), Window(-1, 0, 5, 5), Window(0, 0, 5, 5, 1)):
        with pytest.raises(WindowError):
            slide.read(window)
        with pytest.raises(WindowError):
            slide.read_mask(window)


def test_bad_sources_are_one_clear_error(tmp_path: Path) -> None:
    """Missing, a folder, a text: what, which file, the cure."""
    with pytest.raises(MissingError, match=r"none\.tiff"):
        open_slide(tmp_path / "none.tiff")
    text = tmp_path / "notes.svs"
    text.write_text("not a slide")
    with pytest.raises(ReadError, match=r"notes\.svs"):
        open_slide(text)
    with pytest.raises(ReadError):
        open_slide(tmp_path)
    with pytest.raises(OptionError, match="list of class names"):
        open_slide(np.zeros((5, 5, 3), np.uint8), codes="ab")
    with pytest.raises(OptionError, match="no class 'tumour'; codes are a, b"):
        open_slide(np.zeros((5, 5, 3), np.uint8), codes=["a", "b"]).class_number("tumour")


def test_read_errors_name_slide_level_and_window(tmp_path: Path) -> None:
    """A file cut short after it was opened."""
    write_pyramid(tmp_path / "cut.tiff", [np.random.default_rng(0).integers(0, 255, (256, 256, 3), np.uint8)])
    slide = open_slide(tmp_path / "cut.tiff")
    assert slide.dimensions == (256, 256)
    whole = (tmp_path / "cut.tiff").read_bytes()
    (tmp_path / "cut.tiff").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ReadError, match=r"slide cut\.tiff, level 0, window x=100 y=150 64 x 32"):
        slide.read(Window(100, 150, 64, 32))


def test_a_mask_of_0_and_255_says_how_it_is_mended() -> None:
    """It is what image editors save: the error holds the codes that take it."""
    mask = np.zeros((20, 30), np.uint8)
    mask[5:9, 7:9] = 255
    image = np.zeros((20, 30, 3), np.uint8)
    slide = open_slide(image, mask, name="s", codes=["a", "b"])
    with pytest.raises(LabelError, match=r's: the mask holds class 255 at x=7 y=5 .* codes={"a": 0, "b": 255}, or'):
        slide.labels()
    assert open_slide(image, mask, codes={"a": 0, "b": 255}).labels().pixels(1) == 8
