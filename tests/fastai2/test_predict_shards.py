"""One prediction by several processes: the files of one process, whichever of them is killed, late or started twice."""

from __future__ import annotations

import os
import shutil
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest
import torch.distributed as dist

from patchaug import OptionError, PatchaugError, WriteError
from patchaug.core.ranks import Ranks
from patchaug.core.shards import Shard, checked_shard
from patchaug.predict.journal import BandJournal
from patchaug.predict.output_folder import OutputFolder
from patchaug.predict.rank_exchange import RankExchange

from .test_predict_slides import FORMATS, bytes_of, killed, write_image
from .test_predict_slides import images as images
from .test_predict_slides import learn as learn
from .test_predict_slides import whole as whole

LEFT = {"files.json", "lock", "shards.lock"}


def left(out) -> set[str]:
    return {file.name for file in (out / ".patchaug-predict").iterdir()}


def test_shards_by_slides(learn, images, whole, tmp_path):
    """As many slides as shards, or more: each takes every n-th, in any order of the shards."""
    count = 2
    for number in reversed(range(count)):
        results = learn.predict_slides(images, tmp_path, formats=FORMATS, shard=(number, count))
        assert [result.slide for result in results] == [f"s{k}" for k in range(number, 3, count)]
        assert all(result.written and len(result.files) == len(FORMATS) for result in results)
    assert bytes_of(tmp_path) == bytes_of(whole)
    assert left(tmp_path) == LEFT


def test_shards_of_fewer_slides_share_each(learn, images, whole, tmp_path):
    """Each predicts some bands of every slide, and the last one writes the files."""
    for turn, number in enumerate([3, 1, 0, 2]):
        results = learn.predict_slides(images, tmp_path, formats=FORMATS, shard=f"{number}/4")
        last = turn == 3
        assert [bool(result.files) for result in results] == [last] * 3
        assert all((result.missing == 0) == last for result in results)
        assert last or not bytes_of(tmp_path)
    assert bytes_of(tmp_path) == bytes_of(whole)
    assert left(tmp_path) == LEFT
    again = learn.predict_slides(images, tmp_path, formats=FORMATS, shard="2/4", resume=True)
    assert [result.written for result in again] == [False] * 3
    assert bytes_of(tmp_path) == bytes_of(whole) and left(tmp_path) == LEFT


def test_more_shards_than_bands(learn, images, whole, tmp_path):
    """Those without a band do nothing, or write the files."""
    for number in range(8):
        learn.predict_slides(images[:1], tmp_path, formats=FORMATS, shard=(number, 8))
    assert bytes_of(tmp_path) == {name: one for name, one in bytes_of(whole).items() if name.startswith("s0.")}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("place", ["band", "publish"])
def test_a_killed_shard_goes_on_with_the_same_bytes(learn, images, whole, tmp_path, monkeypatch, place):
    """Within a band, or while it writes the files for all; also with another number of shards."""
    one = images[:1]
    if place == "publish":
        learn.predict_slides(one, tmp_path, formats=FORMATS, shard="0/2")
        killed(monkeypatch, place, 1, lambda: learn.predict_slides(one, tmp_path, formats=FORMATS, shard="1/2"))
        learn.predict_slides(one, tmp_path, formats=FORMATS, shard="0/2", resume=True)
    else:
        killed(monkeypatch, place, 1, lambda: learn.predict_slides(one, tmp_path, formats=FORMATS, shard="1/2"))
        results = learn.predict_slides(one, tmp_path, formats=FORMATS, shard="1/3", resume=True)
        assert results[0].missing > 0
        learn.predict_slides(one, tmp_path, formats=FORMATS, shard="0/2", resume=True)
        done = {file.name: file.stat().st_mtime_ns for file in tmp_path.glob(".patchaug-predict/*.job/bands/*.band")}
        assert learn.predict_slides(one, tmp_path, formats=FORMATS, shard="1/2", resume=True)[0].written
        assert done
    assert bytes_of(tmp_path) == {name: one for name, one in bytes_of(whole).items() if name.startswith("s0.")}


def test_shards_that_do_not_belong_together(learn, images, tmp_path):
    """The same one twice, others of another number, and others with other options are one error each."""
    formats = ["areas.csv"]
    with OutputFolder(tmp_path / "a", Shard(0, 2)) as other:
        with pytest.raises(WriteError, match="another process is shard 0/2 already; start each shard once"):
            learn.predict_slides(images, tmp_path / "a", formats=formats, shard="0/2")
        with pytest.raises(WriteError, match="shard 0/2 writes to it, and this one is 1/3"):
            learn.predict_slides(images, tmp_path / "a", formats=formats, shard="1/3")
        with pytest.raises(WriteError, match="another process writes predictions to it"):
            learn.predict_slides(images, tmp_path / "a", formats=formats)
        other.shards.agree({"model": "another"})
        with pytest.raises(
            WriteError, match="shard 0/2 was started with another value of format_options, formats, model"
        ):
            learn.predict_slides(images, tmp_path / "a", formats=formats, shard="1/2")
    learn.predict_slides(images, tmp_path / "b", formats=formats, shard="0/2")
    with pytest.raises(WriteError, match="shard 0/2 was started with another value of options"):
        learn.predict_slides(images, tmp_path / "b", formats=formats, shard="1/2", overlap=0)
    with pytest.raises(WriteError, match=r"s0.areas.csv exists, and 1 more; choose another folder, or go on"):
        learn.predict_slides(images, tmp_path / "b", formats=formats, shard="0/2")
    learn.predict_slides(images, tmp_path / "b", formats=formats, shard="1/2")
    assert left(tmp_path / "b") == LEFT
    learn.predict_slides(images[:2], tmp_path / "c", formats=formats, shard="0/2")
    learn.predict_slides(images[:2], tmp_path / "c", formats=formats, resume=True)  # one process does the rest
    assert left(tmp_path / "c") == LEFT and len(bytes_of(tmp_path / "c")) == 2


def test_a_bad_slide_in_one_shard(learn, images, tmp_path):
    """It is told by the shard that has it; resumed when it is mended."""
    bad, out = tmp_path / "bad.tif", tmp_path / "out"
    bad.write_bytes(b"II*\0 nothing")
    learn.predict_slides([images[0], bad], out, formats=["areas.csv"], shard="0/2")
    with pytest.raises(PatchaugError, match="1 of 1 slides could not be predicted.*bad: "):
        learn.predict_slides([images[0], bad], out, formats=["areas.csv"], shard="1/2")
    write_image(bad, 5)
    assert learn.predict_slides([images[0], bad], out, formats=["areas.csv"], shard="1/2", resume=True)[0].written
    assert set(bytes_of(out)) == {"s0.areas.csv", "bad.areas.csv"} and left(out) == LEFT


def test_a_damaged_band_of_another_shard_is_predicted_again(learn, images, whole, tmp_path):
    """By the one that writes the files."""
    learn.predict_slides(images[:1], tmp_path, formats=FORMATS, shard="0/2")
    folder = BandJournal(tmp_path / ".patchaug-predict" / "s0.job" / "bands").folder
    first = min(folder.glob("*.band"))
    first.write_bytes(first.read_bytes()[:-7])
    learn.predict_slides(images[:1], tmp_path, formats=FORMATS, shard="1/2")
    assert bytes_of(tmp_path) == {name: one for name, one in bytes_of(whole).items() if name.startswith("s0.")}
    shutil.rmtree(tmp_path)


def test_ranks_exchange_what_they_return():
    """In order; an error of one is raised on all, also twice in a row."""
    store = dist.HashStore()

    def rank(number: int) -> list[object]:
        exchange = RankExchange(store, Ranks(number, 3, number, 3), count())
        found: list[object] = [exchange.together(lambda: number * 10)]
        for wrong in ({1}, {0, 2}):
            with pytest.raises(ValueError, match="of rank") as one:
                exchange.together(lambda wrong=wrong: _raise(number) if number in wrong else time.sleep(0.1))
            found.append(str(one.value))
        return found

    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(rank, range(3)))
    assert found == [[[0, 10, 20], "of rank 1", f"of rank {2 if number == 2 else 0}"] for number in range(3)]


def _raise(number: int) -> None:
    raise ValueError(f"of rank {number}")


@pytest.mark.skipif(not hasattr(os, "fork") or not dist.is_available(), reason="needs fork and gloo")
@pytest.mark.parametrize("slides", [3, 1])
def test_a_process_group_shares_the_work(learn, images, whole, tmp_path, slides):
    """Each rank returns the results of all slides, or raises the error of all."""

    def rank(number: int) -> int:
        child = os.fork()
        if child:
            return child
        try:
            dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=number, world_size=2)
            results = learn.predict_slides(images[:slides], tmp_path / "out", formats=FORMATS)
            assert [len(one.files) for one in results] == [len(FORMATS)] * slides
            assert sum(one.windows for one in results) == slides * 24
            bad = [images[0], tmp_path / "none.tif"]
            with pytest.raises(PatchaugError, match="1 of 2 slides could not be predicted.*none"):
                learn.predict_slides(bad, tmp_path / "bad", formats=["areas.csv"])
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)

    ended = [os.waitpid(child, 0)[1] for child in [rank(0), rank(1)]]
    assert ended == [0, 0]
    expected = {name: one for name, one in bytes_of(whole).items() if int(name[1]) < slides}
    assert bytes_of(tmp_path / "out") == expected


@pytest.mark.parametrize("shard", ["4/4", "0/0", "1", "a/b", (1.0, 2), (-1, 2), True])
def test_shards_that_do_not_exist(shard):
    """One error with an example or the limits."""
    with pytest.raises(OptionError, match=r"shards? .*(such as|are 0/[24] to)"):
        checked_shard(shard)
