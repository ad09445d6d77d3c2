"""A worker that dies or stops answering under fastai 1: one error that names the slide and the window."""

import faulthandler
import os
import signal
import sys
from pathlib import Path

import pytest

from patchaug import PatchOptions, ReadError
from patchaug.fastai import SlideItemList
from patchaug.readers import TiledRaster
from patchaug.testing import coordinate_image, coordinate_mask, write_pyramid

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="workers are forked, and share memory")
PLACE = r"worker \d has read slide s1\.tif, level 0, window x=\d+ y=\d+ 32 x 32, index \d+ for \d+\.\d s"


@pytest.mark.parametrize(
    ("name", "text"), [("SIGKILL", r"DataLoader worker .*"), ("SIGSTOP", r"DataLoader timed out after 3 seconds")]
)
@pytest.mark.parametrize("kind", ["train_dl", "valid_dl"])
def test_the_window_is_named(name: str, text: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In training and in validation."""
    for number in (0, 1, 2):
        write_pyramid(tmp_path / f"s{number}.tif", [coordinate_image(128, 128)])
        write_pyramid(tmp_path / f"s{number}_mask.tif", [coordinate_mask(128, 128)])
    data = (
        SlideItemList.from_folder(tmp_path, patch=PatchOptions(32, per_slide=20, seed=5))
        .split_by_idx([1] if kind == "valid_dl" else [2])
        .label_from_func(lambda path: path.with_name(f"{path.stem}_mask.tif"), classes=list("abcde"))
        .databunch(bs=4, num_workers=2, timeout=3)
    )
    parent, read, done = os.getpid(), TiledRaster.read, list[bool]()

    def read_and_die(self, window):
        if os.getpid() != parent and self.name == "s1.tif" and not done:
            done.append(True)  # a worker that goes on is not stopped again
            os.kill(os.getpid(), getattr(signal, name))
        return read(self, window)

    faulthandler.disable()
    monkeypatch.setattr(TiledRaster, "read", read_and_die)
    with pytest.raises(ReadError, match=rf"^{text}; {PLACE}"):
        list(getattr(data, kind))
