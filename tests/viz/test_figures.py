"""Pictures, looked at by their pixels."""

import io
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from PIL import Image

from patchaug import FrameError, MissingError, OptionError, Patch, Slide, Window, WindowError, WriteError, open_slide
from patchaug.core.resampling import area_mean
from patchaug.readers import ArrayRaster
from patchaug.slides.thumbnail import thumbnail
from patchaug.viz import show_patches, show_prediction, show_windows
from patchaug.viz.compare import truth_and_prediction

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


@pytest.mark.parametrize("size", [(397, 301), (301, 397), (90, 7), (1, 200)])
@pytest.mark.parametrize("factors", [(1,), (1, 4)])
def test_overview_is_the_slide_made_small(
    factors: tuple[int, ...], size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In blocks, from the coarsest level that is large enough; odd sizes; the mask by its middle pixels."""
    rng = np.random.default_rng(1)
    image, mask = rng.integers(0, 256, (*size, 3), np.uint8), rng.integers(0, 4, size, np.uint8)
    levels = [area_mean(image, f) for f in factors]
    slide = Slide(ArrayRaster(levels), ArrayRaster([mask]), name="s")
    monkeypatch.setattr("patchaug.slides.thumbnail._BLOCK_PIXELS", 700)  # several blocks each way
    small, per_pixel = thumbnail(slide, max_size=90)
    level = max(k for k, pixels in enumerate(levels) if max(pixels.shape) >= 90)
    step = -(-max(levels[level].shape) // 90)
    assert max(small.image.shape) <= 90
    assert per_pixel == slide.level_downsamples[level] * step
    assert (small.image == area_mean(levels[level], step)).all()
    whole = slide.read(Window(0, 0, *slide.level_dimensions[level], level)).mask
    rows, columns = (np.minimum(np.arange(0, n, step) + step // 2, n - 1) for n in whole.shape)
    assert (small.mask == whole[np.ix_(rows, columns)]).all()


def test_overview_of_a_small_slide_is_the_slide() -> None:
    """Nothing is enlarged, and there is no mask where there is none."""
    image = np.random.default_rng(2).integers(0, 256, (30, 41, 3), np.uint8)
    small, per_pixel = thumbnail(open_slide(image), max_size=1024)
    assert (small.image == image).all()
    assert small.mask is None
    assert per_pixel == 1
    with pytest.raises(OptionError, match="max_size must be at least 1 px, got 0"):
        thumbnail(open_slide(image), max_size=0)


def test_windows_are_drawn_where_they_are() -> None:
    """A window of level 1 over a white slide: its edge is blue all along, and nothing else is coloured."""
    slide = Slide(ArrayRaster([np.full((600, 800, 3), 255, np.uint8), np.full((150, 200, 3), 255, np.uint8)]), name="s")
    figure = show_windows(slide, [Window(50, 25, 60, 40, 1)], max_size=800)
    pixels = canvas(figure)
    top, left = on_canvas(figure, 0, 200 - 0.5, 100 - 0.5)  # at level 0
    bottom, right = on_canvas(figure, 0, 440 - 0.5, 260 - 0.5)
    for line in (
        pixels[top - 2 : top + 3, left:right],
        pixels[bottom - 2 : bottom + 3, left:right],
        pixels[top:bottom, left - 2 : left + 3].swapaxes(0, 1),
        pixels[top:bottom, right - 2 : right + 3].swapaxes(0, 1),
    ):
        assert close(line, BLUE, 110).any(axis=0).all()
    far = pixels.copy()
    far[top - 4 : bottom + 5, left - 4 : right + 5] = 255
    far[top + 5 : bottom - 4, left + 5 : right - 4] = pixels[top + 5 : bottom - 4, left + 5 : right - 4]
    first, last = on_canvas(figure, 0, 0, 0), on_canvas(figure, 0, 799, 599)
    assert (far[first[0] + 3 : last[0] - 2, first[1] + 3 : last[1] - 2] == 255).all()


def test_a_window_that_is_the_slide_is_seen_on_all_sides() -> None:
    """Its lines are not cut off at the border of the picture."""
    slide = open_slide(np.full((300, 500, 3), 255, np.uint8))
    figure = show_windows(slide, [Window(0, 0, 500, 300)])
    pixels = canvas(figure)
    for x, y in ((-0.5, 150), (499.5, 150), (250, -0.5), (250, 299.5)):
        row, column = on_canvas(figure, 0, x, y)
        assert close(pixels[row - 2 : row + 3, column - 2 : column + 3], BLUE, 110).any()


def test_scale_bar_is_as_long_as_it_says() -> None:
    """800 px of 0.5 micrometres: a fifth is 80, so the bar has 50, which are 100 px."""
    raster = ArrayRaster([np.full((600, 800, 3), 255, np.uint8)])
    raster.mpp = (0.5, 0.5)
    figure = show_windows(Slide(raster, name="s"), [])
    ax = figure.axes[0]
    assert ax.texts[0].get_text() == "50 µm"
    assert np.diff(ax.lines[0].get_xdata())[0] == 100
    _, left = on_canvas(figure, 0, -0.5, 0)
    _, right = on_canvas(figure, 0, 99.5, 0)
    below, _ = on_canvas(figure, 0, 0, 599.5)
    black = (canvas(figure)[below + 3 : below + 20, : right + 1] < 60).all(axis=-1)
    assert np.abs(np.flatnonzero(black.any(axis=0))[[0, -1]] - (left, right)).max() <= 1
    assert not show_windows(open_slide(np.zeros((60, 80), np.uint8)), []).axes[0].texts


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
    assert figure.get_suptitle() == "s\nDice: background 0.000, nucleus n/a"
    assert figure.legends[0].get_texts()[0].get_text() == "nucleus"


@pytest.mark.parametrize("coarse", [(), (4,), (3, 7)])
def test_a_perfect_prediction_looks_like_the_truth(coarse: tuple[int, ...]) -> None:
    """Whatever level the thumbnail comes from: both maps are drawn from the same pixels."""
    rng = np.random.default_rng(3)
    image, mask = rng.integers(0, 256, (1301, 1150, 3), np.uint8), rng.integers(0, 3, (1301, 1150), np.uint8)
    slide = Slide(ArrayRaster([image, *(area_mean(image, f) for f in coarse)]), ArrayRaster([mask]), name="s")
    figure = show_prediction(slide, mask, level=0)
    for row in (0, 3):
        truth, guess = (figure.axes[row + k].images[0].get_array() for k in (1, 2))
        assert (truth == guess).all()


@pytest.mark.parametrize("level", [0, 1])
def test_maps_are_sampled_under_the_centres_of_the_overview(level: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In bands, from a level finer than the thumbnail's or the same: a pixel of 12 shows the map at 6, 18, 30..."""
    monkeypatch.setattr("patchaug.viz.compare._BLOCK_PIXELS", 60000)
    rng = np.random.default_rng(4)
    image, mask = rng.integers(0, 256, (1200, 960, 3), np.uint8), rng.integers(0, 9, (1200, 960), np.uint8)
    slide = Slide(ArrayRaster([image, area_mean(image, 4)]), ArrayRaster([mask]), name="s")
    guess = rng.integers(0, 9, slide.level_dimensions[level][::-1])
    truth, small, _ = truth_and_prediction(slide, guess, level, (100, 80), 12.0, side=100)
    at = slice(6, None, 12) if level == 0 else slice(1, None, 3)
    assert (small == guess[at, at]).all()
    assert (truth == slide.read_mask(Window(0, 0, *slide.level_dimensions[level], level))[at, at]).all()


def test_the_detail_is_where_there_is_something_to_see() -> None:
    """Of a block of labels its corner, which also shows what is not labelled; of an empty truth, the prediction's."""
    mask = np.zeros((2000, 3000), np.uint8)
    mask[:1200, :1400] = 1
    image = np.full((2000, 3000, 3), 255, np.uint8)
    image[1000:1400, 1200:1600] = 50
    speck = np.zeros_like(mask)
    speck[1990:, 2990:] = 1
    for truth, guess in ((mask, mask), (np.zeros_like(mask), speck), (speck, mask)):
        figure = show_prediction(open_slide(image, truth), guess, level=0)
        x, y = (int(part.split("=")[1]) for part in figure.axes[3].get_title().split(", ")[1:])
        sought = truth if truth.any() else guess
        share = (sought[y : y + 400, x : x + 400] != 0).mean()
        assert 0 < share < 1
        detail = figure.axes[3].images[0].get_array()
        there = image[y : y + 400, x : x + 400]
        assert (detail[::2, ::2] == there).all()  # shown twice as large, on 480 px
        box = figure.axes[0].patches[-1]
        assert (box.get_x() + 0.5, box.get_width()) == pytest.approx((x / 7, 400 / 7))


def test_void_is_grey_and_no_foreground() -> None:
    """The detail is not drawn towards it, and the legend says what it is."""
    mask = np.full((1000, 1000), 255, np.uint8)
    mask[:, 500:] = 0
    mask[900:950, 900:950] = 1
    image, codes = np.full((1000, 1000, 3), 255, np.uint8), ["a", "_b$c$"]
    slide = open_slide(image, mask, codes=codes, ignore_index=255, name="$x$_y$")
    figure = show_prediction(slide, mask * 0, level=0)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["_b$c$", "no label"]
    assert figure.axes[3].get_title() == "detail at level 0, x=550, y=550"
    pixels = canvas(figure)
    r, g, b = pixels[on_canvas(figure, 1, 100, 100)]
    assert r == g == b < 220


def test_outlines_follow_the_mask() -> None:
    """On a sheet of patches, the border of a class is a thin line of its colour, its inside is tinted."""
    mask = np.zeros((64, 64), np.uint8)
    mask[20:40, 20:40] = 1
    figure = show_patches([Patch(np.full((64, 64, 3), 255, np.uint8), mask)] * 3, columns=2, codes=["a", "b"])
    pixels = canvas(figure)
    for ax in range(3):
        row, column = on_canvas(figure, ax, 19.5, 30)
        assert close(pixels[row, column - 1 : column + 2], GREEN).any()
        _, column_behind = on_canvas(figure, ax, 39.5, 30)
        assert close(pixels[row, column_behind - 1 : column_behind + 2], GREEN).any()
        assert (pixels[row, column - 4] == 255).all()
        row, column = on_canvas(figure, ax, 30, 30)
        assert np.abs(pixels[row, column] - (0.8 * 255 + 0.2 * GREEN)).max() <= 1
    row, column = on_canvas(figure, 0, 10, 30)
    assert (pixels[row, column] == 255).all()


def test_classes_beyond_the_palette_have_colours_of_their_own() -> None:
    """Eighteen classes, each a stripe: no two look alike."""
    mask = np.repeat(np.arange(19, dtype=np.uint8), 16)[None].repeat(320, 0)
    figure = show_patches([Patch(np.full((320, 304, 3), 255, np.uint8), mask)])
    colours = {tuple(handle.get_facecolor()) for handle in figure.legends[0].legend_handles}
    assert len(colours) == 18


def test_of_four_channels_three_are_shown() -> None:
    """An aerial picture with a fourth band keeps its colours."""
    image = np.zeros((64, 64, 4), np.uint8)
    image[..., :] = (200, 120, 40, 255)
    figure = show_patches([Patch(image, None)])
    row, column = on_canvas(figure, 0, 30, 30)
    assert canvas(figure)[row, column].tolist() == [200, 120, 40]


def test_a_figure_is_a_picture_in_a_notebook(tmp_path: Path) -> None:
    """The pixels of the file that is saved; what IPython asks for is this one method."""
    figure = show_patches([Patch(np.full((64, 64, 3), 90, np.uint8), None)] * 5, out=tmp_path / "a.png")
    with Image.open(io.BytesIO(figure._repr_png_())) as shown, Image.open(tmp_path / "a.png") as saved:
        assert shown.format == "PNG" and shown == saved


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
        with Image.open(path) as picture:
            picture.load()
            assert picture.format == "PNG"


def test_a_picture_that_cannot_be_saved_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a part of it, nor does it touch the picture of before, or a file of another program."""
    patches = [Patch(np.zeros((8, 8, 3), np.uint8), None)]
    out, other = tmp_path / "a.png", tmp_path / "other.png"
    show_patches([Patch(np.full((8, 8, 3), 200, np.uint8), None)], out=out)
    before = out.read_bytes()
    other.write_bytes(b"other")

    def full(source: Path, target: Path) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr("os.replace", full)
        for target in (out, tmp_path / "new.png"):
            with pytest.raises(OSError, match="disk full"):
                show_patches(patches, out=target)
    with pytest.raises(WriteError, match="other.png exists, and patchaug did not write it as its picture"):
        show_patches(patches, out=other)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "other.png"]
    assert out.read_bytes() == before and other.read_bytes() == b"other"
    show_patches(patches, out=out)
    assert out.read_bytes() != before
    with pytest.raises(MissingError, match="there is no folder .*nowhere to save the picture in; make it first"):
        show_patches(patches, out=tmp_path / "nowhere" / "a.png")


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
    with pytest.raises(FrameError, match="no mask to compare"):
        show_prediction(open_slide(image), np.zeros((30, 40)), level=0)
    with pytest.raises(OptionError, match="must hold integers, got float64; take the argmax"):
        show_prediction(slide, np.zeros((30, 40)), level=0)
    with pytest.raises(OptionError, match="patches must hold at least one"):
        show_patches([])
    with pytest.raises(OptionError, match="columns must be at least 1, got 0"):
        show_patches([Patch(image, None)], columns=0)
