"""What all writers share: bands are checked, and a file is whole or absent."""

import errno

import numpy as np
import pytest

from patchaug import Window, open_slide
from patchaug.errors import LabelError, MissingError, OptionError, PatchaugError, WriteError
from patchaug.predict.map_frame import MapFrame
from patchaug.predict.writers.registry import FORMATS, open_writer

from .maps import CODES, frame_of, random_probabilities, write_map

CLASSES = np.random.default_rng(0).integers(0, 4, (70, 50)).astype(np.uint8)
PROBABILITIES = random_probabilities(CLASSES)
IMAGE = open_slide(np.random.default_rng(1).integers(0, 255, (70, 50, 3)).astype(np.uint8), name="case 7")
every_format = pytest.mark.parametrize("suffix", FORMATS)


def content(path):
    """Return the bytes of a file, or of all files in a folder."""
    if path.is_dir():
        return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}
    return path.read_bytes()


@every_format
def test_bytes_are_the_same_for_any_bands(suffix, tmp_path):
    """And for a second run: no time, no random name."""
    frame = frame_of(CLASSES, mpp=(0.25, 0.25))
    found = [
        content(write_map(suffix, tmp_path / f"{n}.{suffix}", frame, CLASSES, edges, PROBABILITIES, image=IMAGE))
        for n, edges in enumerate([[0, 70], [0, 1, 2, 33, 64, 70], [0, 69, 70]])
    ]
    assert found[0] == found[1] == found[2]


@every_format
def test_failure_in_the_middle_leaves_nothing(suffix, tmp_path):
    """Neither the file nor anything beside it."""

    def interrupted():
        with open_writer(suffix, tmp_path / "a", frame_of(CLASSES), image=IMAGE) as writer:
            writer.write(0, CLASSES[:40], PROBABILITIES[:, :40])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())


@every_format
def test_a_full_disk_is_one_error(suffix, tmp_path, monkeypatch):
    """Whether it is full in the middle, or at the end."""
    for method in ("write_band", "finish"):
        writer = open_writer(suffix, tmp_path / "a", frame_of(CLASSES), image=IMAGE)

        def full(*args, **kwargs):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(writer, method, full)
        with pytest.raises(WriteError, match=r"a cannot be written: No space left on device; free some space"), writer:
            writer.write(0, CLASSES, PROBABILITIES)
        assert not list(tmp_path.iterdir())


@every_format
def test_an_existing_file_stays(suffix, tmp_path):
    """A file of the user's is never replaced."""
    (tmp_path / "a").write_text("mine")
    with pytest.raises(WriteError, match="exists"):
        open_writer(suffix, tmp_path / "a", frame_of(CLASSES), image=IMAGE).__enter__()
    assert (tmp_path / "a").read_text() == "mine"
    with pytest.raises(MissingError, match="make it first"):
        open_writer(suffix, tmp_path / "no" / "a", frame_of(CLASSES), image=IMAGE).__enter__()


@every_format
@pytest.mark.parametrize(
    ("bands", "error", "text"),
    [
        ([(1, CLASSES)], OptionError, "next band begins at row 0"),
        ([(0, CLASSES[:, 1:])], OptionError, "50 wide"),
        ([(0, CLASSES[:9]), (8, CLASSES[8:])], OptionError, "begins at row 9"),
        ([(0, np.tile(CLASSES, (2, 1)))], OptionError, "70 rows"),
        ([(0, CLASSES[:60])], OptionError, "60 of them were written"),
        ([(0, np.where(CLASSES == 3, 7, CLASSES))], LabelError, "holds 7 at row 0"),
        ([(0, CLASSES.astype(np.float32))], LabelError, "integers"),
        ([(0, CLASSES.astype(np.int8) - 1)], LabelError, "holds -1"),
    ],
)  # fmt: skip
def test_wrong_bands_are_refused(suffix, bands, error, text, tmp_path):
    """With one error, and without a file."""

    def write_all():
        with open_writer(suffix, tmp_path / "a", frame_of(CLASSES), image=IMAGE) as writer:
            for top, classes in bands:
                writer.write(top, classes, np.full((4, *classes.shape), 0.25, np.float32))

    with pytest.raises(error, match=text):
        write_all()
    assert not list(tmp_path.iterdir())


def test_wrong_arguments_are_refused(tmp_path):
    """Formats, options and frames."""
    frame = frame_of(CLASSES)
    for arguments, options, text in [
        (("ome.tiff", "a", frame), {}, "did you mean 'ome.tif'"),
        (("areas.csv", "a", frame), {"what": "probabilities"}, "take ome.tif"),
        (("areas.csv", "a", frame), {"what": "class"}, 'must be "classes"'),
        (("areas.csv", "a", frame), {"tile": 3}, "unexpected keyword argument 'tile'"),
        (("areas.csv", "a", frame), {"ignore": -1}, "0..65535"),
        (("areas.csv", "a", frame), {"ignore": "x"}, "0..65535"),
        (("areas.csv", "a", None), {}, "frame must be"),
        (("areas.csv", "a", MapFrame("x", 0, 3, CODES)), {}, "at least 1 x 1 px"),
        (("areas.csv", "a", MapFrame("x", 2, 3, ())), {}, "0 classes"),
        (("ome.tif", "a", frame), {"tile": 24}, "multiple of 16"),
        (("ome.tif", "a", frame), {"compression": "lzw"}, "zstd"),
        (("ome.tif", "a", frame), {"what": "probabilities", "dtype": "float16"}, "'uint8' or"),
    ]:
        with pytest.raises(OptionError, match=text):
            open_writer(*arguments, **options)


@pytest.mark.parametrize("suffix", [name for name, one in FORMATS.items() if one.probabilities])
def test_probabilities_are_checked(suffix, tmp_path):
    """Logits, NaN and missing ones are errors."""
    for wrong, text in [(PROBABILITIES * 3, "softmax"), (PROBABILITIES * np.nan, "nan"), (None, "has none")]:
        writer = open_writer(suffix, tmp_path / "a", frame_of(CLASSES), what="probabilities")
        with pytest.raises(PatchaugError, match=text), writer:
            writer.write(0, CLASSES, wrong)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("size", "factor"), [((1003, 801), 4), ((1000, 800), 4), ((1003, 801), 3)])
@pytest.mark.parametrize("up", [False, True])
def test_frames_of_levels_lie_where_masks_of_that_size_lie(size, factor, up):
    """The level-0 pixel that a mask of the map's size is read at lies below the same pixel of the frame."""
    width, height = size
    small = (-(-width // factor), -(-height // factor)) if up else (width // factor, height // factor)
    image = open_slide(np.zeros((height, width, 1), np.uint8), name="a", mpp=0.5)
    frame = MapFrame.of_size(image, CODES, *small)
    assert frame.l0_per_pixel == (factor, factor) and frame.mpp == (0.5 * factor, 0.5 * factor)
    numbers = np.arange(small[0] * small[1], dtype=np.int32).reshape(small[::-1])
    seen = open_slide(image.image, numbers, name="a")
    for x, y in [(0, 0), (width // 2, height // 3), (factor * small[0] - 1, factor * small[1] - 1)]:
        if x < width and y < height:
            column, row = int((x + 0.5) / frame.l0_per_pixel[0]), int((y + 0.5) / frame.l0_per_pixel[1])
            assert seen.read_mask(Window(x, y, 1, 1))[0, 0] == numbers[row, column]


@every_format
def test_bands_are_written_within_the_block(suffix, tmp_path):
    """Before and after it they are an error; a second block starts anew."""
    writer = open_writer(suffix, tmp_path / "a", frame_of(CLASSES), image=IMAGE)
    with pytest.raises(OptionError, match="within a block"):
        writer.write(0, CLASSES, PROBABILITIES)
    with writer:
        with pytest.raises(OptionError, match="arrays of numpy, got a list"):
            writer.write(0, CLASSES.tolist())
        writer.write(0, CLASSES, PROBABILITIES)
    with pytest.raises(OptionError, match="within a block"):
        writer.write(0, CLASSES, PROBABILITIES)


@every_format
def test_odd_names_and_sizes_are_written(suffix, tmp_path):
    """Names of files that are not UTF-8, characters that XML cannot hold, maps of one pixel and of one row."""
    codes = ("back\0ground", "\udc80\ufffe<&>", "")
    for n, shape in enumerate([(1, 1), (1, 70_001), (300, 1)]):
        frame = MapFrame("\udc80", shape[1], shape[0], codes)
        classes = (np.arange(shape[0] * shape[1]) % 3).reshape(shape)
        with open_writer(suffix, tmp_path / str(n), frame) as writer:
            writer.write(0, classes, np.full((3, *shape), 1 / 3, np.float32))
        assert (tmp_path / str(n)).exists()
