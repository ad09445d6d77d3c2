"""Laws of indexes that are kept in a folder: the same draws as from fresh ones, and never those of another mask."""

import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from patchaug import Foreground, MissingError, Plan, WriteError, open_slide
from patchaug.slides.class_runs import ClassRuns
from patchaug.slides.index_bytes import decode_index, encode_index
from patchaug.slides.index_cache import TAG, IndexCache, keeping_indexes
from patchaug.slides.index_mask import index_mask
from patchaug.slides.index_tasks import key_of
from patchaug.slides.label_runs import RunLengthIndex
from patchaug.slides.labels import Labels

KEY = "0123456789abcdef" * 2
ARRAYS = ("blocks", "amounts", "firsts", "rows", "starts", "lasts")


@st.composite
def masks(draw: st.DrawFn, most: int = 3) -> np.ndarray:
    """Masks of rectangles and of noise, over more than one strip and block."""
    height, width = draw(st.integers(1, 150)), draw(st.integers(1, 600))
    mask = np.zeros((height, width), np.uint8)
    for _ in range(draw(st.integers(0, 4))):
        y, x = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        mask[y : y + draw(st.integers(1, 90)), x : x + draw(st.integers(1, 300))] = draw(st.integers(0, most))
    if draw(st.booleans()):
        noise = np.random.default_rng(draw(st.integers(0, 99))).random(mask.shape) < 0.3
        mask[noise] = draw(st.integers(0, most))
    return mask


def write(path: Path, mask: np.ndarray) -> Path:
    tifffile.imwrite(path, mask, tile=(64, 64), compression="zlib", photometric="minisblack")
    return path


def slide_of(folder: Path, mask: np.ndarray, **options: object):
    """A slide of that mask in a file; the image is an array of its size, or a coarser level's."""
    height, width = mask.shape
    image = np.zeros((height, width, 3), np.uint8)
    return open_slide(image, write(folder / "mask.tiff", mask), name="a", **options)


def same(one: Labels, other: Labels) -> None:
    """Every array of two indexes is equal."""
    assert (one.width, one.height, list(one.runs)) == (other.width, other.height, list(other.runs))
    for edges, others in ((one.columns, other.columns), (one.lines, other.lines)):
        assert (edges is None) == (others is None) and (edges is None or np.array_equal(edges, others))
    for value, runs in one.runs.items():
        for name in ARRAYS:
            mine, theirs = getattr(runs, name), getattr(other.runs[value], name)
            assert mine.dtype == theirs.dtype and np.array_equal(mine, theirs), (value, name)
        assert (runs.width, runs.height) == (other.runs[value].width, other.runs[value].height)


@given(masks(), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_an_index_from_the_cache_gives_the_same_draws(tmp_path_factory, mask, factor, seed) -> None:
    """And the same probabilities, for any mask, also where the mask is coarser than the image."""
    folder = tmp_path_factory.mktemp("a")
    image = np.zeros((mask.shape[0] * factor, mask.shape[1] * factor, 3), np.uint8)
    file = write(folder / "mask.tiff", mask)
    cache = IndexCache(folder / "indexes")
    size = (min(image.shape[0], 8), min(image.shape[1], 12))
    draws = []
    for use in (None, cache, cache):
        slide = open_slide(image, file, name="a")
        with keeping_indexes(use):
            plan = Plan([slide], Foreground(size, per_slide=20, empty="uniform"), seed=seed)
        draws.append([plan[k] for k in range(len(plan))])
        draws.append(slide.labels())
    assert draws[0] == draws[2] == draws[4]
    same(draws[1], draws[3])
    same(draws[1], draws[5])
    assert len(list((folder / "indexes").rglob("*.labels"))) == 1
    with keeping_indexes(cache):  # blocks whose runs are not kept are read again
        labels = open_slide(image, file, name="a").labels()
    for value, runs in labels.runs.items():
        assert runs.pixels == (mask == value).sum()
        for number in range(len(runs.blocks)):
            for part, other in zip(runs.block(number), draws[1].runs[value].block(number), strict=True):
                assert np.array_equal(part, other)


@given(masks(), st.data())
def test_damaged_bytes_are_refused(mask, data) -> None:
    """Any byte that differs, any cut, and any addition; and the bytes of another key."""
    slide = open_slide(np.zeros((*mask.shape, 3), np.uint8), mask)
    whole = encode_index(KEY, slide.labels(), {})
    same(decode_index(whole, KEY, lambda facts: None), slide.labels())
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[at] ^= data.draw(st.integers(1, 255))
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    for bad in (bytes(flipped), cut, whole + b"\0", pickle.dumps(slide.labels().width), b""):
        assert decode_index(bad, KEY, lambda facts: None) is None
    assert decode_index(whole, KEY[::-1], lambda facts: None) is None


@given(masks(), st.sampled_from(ARRAYS), st.integers(0, 2**16), st.integers(-300, 300))
def test_wrong_arrays_with_a_right_digest_are_refused_or_sound(mask, name, place, change) -> None:
    """Whoever can compute the digest cannot make the index name pixels outside the mask, or count them wrong."""
    slide = open_slide(np.zeros((*mask.shape, 3), np.uint8), mask)
    labels = slide.labels()
    value = max(labels.runs)
    if value == 0:
        return
    runs = labels.runs[value]
    array = np.array(getattr(runs, name))
    if not len(array):
        return
    array[place % len(array)] = np.int64(array[place % len(array)]) + change & np.iinfo(array.dtype).max
    changed = {name: array}
    parts = {one: changed.get(one, getattr(runs, one)) for one in ARRAYS}
    wrong = RunLengthIndex(value, runs.width, runs.height, *parts.values(), runs.read)
    classes = ClassRuns(runs.width, runs.height, {**labels.runs.stored, value: wrong}, runs.read)
    data = encode_index(KEY, Labels(labels.width, labels.height, None, None, classes), {})
    found = decode_index(data, KEY, lambda facts: runs.read)
    if found is None:
        return
    one = found.runs[value]
    for number in range(len(one.blocks)):
        if one.firsts[number] == one.firsts[number + 1]:
            continue
        x, y = one.corner(number)
        rows, starts, lasts = (part.astype(int) for part in one.block(number))
        assert (x + lasts < labels.width).all() and (y + rows < labels.height).all() and (starts <= lasts).all()
        assert (lasts - starts + 1).sum() == one.amounts[number]


@given(masks(), st.sampled_from([np.uint8, np.int16, np.uint32]))
def test_the_runs_of_class_0_are_those_that_a_mask_has(mask, dtype) -> None:
    """They follow from the others, bit by bit, as if they had been indexed; also where some runs are not kept."""
    height, width = mask.shape
    mask = mask.astype(dtype)

    def read(x: int, y: int, across: int, down: int) -> np.ndarray:
        return mask[y : y + down, x : x + across]

    for limit in (1e9, 0.05):
        whole = index_mask(width, height, [mask], read, limit)
        found = ClassRuns(width, height, index_mask(width, height, [mask], read, limit, rest=0), read)
        assert list(found) == sorted(whole) and len(found) == len(whole) and all(value in found for value in whole)
        assert {value: found[value].pixels for value in found} == {v: (mask == v).sum() for v in np.unique(mask)}
        for value, runs in whole.items():
            mine = found[value]
            assert np.array_equal(mine.blocks, runs.blocks) and np.array_equal(mine.amounts, runs.amounts)
            for number in range(len(runs.blocks)):
                for one, other in zip(mine.block(number), runs.block(number), strict=True):
                    assert one.dtype == other.dtype and np.array_equal(one, other)
            if limit > 1:
                assert all(np.array_equal(getattr(mine, name), getattr(runs, name)) for name in ARRAYS)
    assert 99 not in found


def test_another_mask_or_option_is_another_index(tmp_path: Path) -> None:
    """Time, size, content of the head, path, codes, ignore_index, level: none of them finds the old index."""
    mask = np.zeros((200, 300), np.uint8)
    mask[50:90, 20:200] = 1

    def key(**options: object) -> str | None:
        return key_of(open_slide(np.zeros((200, 300, 3), np.uint8), file, name="a", **options).index_task("mask", 0))

    file = write(tmp_path / "mask.tiff", mask)
    keys = [key()]
    assert key() == keys[0]
    os.utime(file, ns=(5, 5))
    keys.append(key())
    keys += [key(codes=["a", "b"]), key(codes={"a": 1, "b": 0}), key(ignore_index=1), key(ignore_index=2)]
    write(file, mask[::-1])
    os.utime(file, ns=(5, 5))
    keys.append(key())
    os.rename(file, tmp_path / "other.tiff")
    file = tmp_path / "other.tiff"
    keys.append(key())
    assert len(set(keys)) == len(keys) and None not in keys
    levels = open_slide(np.zeros((200, 300, 3), np.uint8), mask, name="a")
    assert key_of(levels.index_task("mask", 0)) is None  # an array has no identity


def test_a_changed_mask_never_uses_the_old_index(tmp_path: Path) -> None:
    """Also where size and time are the same; a damaged entry is made anew, and the draws are those of the new mask."""
    cache, image = IndexCache(tmp_path / "indexes"), np.zeros((64, 64, 3), np.uint8)
    for row in (5, 20, 40):
        mask = np.zeros((64, 64), np.uint8)
        mask[row, 7] = 1
        file = write(tmp_path / "mask.tiff", mask)
        os.utime(file, ns=(9, 9))
        for harm in (None, b"", b"something else"):
            with keeping_indexes(cache):
                slide = open_slide(image, file, ram=0)  # decoded tiles are kept by size, time and inode
                assert slide.labels().first(1) == (7, row)
            (entry,) = [e for e in (tmp_path / "indexes").rglob("*.labels") if e.name.startswith(key_of(
                slide.index_task("mask", 0)))]  # fmt: skip
            if harm is not None:
                entry.write_bytes(harm)


def test_a_folder_that_cannot_be_used_is_an_error_at_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "slide.tiff").write_text("x")
    with pytest.raises(WriteError, match="is a file; name a folder"):
        IndexCache(tmp_path / "file")
    with pytest.raises(WriteError, match="holds other files, such as slide.tiff; name a new or an empty folder"):
        IndexCache(tmp_path / "data")
    with pytest.raises(MissingError, match="there is no folder"):
        IndexCache(tmp_path / "a" / "b")
    with pytest.raises(WriteError, match="File name too long; choose a shorter name"):
        IndexCache(tmp_path / ("x" * 5000))
    (tmp_path / "empty").mkdir()
    assert (IndexCache(tmp_path / "empty").folder / TAG).read_text().startswith("Signature: 8a477f597d28d172789f068")
    IndexCache(tmp_path / "empty")


def test_a_full_disk_is_one_warning_and_work_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache is only an aid: hours of work do not end because a disk is full."""
    cache = IndexCache(tmp_path / "indexes")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with warnings.catch_warnings(record=True) as caught, keeping_indexes(cache):
        warnings.simplefilter("always")
        for name in ("a", "b"):
            folder = tmp_path / name
            folder.mkdir()
            assert slide_of(folder, np.ones((9, 9), np.uint8)).labels().pixels(1) == 81
    assert ["an index of labels is not kept" in str(one.message) for one in caught] == [True]
