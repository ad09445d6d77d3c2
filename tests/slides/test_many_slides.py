"""Thousands of slides: nothing grows faster than their number, and checks run side by side."""

import cProfile
import os
import pstats
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from patchaug import MissingError, OptionError, Plan, Uniform, open_slide
from patchaug.sampling.allocation import shared_out
from patchaug.slides import pairing
from patchaug.slides.audit import audit_slides
from patchaug.slides.discovery import get_slide_files
from patchaug.slides.pairing import find_masks


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 slides and masks, hard links of one pair."""
    root = tmp_path_factory.mktemp("many")
    for kind, pixels in (("images", np.zeros((32, 32, 3), np.uint8)), ("masks", np.eye(32, dtype=np.uint8))):
        (root / kind).mkdir()
        for number in range(120):
            path = root / kind / f"case{number}.tiff"
            if number:
                os.link(root / kind / "case0.tiff", path)
            else:
                tifffile.imwrite(path, pixels, tile=(16, 16), photometric="rgb" if pixels.ndim == 3 else "minisblack")
    return root


def calls(work: Callable[[], object]) -> int:
    """Count the calls of functions."""
    profile = cProfile.Profile()
    profile.runcall(work)
    return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]


def test_twice_the_slides_are_twice_the_work(folder: Path, tmp_path: Path) -> None:
    """Discovery, pairing, opening, ids and plan; and the error about masks that are missing."""

    def start(count: int) -> None:
        files = get_slide_files(folder / "images")[:count]
        masks = find_masks(files, folder / "masks")
        slides = [open_slide(i, m, codes=["a", "b"], ram=0) for i, m in zip(files, masks, strict=True)]
        assert len(Plan(slides, Uniform(8))) == count

    start(2)  # what is done once
    assert calls(lambda: start(120)) < 2.2 * calls(lambda: start(60))
    assert get_slide_files(folder / "images")[5].name == "case102.tiff"
    with pytest.raises(MissingError, match="120 of 120 slides have no mask"):
        find_masks(get_slide_files(folder / "images"), tmp_path)


@pytest.mark.parametrize("amounts", [[0] * 50, [0] * 30 + [5, 9, 0, 9], [1] * 3 + [10**12], list(range(40))])
def test_totals_are_shared_out_as_by_hand(amounts: list[int]) -> None:
    """Each slide gets one at least, taken from who has most; in order n log n, against a plain loop."""
    ids = [(7 * k) % 101 for k in range(len(amounts))]
    total = 3 * len(amounts) + 1
    shares = [1] * len(amounts) if not any(amounts) else amounts
    counts = [total * one // sum(shares) for one in shares]
    rest = sorted(range(len(ids)), key=lambda k: (-(total * shares[k] % sum(shares)), ids[k]))
    for k in rest[: total - sum(counts)]:
        counts[k] += 1
    for k in range(len(counts)):
        if not counts[k]:
            richest = max(range(len(counts)), key=lambda j: (counts[j], ids[j]))
            counts[richest], counts[k] = counts[richest] - 1, 1
    assert shared_out(total, amounts, ids) == counts


def test_checks_run_side_by_side(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same reports in the same order; the folder of masks is listed once for all slides."""
    images = [folder / "images" / f"case{number}.tiff" for number in range(6)]
    (tmp_path / "bad.tiff").write_bytes(b"II*\0 something else")
    images.append(tmp_path / "bad.tiff")
    listed: list[object] = []
    walk = pairing.walk_files
    monkeypatch.setattr(pairing, "walk_files", lambda *given: listed.append(given) or walk(*given))
    options = {"masks": folder / "masks", "codes": ["a", "b"]}
    alone = audit_slides(images, **options)
    assert len(listed) == 1
    assert [one.as_dict() for one in audit_slides(images, workers=2, **options)] == [one.as_dict() for one in alone]
    assert [bool(one.problems) for one in alone] == [False] * 6 + [True] and alone[0].pixels == {0: 992, 1: 32}
    with pytest.raises(OptionError, match="workers must be in 1"):
        audit_slides(images, workers=0)
