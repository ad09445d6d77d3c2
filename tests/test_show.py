"""Pictures, looked at by their pixels."""

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from PIL import Image

from patchaug import FrameError, OptionError, Patch, Slide, Window, WindowError, open_slide
from patchaug.overview import area_mean, overview
from patchaug.rasters import ArrayRaster
from patchaug.show import show_patches, show_prediction, show_windows

GREEN, BLUE = (np.array(to_rgb(colour)) * 255 for colour in ("#009E73", "#0072B2"))


def canvas(figure) -> np.ndarray:
    """The drawn pixels, (height, width, 3)."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)


def close(pixels: np.ndarray, colour: np.ndarray, within: int = 40) -> np.ndarray:
    """Which pixels are nearly of a colour."""
    return np.abs(pixels - colour).max(axis=-1) < within


def on_canvas(figure, ax: int, x: float, y: float) -> tuple[int, int]:
    """Row and column on the canvas of a pixel of a picture."""
    column, row = figure.axes[ax].transData.transform((x, y))
    return round(figure.canvas.get_width_height()[1] - row), round(column)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 7))
def test_area_mean_is_the_mean_of_each_square(height: int, width: int, factor: int) -> None:
    """Also of the squares that the last edges cut short."""
    image = np.random.default_rng([height, width]).integers(0, 256, (height, width, 3), np.uint8)
    small = area_mean(image, factor)
    for y in range(-(-height // factor)):
        for x in range(-(-width // factor)):
            square = image[y * factor : (y + 1) * factor, x * factor : (x + 1) * factor].astype(int)
            assert np.abs(small[y, x] - square.mean((0, 1))).max() <= 0.5


@pytest.mark.parametrize("factors", [(1,), (1, 4)])
def test_overview_is_the_slide_made_small(factors: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """In bands, from the coarsest level that is large enough; odd sizes; the mask by its middle pixels."""
    rng = np.random.default_rng(1)
    image, mask = rng.integers(0, 256, (397, 301, 3), np.uint8), rng.integers(0, 4, (397, 301), np.uint8)
    levels = [area_mean(image, f) for f in factors]
    slide = Slide(ArrayRaster(levels), ArrayRaster([mask]), name="s")
    monkeypatch.setattr("patchaug.overview._BAND_PIXELS", 3000)
    small, per_pixel = overview(slide, max_size=90)
    level = len(factors) - 1
    step = -(-levels[level].shape[0] // 90)
    assert max(small.image.shape) <= 90
    assert per_pixel == pytest.approx(slide.level_downsamples[level] * step)
    assert np.abs(small.image.astype(int) - area_mean(levels[level], step)).max() <= 1
    whole = slide.read(Window(0, 0, *slide.level_dimensions[level], level)).mask
    rows, columns = (np.minimum(np.arange(0, n, step) + step // 2, n - 1) for n in whole.shape)
    # A band's last square may be cut short, and only the slide's last band has one: the rest agrees exactly.
    assert (small.mask == whole[np.ix_(rows, columns)])[:-1].all()


def test_windows_are_drawn_where_they_are() -> None:
    """A window of level 1 over a white slide: its edge is blue, its inside and the rest are white."""
    slide = Slide(ArrayRaster([np.full((600, 800, 3), 255, np.uint8), np.full((150, 200, 3), 255, np.uint8)]), name="s")
    figure = show_windows(slide, [Window(50, 25, 60, 40, 1)], max_size=800)
    pixels = canvas(figure)
    for x, y in ((200, 180), (440, 180), (300, 100), (300, 260)):  # the middles of its four sides at level 0
        row, column = on_canvas(figure, 0, x - 0.5, y - 0.5)
        assert close(pixels[row - 3 : row + 4, column - 3 : column + 4], BLUE, 110).any()
    for x, y in ((320, 180), (100, 100), (600, 400)):
        row, column = on_canvas(figure, 0, x, y)
        assert (pixels[row - 5 : row + 6, column - 5 : column + 6] == 255).all()


def test_prediction_panels_have_the_colours_of_their_maps() -> None:
    """Truth left of the middle, prediction right of it: each panel is green there and nowhere else."""
    mask = np.zeros((300, 400), np.uint8)
    mask[:, :200] = 1
    slide = open_slide(np.full((300, 400, 3), 255, np.uint8), mask, codes=["background", "nucleus"], name="s")
    figure = show_prediction(slide, 1 - mask, level=0, dice={"background": 0.0, "nucleus": None})
    pixels = canvas(figure)
    for ax, left in ((1, True), (2, False)):
        for x, green in ((50, left), (350, not left)):
            row, column = on_canvas(figure, ax, x, 150)
            r, g, b = pixels[row, column]
            assert (g > r + 60) == green
            assert green or (r, g, b) == (255, 255, 255)
    assert figure.get_suptitle() == "s\nDice: background 0.000, nucleus none"
    assert figure.legends[0].get_texts()[0].get_text() == "nucleus"


def test_outlines_follow_the_mask() -> None:
    """On a sheet of patches, the border of a class is drawn in its colour."""
    mask = np.zeros((64, 64), np.uint8)
    mask[20:40, 20:40] = 1
    figure = show_patches([Patch(np.full((64, 64, 3), 255, np.uint8), mask)] * 3, columns=2, codes=["a", "b"])
    pixels = canvas(figure)
    row, column = on_canvas(figure, 0, 20, 30)
    assert close(pixels[row, column], GREEN)
    row, column = on_canvas(figure, 0, 10, 30)
    assert (pixels[row, column] == 255).all()


def test_of_four_channels_three_are_shown() -> None:
    """An aerial picture with a fourth band keeps its colours."""
    image = np.zeros((64, 64, 4), np.uint8)
    image[..., :] = (200, 120, 40, 255)
    figure = show_patches([Patch(image, None)])
    row, column = on_canvas(figure, 0, 30, 30)
    assert canvas(figure)[row, column].tolist() == [200, 120, 40]


def test_files_are_whole_and_threads_do_not_mind(tmp_path: Path) -> None:
    """Four pictures drawn at once, each readable, nothing else left in the folder."""
    slide = open_slide(np.full((90, 120, 3), 200, np.uint8), np.ones((90, 120), np.uint8))
    threads = [
        threading.Thread(
            target=show_windows, args=(slide, [Window(1, 2, 30, 40)]), kwargs={"out": tmp_path / f"{n}.png"}
        )
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.png", "1.png", "2.png", "3.png"]
    for path in tmp_path.iterdir():
        Image.open(path).load()


def test_what_cannot_be_drawn_is_said() -> None:
    """A map of another size, a slide without mask, no patch at all, a level that is not there, a window outside."""
    image = np.zeros((30, 40, 3), np.uint8)
    slide = open_slide(image, np.zeros((30, 40), np.uint8), name="s")
    for level in (1, -1):
        with pytest.raises(WindowError, match=f"s: there is no level {level}; it has levels 0 to 0"):
            show_prediction(slide, np.zeros((30, 40), np.uint8), level=level)
    with pytest.raises(WindowError, match="s: there is no level 1; it has levels 0 to 0"):
        show_windows(slide, [Window(0, 0, 4, 4, 1)])
    with pytest.raises(WindowError, match="s: window x=39 y=0 4 x 4 leaves level 0"):
        show_windows(slide, [Window(39, 0, 4, 4)])
    with pytest.raises(FrameError, match="s: the prediction has 30 x 40 px, level 0 has 40 x 30"):
        show_prediction(open_slide(image, np.zeros((30, 40), np.uint8), name="s"), np.zeros((40, 30)), level=0)
    with pytest.raises(FrameError, match="no mask to set beside"):
        show_prediction(open_slide(image), np.zeros((30, 40)), level=0)
    with pytest.raises(OptionError, match="no patch to show"):
        show_patches([])
