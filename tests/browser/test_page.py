"""The page of a slide, in a browser: what is drawn is there, and everything on it works."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchaug import Foreground, Plan, open_slide
from patchaug.viz.web_page import write_page
from patchaug.viz.web_page.layers import class_layer, probability_layer
from tests.browser.chrome import Chrome

NAME = 'a"b</script><img src=x onerror=alert(1)> & c'
BLUE = (0, 114, 178)


@pytest.fixture(scope="module")
def plan() -> Plan:
    """A white slide of 1500 x 1000 px, its left fifth labelled."""
    mask = np.zeros((1000, 1500), np.uint8)
    mask[:, :300] = 1
    image = np.full((1000, 1500, 3), 255, np.uint8)
    image[:, 300:] = 230
    slide = open_slide(image, mask, name=NAME, codes=["ground", "<b>tumour</b>"], mpp=0.5)
    return Plan([slide], Foreground(100, per_slide=7, foreground=0.5), seed=3)


@pytest.fixture
def page(plan: Plan, chrome: Chrome, tmp_path: Path) -> Chrome:
    """The page of two epochs, opened."""
    path = write_page(plan, tmp_path / "view.html", epochs=2)
    chrome.requests.clear()
    chrome.problems.clear()
    chrome.open(path.as_uri())
    return chrome


def seen(page: Chrome) -> np.ndarray:
    """The pixels of the screen, (height, width, 3)."""
    return np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)


def to_screen(page: Chrome, x: float, y: float) -> tuple[int, int]:
    """Column and row on the screen of a place of the slide."""
    return tuple(
        round(v)
        for v in page.run(
            f"[({x} - view.x) * view.scale + canvas.clientWidth / 2,"
            f" ({y} - view.y) * view.scale + canvas.clientHeight / 2]"
        )
    )


def test_nothing_is_asked_of_anyone_and_nothing_goes_wrong(page: Chrome) -> None:
    """One file: no other URL than data of its own; and no script but its own runs."""
    others = [url for url in page.requests if not url.startswith("data:")]
    assert len(others) == 1
    assert others[0].startswith("file:")
    assert not page.problems
    assert page.run("document.title") == NAME
    assert page.run("document.getElementById('name').textContent") == NAME
    assert page.run("document.querySelectorAll('img, b').length") == 0
    assert page.run("[...document.querySelectorAll('#mask .entry')].map((e) => e.textContent)") == ["<b>tumour</b>"]


def test_windows_of_an_epoch_are_where_the_plan_says(page: Chrome, plan: Plan) -> None:
    """Each edge of the first epoch's windows is drawn; ticked off, no pixel of them is left."""
    colour = tuple(int(page.run("data.epochs[0].colour")[k : k + 2], 16) for k in (1, 3, 5))
    page.click("#mask input[type=checkbox]")

    def edges() -> list[bool]:
        pixels = seen(page)
        found = []
        for draw in plan.ordered(False):
            w = draw.window
            for x, y in ((w.x, w.y + 40), (w.right, w.y + 40), (w.x + 40, w.y), (w.x + 40, w.bottom)):
                column, row = to_screen(page, x, y)
                near = pixels[row - 1 : row + 2, column - 1 : column + 2]
                found.append(bool((np.abs(near - colour).max(axis=-1) < 90).any()))
        return found

    assert all(edges())
    page.click("#epochs input")
    assert not any(edges())
    page.click("#epochs label:nth-of-type(2) input")
    second = [plan.ordered(False)[len(plan) + k].window for k in range(len(plan))]
    assert page.run("data.epochs[1].windows.map((w) => [w[0], w[1]])") == [[w.x, w.y] for w in second]


def test_mask_and_draws_are_layers(page: Chrome) -> None:
    """The labelled fifth is green while the mask is on; where windows lie is bright while the draws are shown."""
    page.click("#epochs input")
    column, row = to_screen(page, 150, 990)
    red, green, _ = seen(page)[row, column]
    assert green > red + 60
    page.click("#mask input[type=checkbox]")
    assert seen(page)[row, column].tolist() == [255, 255, 255]
    page.click("#density input[type=checkbox]")
    assert page.run("data.density.most") >= 1
    red, green, blue = seen(page)[row, column]
    assert (red, green, blue) != (255, 255, 255)


def test_one_can_pan_and_zoom(page: Chrome, plan: Plan) -> None:
    """By wheel (what is under the pointer stays there), mouse, keys and buttons."""
    whole = page.run("[view.x, view.y, view.scale]")
    before = page.run("toSlide(300, 400)")
    page.mouse("Wheel", 300, 400, deltaX=0, deltaY=-600)
    page.settle()
    assert page.run("view.scale") > 2 * whole[2]
    assert page.run("toSlide(300, 400)") == pytest.approx(before)
    page.drag((300, 400), (450, 380))
    assert page.run("toSlide(450, 380)") == pytest.approx(before)
    page.run("canvas.focus()")
    page.key("0")
    assert page.run("[view.x, view.y, view.scale]") == pytest.approx(whole)
    page.click("#in")
    assert page.run("view.scale") == pytest.approx(1.5 * whole[2])
    page.click("#whole")
    assert page.run("view.scale") == pytest.approx(whole[2])


def test_a_window_says_what_it_is(page: Chrome, plan: Plan) -> None:
    """Under the pointer: epoch, draw, origin and probability."""
    draw = plan.ordered(False)[0]
    page.mouse("Moved", *to_screen(page, draw.window.x + 50, draw.window.y + 50))
    page.settle()
    told = page.run("document.getElementById('under').textContent")
    assert "epoch 1, draw" in told
    assert "probability" in told
    assert "at level 0" in told


def test_scale_bar_is_as_long_as_it_says(page: Chrome) -> None:
    """100 or 200 micrometres at half a micrometre for each pixel of the slide."""
    page.run("whole()")
    page.settle()
    dark = (seen(page)[780:786, :400] < 60).all(axis=(0, 2)) | (seen(page)[783, :400] < 60).all(axis=-1)
    length = int(dark.sum())
    micrometres = length / page.run("view.scale") * 0.5
    assert min(abs(micrometres - step) for step in (50, 100, 200)) < 2


def test_on_a_phone_nothing_is_hidden(page: Chrome, plan: Plan) -> None:
    """At 380 px: slide and scale bar above the panel, no sideways scrolling, and a tap tells what a pointer would."""
    page.resize(380, 740)
    try:
        page.run("whole()")
        page.settle()
        top = page.run("document.getElementById('panel').getBoundingClientRect().top")
        for wide in ("document.documentElement", "document.getElementById('panel')"):
            assert page.run(f"{wide}.scrollWidth <= {wide}.clientWidth")
        for x, y in ((0, 0), (1500, 1000)):
            column, row = to_screen(page, x, y)
            assert 0 <= column <= 380 and 0 <= row <= top - 18
        dark = (seen(page)[int(top) - 22 : int(top) - 10, :200] < 60).all(axis=2).sum(axis=0) >= 3
        micrometres = int(dark.sum()) / page.run("view.scale") * 0.5
        assert min(abs(micrometres / step - 1) for step in (100, 200, 500)) < 0.05
        window = plan.ordered(False)[0].window
        page.tap(*to_screen(page, window.x + 50, window.y + 50))
        told = "document.getElementById('under')"
        assert "epoch 1, draw" in page.run(f"{told}.textContent")
        assert page.run(f"{told}.getBoundingClientRect().bottom") < 740
        page.tap(2, 2)  # beside the slide
        assert page.run(f"{told}.textContent") == ""
    finally:
        page.resize(1280, 800)


def test_layers_addresses_and_saved_windows(plan: Plan, chrome: Chrome, tmp_path: Path) -> None:
    """Predictions are drawn over the slide when ticked; an address names a place; windows are saved as GeoJSON."""
    classes = np.zeros((10, 15), np.uint8)
    classes[:5, 10:] = 1
    layers = [
        class_layer("predicted <b>", classes, ["ground", "tumour"]),
        probability_layer("p", np.linspace(0, 1, 15)[None].repeat(10, axis=0)),
    ]
    path = write_page(plan, tmp_path / "view.html", epochs=2, layers=layers)
    chrome.problems.clear()
    chrome.open(path.as_uri())
    assert chrome.run("[...document.querySelectorAll('#layers label')].map((e) => e.textContent)") == [
        "predicted <b>", "p",
    ]  # fmt: skip
    inside, outside = to_screen(chrome, 1250, 250), to_screen(chrome, 1250, 750)
    before = seen(chrome)
    chrome.click("#layers label:nth-of-type(1) input")
    after = seen(chrome)
    assert np.abs(after - before)[inside[1], inside[0]].max() > 20
    assert np.abs(after - before)[outside[1], outside[0]].max() == 0
    chrome.run(
        "URL.createObjectURL = (blob) => { blob.text().then((text) => { window.saved = text; }); return 'blob:none'; };"
        "HTMLAnchorElement.prototype.click = function () { window.saved_as = this.download; }"
    )
    chrome.click("#save")
    saved = json.loads(chrome.run("new Promise((done) => setTimeout(() => done(window.saved), 200))"))
    assert chrome.run("window.saved_as") == "windows.geojson"
    windows = [draw.window for draw in plan.ordered(False)]
    assert len(saved["features"]) == len(windows) == 7  # those of the first epoch, which are shown
    for feature, window in zip(saved["features"], windows, strict=True):
        corners = [tuple(corner) for corner in feature["geometry"]["coordinates"][0]]
        assert corners[0] == corners[4] == (window.x, window.y) and corners[2] == (window.right, window.bottom)
    chrome.open(f"{path.as_uri()}#x=1200&y=600&width=100&height=50")
    left, top = to_screen(chrome, 1200, 600)
    right, bottom = to_screen(chrome, 1300, 650)
    assert right - left > 300 and left > 0 and top > 0
    pixels = seen(chrome)
    assert pixels[top, (left + right) // 2].max() < 60 and pixels[(top + bottom) // 2, left].max() < 60
    assert not chrome.problems
