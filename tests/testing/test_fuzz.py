"""The fuzzer: ten seconds of it find nothing, and what it should find it finds."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is measured through /proc")
if sys.platform.startswith("linux"):
    from patchaug.testing import fuzz as fuzzer
    from patchaug.testing.fuzz_seeds import seed_files


@pytest.mark.filterwarnings("ignore")
def test_ten_seconds_find_no_failure(tmp_path: Path) -> None:
    """Every format is tried; the hour is run by hand."""
    pytest.importorskip("shapely")
    counts, failures = fuzzer.fuzz(10, out=tmp_path)
    assert failures == []
    assert all(sum(found.values()) >= 5 for found in counts.values())
    assert set().union(*counts.values()) == {"pixels", "error"}


def test_the_seeds_are_good_and_a_number_names_a_change(tmp_path: Path) -> None:
    """Unchanged they are read; changed they differ, each time alike."""
    pytest.importorskip("shapely")
    seeds = seed_files()
    for name, data in seeds.items():
        (tmp_path / name).write_bytes(data)
        assert fuzzer.read_file(tmp_path / name) == "pixels", name
    made = [fuzzer.change(seeds, "none.tif", 1, number) for number in range(50)]
    assert made == [fuzzer.change(seed_files(), "none.tif", 1, number) for number in range(50)]
    assert sum(one != seeds["none.tif"] for one in made) > 45


def _bad(path: Path) -> str:
    """What the bytes after "bad " ask for."""
    data = path.read_bytes()
    if b"kill" in data:
        os.kill(os.getpid(), signal.SIGABRT)
    if b"hang" in data:
        time.sleep(30)
    if b"room" in data:
        np.ones(300 << 20, np.uint8).sum()
    if b"bare" in data:
        return "bare ValueError: x"
    return "pixels"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("word", "outcome"),
    [("kill", "abort: exit code -6"), ("hang", "hang"), ("room", "memory"), ("bare", "bare ValueError")],
)
def test_what_it_should_find_it_finds(word: str, outcome: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An abort, a hang, too much memory, another exception: and the next file is read by a new child."""
    monkeypatch.setattr(fuzzer, "read_file", _bad)
    monkeypatch.setattr(fuzzer, "SECONDS", 3.0)
    monkeypatch.setattr(fuzzer, "MEMORY", 200 << 20)
    probe = fuzzer.Probe()
    assert probe.read("a", word.encode()).startswith(outcome)
    assert probe.read("a", b"good") == "pixels"
    good, bad = bytes(400), bytes(100) + word.encode() + b"more damage" + bytes(285)
    if word in ("kill", "bare"):
        small = fuzzer.minimised(probe, "a", good, bad, outcome)
        assert word.encode() in small and small.count(0) > bad.count(0)
    probe.close()
